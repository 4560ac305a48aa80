"""Quota and reserve: how many bytes may still be written.

Bytes are reserved before they are written, and stay reserved until the files that they became are measured, so any
number of simultaneous uploads and results keeps to the limits. Several processes on one folder publish what they have
reserved:

ROOT/incoming/<process>.reserved    {"owners": {key: bytes}, "unwritten": bytes}; absent if nothing is reserved

A process publishes a reservation first and then adds up what everyone has published and stored. Of two processes that
reserve the last bytes at the same time, at least one therefore sees the other. On a network file system this holds as
far as its cache of directories is up to date.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType

from service.errors import DISK_FULL, StorageFullError
from service.storage.job_sizes import Sizes

DISK_SHARE = 0.8
"""Share of the disk that all files may use if no quota is set."""
STEP = 16 << 20
"""Bytes that are reserved at a time for a file whose size is unknown, if there is room for them."""


class Space:
    """The bytes that are stored and reserved.

    Args:
        root: Folder of all files.
        published: File that shows other processes what this one has reserved.
        sizes: Sizes of the jobs.
        quota: Largest total size in bytes. None sets `DISK_SHARE` of the disk.
        share: Largest share of the quota that the jobs and uploads of one API key may use.
        reserve: Bytes to keep free on the disk.
        promised: Returns the bytes that uploads will have when they are complete, per API key, and how many of all are
            not yet written.
    """

    def __init__(
        self,
        root: Path,
        published: Path,
        sizes: Sizes,
        *,
        quota: int | None,
        share: float,
        reserve: int,
        promised: Callable[[], tuple[Counter[str], int]] = lambda: (Counter(), 0),
    ) -> None:
        self._root = root
        self._published = published
        self._quota = int(DISK_SHARE * shutil.disk_usage(root).total) if quota is None else quota
        self._share = share
        self._reserve = reserve
        self._promised = promised
        self._sizes = sizes
        self._open: set[Reservation] = set()
        # One reservation is decided at a time, which may take a measurement; releasing must not wait for that.
        self._deciding = Lock()
        self._lock = Lock()

    def reserve(self, owner: str | None = None) -> Reservation:
        """Return a reservation of no bytes yet for an upload or a result of this API key."""
        return Reservation(self, owner)

    def admit(self, owner: str | None, size: int) -> None:
        """Check that an upload fits that already counts.

        Raises:
            StorageFullError: There is no room.
        """
        with self._deciding:
            self._check(owner, size)

    def usage(self) -> int:
        """Return the bytes of all jobs, and those that are reserved for uploads and results."""
        others = self._reserved_by_others()
        with self._deciding:
            return self._sizes.total() + sum(r.size for r in self._reservations()) + sum(others[0].values())

    def forget(self, job_id: str) -> None:
        """Note that the files of a job are deleted."""
        with self._deciding:
            self._sizes.forget(job_id)

    def grow(self, reservation: Reservation, size: int) -> None:
        """Enlarge a reservation; used by `Reservation`.

        Raises:
            StorageFullError: There is no room.
        """
        with self._deciding:
            before = reservation.size
            try:
                self._resize(reservation, size)
                self._check(reservation.owner, size - before)
            except BaseException as error:
                with suppress(OSError):
                    self._resize(reservation, before)
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    raise StorageFullError("the disk is full") from error
                raise

    def release(self, reservation: Reservation) -> None:
        """Give all bytes of a reservation back; used by `Reservation`."""
        with suppress(OSError):  # what others see is too large then, until the next change
            self._resize(reservation, 0)

    def keep(self, reservation: Reservation, job_id: str) -> None:
        """Count the files of a job from now on, in place of the reservation; used by `Reservation`."""
        with self._deciding:
            self._sizes.measure(job_id, reservation.owner)
            self.release(reservation)

    def _resize(self, reservation: Reservation, size: int) -> None:
        with self._lock:
            reservation.size = size
            (self._open.add if size else self._open.discard)(reservation)
            self._publish()

    def _publish(self) -> None:
        if not self._open:
            self._published.unlink(missing_ok=True)
            return
        owners: Counter[str] = Counter()
        for reservation in self._open:
            owners[reservation.owner or ""] += reservation.size
        part = self._published.with_suffix(".part")
        unwritten = sum(r.unwritten for r in self._open)
        part.write_text(json.dumps({"owners": owners, "unwritten": unwritten}), encoding="utf-8")
        part.replace(self._published)

    def _reservations(self) -> list[Reservation]:
        with self._lock:
            return list(self._open)

    def _reserved_by_others(self) -> tuple[Counter[str], int]:
        """Return the bytes of uploads, and those that other processes have reserved: per owner, and the unwritten."""
        owners, unwritten = self._promised()
        for path in self._published.parent.glob(f"*{self._published.suffix}"):
            if path == self._published:
                continue
            with suppress(OSError, ValueError):  # it has just ended
                found = json.loads(path.read_text(encoding="utf-8"))
                owners.update(found["owners"])
                unwritten += found["unwritten"]
        return owners, unwritten

    def _is_shared(self) -> bool:
        """Return whether other processes may add jobs to the folder."""
        own = self._published.stem
        return any(not path.name.startswith(own) for path in self._published.parent.iterdir())

    def _check(self, owner: str | None, wanted: int) -> None:
        """Check that everything fits, including `wanted` bytes that are already reserved."""
        others, others_unwritten = self._reserved_by_others()  # first: their bytes may become files meanwhile
        mine = self._reservations()
        self._sizes.refresh(shared=self._is_shared())
        used = self._sizes.total() + sum(r.size for r in mine) + others.total() - wanted
        if used + wanted > self._quota:
            raise StorageFullError(
                f"{used:,} of {self._quota:,} bytes are in use; there is no room for {wanted:,} more; "
                "delete jobs or wait until some expire"
            )
        if owner is not None and self._share < 1:
            own = self._sizes.total_of(owner) + sum(r.size for r in mine if r.owner == owner) + others[owner] - wanted
            if own + wanted > (allowed := int(self._share * self._quota)):
                raise StorageFullError(
                    f"your jobs use {own:,} of the {allowed:,} bytes that one API key may use; there is no room for "
                    f"{wanted:,} more; delete jobs or wait until some expire"
                )
        free = shutil.disk_usage(self._root).free
        promised = sum(r.unwritten for r in mine) + others_unwritten - wanted
        if free - promised - wanted < self._reserve:
            raise StorageFullError(
                f"the disk has {free:,} bytes left, of which {self._reserve:,} are kept free and {promised:,} are "
                f"reserved; there is no room for {wanted:,} more"
            )


class Reservation:
    """Bytes that one upload or result may write. Leaving the block gives back what `keep` has not turned into files.

    Attributes:
        owner: API key that the bytes count for.
        size: Bytes that are reserved; 0 if they were given back.
    """

    def __init__(self, space: Space, owner: str | None) -> None:
        self.owner = owner
        self.size = 0
        self._space = space
        self._written = 0

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.size:
            self._space.release(self)

    @property
    def unwritten(self) -> int:
        """Bytes that are reserved and not yet on the disk."""
        return max(0, self.size - self._written)

    def cover(self, size: int) -> None:
        """Reserve `size` bytes in all.

        Raises:
            StorageFullError: There is no room for them.
        """
        if size > self.size or not self.size:
            self._space.grow(self, size)

    def charge(self, more: int) -> None:
        """Account for bytes that are about to be written. Bytes beyond those that are reserved are reserved in steps.

        Raises:
            StorageFullError: There is no room for them.
        """
        self.reach(self._written + more)

    def reach(self, written: int) -> None:
        """Like `charge`, given the number of all bytes written so far.

        Raises:
            StorageFullError: There is no room for them.
        """
        if written > self.size:
            try:
                self.cover(written + STEP)
            except StorageFullError:
                self.cover(written)
        self._written = written

    def keep(self, job_id: str) -> None:
        """Turn the reservation into the files of a job, whatever their size."""
        self._space.keep(self, job_id)
