"""Every reader ends the generators of its decoder, so that none is left to Python's search for cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from types import GeneratorType
from typing import Any

import pytest

from codec.backwards import open_backwards
from codec.decode.decoder import VideoDecoder
from codec.displayed_frame import read_displayed_frame
from codec.errors import NoSuchFrameError
from codec.random_access import list_timestamps, read_frame_at
from codec.reader import open_video, read_info
from service.writers.video.source_video import open_source
from tests.support.media import write_clip


def _iterate(clip: Path) -> None:
    with open_video(clip) as video:
        next(iter(video))


def _iterate_backwards(clip: Path) -> None:
    with open_backwards(clip, 5, timestamps=list_timestamps(clip)) as video:
        next(iter(video))


def _iterate_from_the_middle(clip: Path) -> None:
    with open_video(clip, first=4, timestamps=list_timestamps(clip)) as video:
        next(iter(video))


def _read_beyond_the_end(clip: Path) -> None:
    with pytest.raises(NoSuchFrameError):
        read_displayed_frame(clip, 1000)


def _follow(clip: Path) -> None:
    pictures = open_source(clip, None)
    pictures.picture(2)
    pictures.close()


@pytest.mark.parametrize(
    "read",
    [
        read_info,
        lambda clip: read_displayed_frame(clip, 1),
        lambda clip: read_frame_at(clip, 3, list_timestamps(clip)),
        _iterate,
        _iterate_backwards,
        _iterate_from_the_middle,
        _read_beyond_the_end,
        _follow,
    ],
    ids=[
        "info",
        "displayed frame",
        "frame at",
        "open video",
        "backwards",
        "from the middle",
        "beyond the end",
        "source of a writer",
    ],
)
def test_no_decoder_is_left_in_the_middle(read: Callable[[Path], object], tmp_path: Path) -> None:
    """Nothing that a decoder was doing is suspended after the call, although no cycles have been searched."""
    clip = write_clip(tmp_path / "clip.mp4")
    gc.collect()
    gc.disable()
    try:
        before = _suspended()
        read(clip)
        left = [item for item in _suspended() if item not in before]
    finally:
        gc.enable()
    assert not left


def _suspended() -> list[GeneratorType[Any, Any, Any]]:
    owner = VideoDecoder.__qualname__ + "."
    generators = [item for item in gc.get_objects() if type(item) is GeneratorType]  # asks no proxy for its class
    return [item for item in generators if item.__qualname__.startswith(owner) and item.gi_frame is not None]
