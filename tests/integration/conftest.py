"""Fixtures of a site whose workers segment without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config import Settings
from service.engine.types import EngineConfig
from tests.support.engine_site import FRAMES, SIZE, Site
from tests.support.synthetic import encode, pan, x264


@pytest.fixture(scope="session")
def clip() -> bytes:
    """A clip whose presentation order equals its decode order."""
    return encode(pan(FRAMES, SIZE, velocity=(1.0, 0.5)).frames, options=x264(bframes=0), container="mp4")


@pytest.fixture
def site(tmp_path: Path, clip: bytes) -> Iterator[Site]:
    """An empty site, whose engines are stopped at the end."""
    config = EngineConfig(
        devices=("cpu",),
        loader="tests.support.fakes:load",
        poll_seconds=0.05,
        grace_seconds=120.0,
        cancel_seconds=120.0,
        stall_seconds=240.0,
        state_seconds=0.0,
        housekeeping_seconds=0.5,
        settings=Settings(home=tmp_path / "home"),
    )
    site = Site(tmp_path, clip, config)
    yield site
    for engine in site.engines:
        engine.stop()
    site.storage.close()
    site.store.close()
