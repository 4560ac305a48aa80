"""The video of a form that names its URL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from service.config import Settings
from service.net.input_urls import copy_url
from service.problems import ProblemError
from service.runtime.threads import in_waiting_thread


async def receive_url(url: str, target: Path, settings: Settings, charge: Callable[[int], None]) -> None:
    """Copy the video at a URL to a file. A client that disconnects ends this at the next block.

    Raises:
        UrlNotAllowedError, UrlUnavailableError, ProblemError, StorageFullError: As `copy_url`.
    """
    stopping = threading.Event()

    def charge_unless_stopped(size: int) -> None:
        if stopping.is_set():
            raise ProblemError("upload-interrupted", "the client closed the connection before the end")
        charge(size)

    try:
        await in_waiting_thread(copy_url, url, target, settings, charge=charge_unless_stopped)
    finally:
        stopping.set()
