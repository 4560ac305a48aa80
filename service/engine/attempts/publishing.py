"""Publishes what an attempt writes, where other machines do not see its files: as objects that the job's row counts.

While the object store is away, the attempt goes on: its masks are in its files. Only its end waits for the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from service.errors import StorageUnavailableError
from service.run.resume.save_schedule import tolerate
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog

_log = logging.getLogger(__name__)

_SECONDS = 1.0
"""Shortest time between two publications, which followers on other machines wait for."""
_MAX_TIME_SHARE = 0.05
"""Largest share of an attempt's time that publications may take."""
_MAX_SECONDS = 10.0
"""Longest time between two tries."""
_PAUSE_SECONDS = 2.0
"""Time between two tries while the object store is away."""


class PublishedFile:
    """How much of a growing file other machines see. It is published in parts, and a part never changes.

    Attributes:
        size: Bytes that are published.
    """

    def __init__(self) -> None:
        self.size = 0
        self._tried = 0

    def grow(self, size: int, publish: Callable[[int, int], None], block: int | None = None) -> None:
        """Publish the file up to a size.

        Args:
            size: Bytes to be published.
            publish: Publishes the bytes from one place to another one.
            block: Largest part; None for any.
        """
        while self.size < size:
            # What an earlier try may have stored, although its answer was lost, is stored again as it was.
            self._tried = self._tried or (size if block is None else min(size, self.size + block))
            publish(self.size, self._tried)
            self.size, self._tried = self._tried, 0


class Publisher:
    """Publishes the masks and the resume state of one attempt. Where its files are what counts, it does nothing.

    Args:
        files: Files of the job.
        fence: Fence of the attempt.
        count: Stores in the job's row how many bytes of the attempt's masks count.
    """

    def __init__(self, files: JobFiles, fence: int, count: Callable[[int], None]) -> None:
        self._files = files
        self._fence = fence
        self._count = count
        self._due = 0.0
        self._masks = PublishedFile()

    @property
    def published(self) -> int:
        """Bytes of the attempt's masks that count."""
        return self._masks.size

    def publish(self, log: MaskLog) -> None:
        """Publish all masks of the log.

        Raises:
            LostJobError: Another worker has the job.
            StorageUnavailableError: The object store is away.
        """
        if self._files.is_copy:
            self._masks.grow(log.size, self._publish)

    def publish_if_due(self, log: MaskLog) -> None:
        """Publish the masks, but not too often; an object store that is away does not matter now."""
        if self._files.is_copy and (began := time.monotonic()) >= self._due:
            tolerate(lambda: self.publish(log))
            now = time.monotonic()
            self._due = now + min(_MAX_SECONDS, max(_SECONDS, (now - began) / _MAX_TIME_SHARE))

    def publish_state(self) -> None:
        """Publish the resume state, which relies on published masks only.

        Raises:
            StorageUnavailableError: The object store is away.
        """
        self._files.publish_state(self._fence)

    def _publish(self, start: int, end: int) -> None:
        self._files.publish_masks(self._fence, start, end)
        self._count(end)


def insist(action: Callable[[], None], on_wait: Callable[[], None]) -> None:
    """Do something as soon as the object store answers.

    Args:
        action: What is done.
        on_wait: Called before each pause; it raises an error if the attempt has to end.
    """
    while True:
        try:
            return action()
        except StorageUnavailableError as error:
            _log.warning("waiting for the object store", extra={"reason": str(error)[:200]})
            on_wait()
            time.sleep(_PAUSE_SECONDS)
