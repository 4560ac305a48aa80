"""What a run leaves beside its results until it is finished, so that a later one can continue it.

FOLDER/.resume/{request.json, frames.ndjson, state.npz, back.ndjson, back.npz, lock}

`frames.ndjson` has one line per written mask, with everything but its labels, which `masks/` holds. Together with the
resume state, a later run gives every writer the masks that exist and computes the rest. `back.ndjson` has the masks of
a walk back, `back.npz` its resume state.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from PIL import Image

from codec.types import FrameType
from service.errors import UsageError
from service.run.resume.fingerprint import digest_of
from service.run.resume.kept_walk import KeptWalk
from service.run.resume.state import ResumeState
from service.run.segment import Segmentation
from service.writers.png import mask_name
from service.writers.soft_line import decode_soft, encode_soft
from vos.runtime.durable import make_folder, replacing, sync_files, write_durably
from vos.runtime.process_lock import ProcessLock, is_locked
from vos.types import FrameMask, MaskSource


class UnfinishedRun:
    """The traces of a run in its folder of results.

    Args:
        folder: Folder of the results.
        masks: Folder of the masks.

    Attributes:
        state: Path of the resume state.
        back_masks: Path of the masks of a walk back.
        back_state: Path of its resume state.
    """

    def __init__(self, folder: Path, masks: Path) -> None:
        self._folder = folder / ".resume"
        self._masks = masks
        self._request = self._folder / "request.json"
        self._lines = self._folder / "frames.ndjson"
        self._lock: ProcessLock | None = None
        self.state = self._folder / "state.npz"
        self.back_masks, self.back_state = self._folder / "back.ndjson", self._folder / "back.npz"

    @property
    def fingerprint(self) -> str | None:
        """Digest of the request that the run belongs to; None without an unfinished run."""
        try:
            return str(json.loads(self._request.read_text(encoding="utf-8"))["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def check_unlocked(self) -> None:
        """Refuse to work in a folder that another process writes to.

        Raises:
            UsageError: The run is still running.
        """
        if is_locked(self._folder / "lock"):
            raise UsageError(
                f"another process is writing to {self._folder.parent}; wait for it or choose another place"
            )

    def begin(self, fingerprint: str) -> None:
        """Mark the run as begun and this process as the one that writes."""
        make_folder(self._folder)
        self._lock = ProcessLock(self._folder / "lock")
        write_durably(self._request, (json.dumps({"fingerprint": fingerprint}) + "\n").encode())

    def release(self) -> None:
        """Let other processes continue the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Remove all traces: the run is finished, or another one replaces it."""
        self.release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def mask(self, index: int) -> Path:
        """Return the path of the mask of a frame."""
        return self._masks / mask_name(index)

    def last_index(self) -> int:
        """Return the presentation index of the last frame whose mask is written; -1 if there is none."""
        return max((frame.index for frame in self._frames()), default=-1)

    def replay(self, end: int) -> Iterator[FrameMask]:
        """Yield the frames before `end` with their masks, in presentation order."""
        for frame in self._frames():
            if frame.index >= end:
                return
            with Image.open(self.mask(frame.index)) as picture:
                yield replace(frame, labels=np.array(picture, np.uint8))

    def log(self, end: int) -> FrameLog:
        """Return the log with its frames before `end`, to be continued."""
        return FrameLog(self._lines, (frame for frame in self._frames() if frame.index < end))

    def _frames(self) -> Iterator[FrameMask]:
        """Yield the frames whose masks are written, without their labels."""
        try:
            with self._lines.open("rb") as lines:
                for line in lines:
                    frame = _parse(line)
                    if frame is None or not self.mask(frame.index).is_file():
                        return
                    yield frame
        except FileNotFoundError:
            return


class FrameLog:
    """Appends a line per frame.

    Args:
        path: File of the log.
        frames: Frames to begin with.
    """

    def __init__(self, path: Path, frames: Iterable[FrameMask]) -> None:
        with replacing(path) as file:
            file.writelines(map(_line, frames))
        self._file = path.open("ab")

    def write(self, frame: FrameMask) -> None:
        """Append the frame's line."""
        self._file.write(_line(frame))

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ResumableRun:
    """Keeps a run resumable while it writes.

    Args:
        unfinished: Traces of the run in its folder of results.
        run: The segmentation, which goes on from an earlier attempt if there is one.
        fingerprint: Digest of the request: of everything that the masks depend on but the network's weights.
        state_seconds: Shortest time between two saved resume states.
        resume: Whether to continue an earlier attempt.
        on_state: Called after a resume state was saved.

    Attributes:
        resumed_at: Presentation index of the first mask to compute after an earlier attempt; None if there is none.
    """

    def __init__(
        self,
        unfinished: UnfinishedRun,
        run: Segmentation,
        fingerprint: str,
        state_seconds: float,
        resume: bool,
        *,
        on_state: Callable[[], None],
    ) -> None:
        self._unfinished, self._fingerprint = unfinished, fingerprint
        self._has_begun = False
        digest = digest_of((), fingerprint, run.model.description, *(["soft"] if run.options.soft else []))
        self._log: FrameLog | None = None
        self._unsynced: list[Path] = []
        self._state = ResumeState(
            unfinished.state,
            run,
            fingerprint=digest,
            min_seconds=state_seconds,
            sync=self.sync,
            on_saved=on_state,
        )
        state = self._state.restore(unfinished.last_index()) if resume else None
        self.resumed_at = None if state is None else state.next_index
        self._walk = KeptWalk(
            unfinished.back_masks,
            unfinished.back_state,
            fingerprint=digest,
            min_seconds=state_seconds,
            earlier=[(unfinished.back_masks, unfinished.back_state)] if resume else [],
            on_begin=self._begin,
            on_saved=lambda _size: on_state(),
        )
        run.keep_walk(self._walk)

    def begin(self) -> None:
        """Start the log: with the earlier frames if the run resumes, otherwise empty."""
        self._begin()
        self._log = self._unfinished.log(self.resumed_at or 0)

    def _begin(self) -> None:
        """Mark the run as begun, at its first mask in either direction."""
        if self._has_begun:
            return
        if self.resumed_at is None and self._walk.state is None:
            self._unfinished.remove()
        self._unfinished.begin(self._fingerprint)
        self._has_begun = True

    def earlier(self) -> Iterator[FrameMask]:
        """Yield the frames of the earlier attempt with their masks."""
        return self._unfinished.replay(self.resumed_at or 0)

    def write(self, frame: FrameMask) -> None:
        """Note that the mask of a frame is written."""
        assert self._log is not None
        self._log.write(frame)
        self._unsynced.append(self._unfinished.mask(frame.index))
        self._state.save_if_due()

    def close(self) -> None:
        """Let other processes continue the run."""
        if self._log is not None:
            self._log.close()
        self._unfinished.release()

    def remove(self) -> None:
        """Remove what a later run would need: there is nothing to continue."""
        self._unfinished.remove()

    def sync(self) -> None:
        """Wait until all masks, and the log that lists them, are on the disk."""
        assert self._log is not None
        sync_files(self._unsynced)
        self._unsynced = []
        self._log.sync()


def _line(frame: FrameMask) -> bytes:
    values = {field.name: getattr(frame, field.name) for field in fields(frame) if field.name != "labels"}
    soft = None if frame.soft is None else encode_soft(frame.soft).decode()
    values |= {"scores": list(frame.scores.items()), "soft": soft}
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> FrameMask | None:
    """Return the frame of a line, with empty labels; None if the line is damaged."""
    try:
        values = json.loads(line)
        kinds = {"type": FrameType(values["type"]), "source": MaskSource(values["source"])}
        soft = None if values.get("soft") is None else decode_soft(values["soft"].encode())
        arrays = {"labels": np.zeros((0, 0), np.uint8), "soft": soft}
        return FrameMask(**values | kinds | {"scores": dict(values["scores"])} | arrays)
    except (ValueError, KeyError, TypeError):
        return None
