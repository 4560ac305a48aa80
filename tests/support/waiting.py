"""Waits for what another thread or process does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    """The condition's first true value; an error if it stays false for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and all below it, but locks; folders that go while they are listed count as gone."""
    walk = os.walk(folder)  # unlike Path.rglob, it passes over what is no longer there
    return [Path(parent, name) for parent, _, names in walk for name in names if not name.endswith(".lock")]
