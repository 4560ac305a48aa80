"""Keeps a walk until its run is finished, so that a run that was cut off does not repeat it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from service.run.directions.spool import MaskSpool
from service.run.resume.save_schedule import SaveSchedule, tolerate
from vos.runtime.run_state import RunState
from vos.types import FrameMask


def _ignore(*_: Any) -> None:
    """Do nothing."""


class KeptWalk:
    """The masks of a walk in a file, and the state with which the walk goes on.

    Args:
        masks: File of the masks.
        state: File of the resume state.
        fingerprint: Digest of everything that the masks depend on.
        min_seconds: Shortest time between two saved states.
        earlier: Files of the masks and of the state that earlier attempts left, those of the latest one first. They may
            be the files of this one.
        begin: Index of the first mask as the segmenter counts: 0 for a walk back, which it sees as one forward.
        on_begin: Called when the walk has its first mask, before the files are written; it may make their folder.
        on_mask: Called after each mask, with the bytes of all masks; it may raise to stop the run.
        before_save: Called before the files count; it may raise if they must not.
        on_saved: Called after a state was saved, with the bytes of the masks that it counts on. The walk goes on if it
            raises `StorageUnavailableError`.

    Attributes:
        state: State after the masks that an earlier attempt left; None if the walk starts anew.
    """

    def __init__(
        self,
        masks: Path,
        state: Path,
        *,
        fingerprint: str,
        min_seconds: float,
        earlier: Iterable[tuple[Path, Path]],
        begin: int = 0,
        on_begin: Callable[[], None] = _ignore,
        on_mask: Callable[[int], None] = _ignore,
        before_save: Callable[[], None] = _ignore,
        on_saved: Callable[[int], None] = _ignore,
    ) -> None:
        self._masks, self._path = masks, state
        self._fingerprint, self._begin = fingerprint, begin
        self._on_begin, self._on_mask, self._before_save, self._on_saved = on_begin, on_mask, before_save, on_saved
        self._schedule = SaveSchedule(min_seconds)
        self.state: RunState | None = None
        self._kept = masks
        for kept, path in earlier:
            found = RunState.load(path, fingerprint)
            if found is not None and _line_count(kept) >= found.next_index - begin:
                self.state, self._kept = found, kept
                break

    @property
    def count(self) -> int:
        """Masks that an earlier attempt left."""
        return 0 if self.state is None else self.state.next_index - self._begin

    def open(self, first: int, width: int, height: int, step: int = -1) -> MaskSpool:
        """Open the file of the masks, with those that an earlier attempt left. The arguments are those of `MaskSpool`.

        Masks in the files of another attempt are copied: that attempt may not know yet that it has ended.
        """
        self._on_begin()
        if self._kept != self._masks:
            shutil.copyfile(self._kept, self._masks)
        spool = MaskSpool(first, width, height, self._masks, self.count, step=step)
        if self._kept != self._masks:
            self.save(spool, self.state)
        self._on_mask(spool.size)
        return spool

    def masks(
        self,
        new: Generator[FrameMask],
        spool: MaskSpool,
        state: Callable[[], RunState | None],
        frames: int | None = None,
    ) -> Generator[FrameMask]:
        """Yield the masks of the walk in its order: those that an earlier attempt left, then new ones.

        All are as a later attempt reads them, so that its results are the same.

        Args:
            new: The masks after those; it is closed at the end.
            spool: What `open` has returned; it is closed at the end.
            state: Returns the resume state.
            frames: Number of masks of the whole walk; None if unknown.
        """
        with closing(spool), closing(new):
            yield from spool
            if spool.count == frames:
                return
            try:
                for mask in new:
                    self.append(mask, spool, state)
                    written = spool.mask(mask.index)
                    assert written is not None
                    yield written
            finally:
                self.save(spool, state())

    def append(self, mask: FrameMask, spool: MaskSpool, state: Callable[[], RunState | None]) -> None:
        """Write the next mask, and save the state, but not too often."""
        spool.append(mask)
        self._on_mask(spool.size)
        tolerate(lambda: self._schedule.run_if_due(lambda: self._save(spool, state())))

    def save(self, spool: MaskSpool, state: RunState | None) -> None:
        """Wait until the masks are on the disk, then save the state, if it is that after these masks."""
        tolerate(lambda: self._save(spool, state))

    def _save(self, spool: MaskSpool, state: RunState | None) -> None:
        if state is not None and state.next_index - self._begin == spool.count:
            self._before_save()
            spool.sync()
            state.save(self._path, self._fingerprint)
            self._on_saved(spool.size)


def _line_count(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return 0
