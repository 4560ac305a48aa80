"""All masks of a job, and what they can be turned into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from keymask.cvat import CvatServer, CvatUpload, upload
from keymask.mask_file import davis_palette, encode
from keymask.models import Frame, Job, ReviewRange


class Track:
    """The masks of a finished job, held as run lengths.

    Attributes:
        job: The job.
        frames: Its frames in presentation order.
    """

    def __init__(self, job: Job, frames: tuple[Frame, ...]) -> None:
        self.job = job
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __getitem__(self, position: int) -> Frame:
        return self.frames[position]

    def __repr__(self) -> str:
        return f"Track(job={self.job.id!r}, frames={len(self)}, size={self.job.video.width}x{self.job.video.height})"

    def correct(self, prompt: Any = None, **given: Any) -> Track:
        """Correct the masks, as `Client.correct` does with the same arguments; wait, and return all corrected masks.

        Raises:
            InvalidArgumentError: The job does not come from a `Client`.
        """
        corrected = self.job.correct(prompt, **given)
        return cast(Track, corrected._connected().track(corrected))

    @property
    def masks(self) -> npt.NDArray[np.uint8]:
        """Labels uint8 [frames, height, width]: 0 background, other values object ids. Decoded at each access."""
        masks = np.empty((len(self), self.job.video.height, self.job.video.width), np.uint8)
        for position, frame in enumerate(self.frames):
            masks[position] = frame.mask
        return masks

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Presentation times in seconds, float64 [frames]."""
        return np.array([frame.time for frame in self.frames], np.float64)

    @property
    def scores(self) -> dict[int, npt.NDArray[np.float64]]:
        """Object id -> confidence per frame, float64 [frames], 0 to 1; 0 where the object is not visible."""
        scores: dict[int, npt.NDArray[np.float64]] = {}
        for position, frame in enumerate(self.frames):
            for item in frame.objects:
                scores.setdefault(item.id, np.zeros(len(self)))[position] = item.score
        return scores

    @property
    def review(self) -> tuple[ReviewRange, ...]:
        """Ranges of frames to look at first, the most urgent first."""
        found = (self.job.report or {}).get("needs_review", ())
        return tuple(ReviewRange.model_validate(item) for item in found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What you should know about the uploads and the run, in plain words."""
        return tuple(dict.fromkeys([*self.job.notes, *(self.job.report or {}).get("notes", ())]))

    @property
    def sources(self) -> list[str]:
        """Source of each mask, see `Frame.source`."""
        return [frame.source for frame in self.frames]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write one indexed PNG with the DAVIS palette per frame, as `keymask run --out` does.

        Args:
            folder: Folder of 00000.png, 00001.png and so on, numbered by `Frame.index`; created if missing.
        """
        target, palette = Path(folder), davis_palette()
        target.mkdir(parents=True, exist_ok=True)
        for frame in self.frames:
            (target / f"{frame.index:05d}.png").write_bytes(encode(frame.mask, palette))
        return target

    def to_cvat(
        self,
        task: int,
        *,
        token: str,
        url: str = "https://app.cvat.ai",
        labels: Mapping[int, str] | None = None,
        replace: bool = False,
        on_frames: Callable[[int], None] = lambda _count: None,
    ) -> CvatUpload:
        """Add the masks to a task of CVAT that was made from the same video, as `keymask export cvat` does.

        Frames are matched by number; those that the task does not have are left out.

        Args:
            task: Id of the task.
            token: Personal access token of CVAT.
            url: Address of CVAT.
            labels: Object id -> name of a label of the task, of type any or mask; by default the labels of the job.
            replace: Whether to remove all annotations of the task first.
            on_frames: Called with the number of frames that CVAT has so far.

        Raises:
            PackageMissingError: cvat-sdk is not installed.
            InvalidArgumentError: The task has no label for an object, or pictures of another size.
            CvatError: CVAT cannot be reached, or refuses a call.
        """
        given = labels or {int(i): name for i, name in (self.job.options.get("labels") or {}).items()}
        return upload(self.frames, given, CvatServer(url, token), task, replace=replace, on_frames=on_frames)
