"""Sizes of the jobs' objects."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from service.errors import StorageUnavailableError
from service.storage.objects.job_objects import JobObjects

_log = logging.getLogger(__name__)

_SECONDS = 30.0
"""How long a listing of all objects stays valid: it costs a request per thousand objects."""
_MAX_TIME_SHARE = 0.05
"""Largest share of the time that listing may take."""


class ObjectSizes:
    """Sizes of all jobs in an object store, as `service.storage.job_sizes.JobSizes`.

    What other processes have stored shows after the next listing. While the store is away, the latest sizes hold.

    Args:
        objects: The objects.
        owners: Returns the API key of each of the given jobs that exist, "" for a job without a key.
    """

    def __init__(self, objects: JobObjects, owners: Callable[[Collection[str]], Mapping[str, str]]) -> None:
        self._objects = objects
        self._find_owners = owners
        self._sizes: Counter[str] = Counter()
        self._owners: dict[str, str] = {}
        self._valid_until = 0.0

    def total(self) -> int:
        """Return the size of all jobs in bytes."""
        self.refresh()
        return self._sizes.total()

    def total_of(self, owner: str) -> int:
        """Return the size of all jobs of an API key in bytes, as of the last refresh."""
        self._owners.update(self._find_owners([name for name in self._sizes if name not in self._owners]))
        return sum(size for name, size in self._sizes.items() if self._owners.get(name) == owner)

    def measure(self, name: str, owner: str | None) -> None:
        """Measure one job again."""
        with suppress(StorageUnavailableError):
            self._sizes[name] = self._objects.sizes(name)[name]
        if owner is not None:
            self._owners[name] = owner

    def forget(self, name: str) -> None:
        """Forget a deleted job."""
        self._sizes.pop(name, None)

    def refresh(self, *, shared: bool = False) -> None:  # noqa: ARG002
        """Measure all jobs, if the last time is long ago."""
        began = time.monotonic()
        if began < self._valid_until:
            return
        try:
            self._sizes = self._objects.sizes()
        except StorageUnavailableError as error:
            _log.warning("sizes of jobs are not up to date", extra={"reason": str(error)[:200]})
        self._owners = {name: owner for name, owner in self._owners.items() if name in self._sizes}
        now = time.monotonic()
        self._valid_until = now + max(_SECONDS, (now - began) / _MAX_TIME_SHARE)
