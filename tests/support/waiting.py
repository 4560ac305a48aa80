"""Waiting for other threads and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Return the first true value of a condition.

    Raises:
        AssertionError: The condition stayed false for this many seconds.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"the condition stayed false for {seconds:g} s")


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, without signs of life of processes and without files that vanish meanwhile."""
    walk = os.walk(folder)  # unlike Path.rglob, it skips folders that no longer exist
    signs = (".alive", ".reserved")
    return [Path(parent, name) for parent, _, names in walk for name in names if not name.endswith(signs)]
