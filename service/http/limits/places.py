"""Places that requests take before they cost anything: streams, uploads, results in the making, jobs to come.

All requests run in one event loop and a place is taken without waiting, so the limits hold exactly.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import Request

from service.errors import QueueFullError, TooManyJobsError
from service.jobs.requests import QueueLimits
from service.jobs.store import JobStore
from service.problems import ProblemError
from service.runtime.threads import in_thread

_IPV6_PREFIX = 64
"""Bits of an IPv6 address that one subscriber has."""


class Places:
    """Places of one kind.

    Args:
        total: Number of places.
        share: Number of places that one caller may take.
        name: What takes a place, in the plural.
        full: Problem type if all are taken.
        too_many: Problem type if the caller's share is taken.

    Attributes:
        taken: Number of places that are taken.
    """

    def __init__(
        self, total: int, share: int, name: str, *, full: str = "busy", too_many: str = "too-many-requests"
    ) -> None:
        self._total, self._share, self._name = total, share, name
        self._full, self._too_many = full, too_many
        self._taken: Counter[str] = Counter()
        self.taken = 0

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Take a place while the block runs.

        Args:
            caller: Whose share it counts to, as `share_of` returns it.

        Raises:
            ProblemError: There is none.
        """
        if self._taken[caller] >= self._share:
            raise ProblemError(self._too_many, f"{self._share} {self._name} of {caller} are open; no more are allowed")
        if self.taken >= self._total:
            raise ProblemError(self._full, f"{self._total} {self._name} are open; no more are allowed")
        self._taken[caller] += 1
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


class JobPlaces:
    """Places of jobs that are being submitted: they count as jobs, so that too many are refused before their uploads.

    The store checks the limits again when it creates a job, because other processes create jobs too.

    Args:
        store: The jobs.
        limits: The limits.
    """

    def __init__(self, store: JobStore, limits: QueueLimits) -> None:
        self._store = store
        self._limits = limits
        self._coming: Counter[str] = Counter()
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def take(self, caller: str | None) -> AsyncIterator[None]:
        """Take a place for a job while the block runs.

        Args:
            caller: Name of the caller's API key.

        Raises:
            QueueFullError, TooManyJobsError: A limit is reached.
        """
        key = caller or ""
        async with self._counting:
            queued, unfinished = await in_thread(self._store.count_unfinished, caller)
            _check(queued + self._coming.total(), self._limits.queued, QueueFullError, "jobs are waiting")
            own, limit = unfinished + self._coming[key], self._limits.unfinished_per_key
            _check(own, limit, TooManyJobsError, "of your jobs are unfinished")
            self._coming[key] += 1
        try:
            yield
        finally:
            self._coming[key] -= 1
            if not self._coming[key]:
                del self._coming[key]


def _check(found: int, limit: int | None, error: type[Exception], what: str) -> None:
    if limit is not None and found >= limit:
        raise error(f"{found} {what} or on their way; allowed: {limit}; try again later")


def share_of(request: Request, caller: str | None) -> str:
    """Return to whose share a request counts: its API key, or its address without keys (a network in IPv6)."""
    if caller is not None:
        return f"key {caller}"
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False))
    return host
