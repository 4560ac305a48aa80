"""What the service answers, typed, and the masks that are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from keymask import rle


class _Answer(BaseModel):
    """Members that a newer service adds are kept and do no harm."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Options(BaseModel):
    """How to segment; what is None is left to the service.

    Attributes:
        model: Name of a network that `Client.models` lists.
        keyframes: "adaptive", "codec" or "every:N".
        prompt_frame: Frame that the mask belongs to, counted from 0.
        start, end: First frame wanted, and the one to stop before.
        max_side: Longest side in pixels at which frames are analysed.
        quality: "fast", "balanced" or "best": how many key frames "adaptive" takes, and how closely it looks between.
        max_key_share: Most key frames that "adaptive" takes, as a share of the frames so far, above 0 to 1.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    keyframes: str | None = None
    prompt_frame: int | None = None
    start: int | None = None
    end: int | None = None
    max_side: int | None = None
    quality: str | None = None
    max_key_share: float | None = None


class Progress(_Answer):
    """How far a job is: masks done, masks expected (None: unknown), what it does now, masks a second."""

    done: int = 0
    total: int | None = None
    stage: str = ""
    fps: float | None = None


class Video(_Answer):
    """The video as the service found it; sizes as displayed, in pixels."""

    codec: str
    width: int
    height: int
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    rotation: int = 0


class Failure(_Answer):
    """Why a job failed."""

    type: str = "about:blank"
    detail: str = ""


class Job(_Answer):
    """A job."""

    id: str
    status: JobStatus
    progress: Progress = Progress()
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    options: dict[str, Any] = {}
    video: Video
    report: dict[str, Any] | None = None
    error: Failure | None = None
    links: dict[str, str] = {}


class Model(_Answer):
    """A network that the service offers."""

    name: str
    license: str = ""
    size: int | None = None
    loaded: bool = False
    default: bool = False


class Forecast(_Answer):
    """What a key-frame policy would cost: key frames, their share, and how much faster than the network on all."""

    policy: str
    key_frames: int
    key_share: float
    speedup: float
    estimated: bool = False


class Probe(_Answer):
    """What a video's bitstream offers.

    Attributes:
        video: Codec, sizes, rotation and more, by name.
        frames: Frames that were decoded.
        complete: Whether that is all of them.
        fps: Frames a second by their times; None if there are too few.
        constant_rate: Whether all frames last equally long.
        types: Frames by type, "I", "P" and "B".
        motion_coverage: Share of the picture that has motion vectors, in frames that are not intra coded.
        intra_share: Share of it that has none.
        forecasts: What each key-frame policy would cost.
        advice: The same in plain words.
    """

    video: dict[str, Any]
    frames: int
    complete: bool = True
    fps: float | None = None
    constant_rate: bool | None = None
    types: dict[str, int] = {}
    motion_coverage: float | None = None
    intra_share: float | None = None
    forecasts: tuple[Forecast, ...] = ()
    advice: tuple[str, ...] = ()


class RunLength(_Answer):
    """COCO's compressed run-length encoding: [height, width] and the runs."""

    size: tuple[int, int]
    counts: str


class ObjectMask(_Answer):
    """One object in one frame: id, run lengths, [x, y, width, height], pixels, confidence 0 to 1."""

    id: int
    rle: RunLength
    bbox: tuple[float, float, float, float]
    area: int
    score: float

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Bool [height, width]."""
        return rle.decode(self.rle.counts, *self.rle.size)


class Frame(_Answer):
    """One frame's mask.

    Attributes:
        index: Position in presentation order, from 0.
        pts: Presentation time in the stream's units, None if it has none.
        time: Presentation time in seconds.
        type: "I", "P" or "B".
        source: "prompt", "key", "propagated" or "fallback".
        objects: The objects that are visible.
        height, width: Size of the mask in pixels, as displayed.
    """

    index: int
    pts: int | None = None
    time: float
    type: str
    source: str
    objects: tuple[ObjectMask, ...]
    height: int = Field(exclude=True)
    width: int = Field(exclude=True)

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width]: 0 background, otherwise object ids; decoded at each use, since arrays are large."""
        labels = np.zeros((self.height, self.width), np.uint8)
        for item in self.objects:
            labels[item.mask] = item.id
        return labels


class Track:
    """The masks of a finished job. Held as run lengths; arrays are made when they are asked for.

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

    @property
    def masks(self) -> npt.NDArray[np.uint8]:
        """uint8 [frames, height, width], 0 background, otherwise object ids; made at each call."""
        masks = np.empty((len(self), self.job.video.height, self.job.video.width), np.uint8)
        for position, frame in enumerate(self.frames):
            masks[position] = frame.mask
        return masks

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Presentation times in seconds, float64 [frames]."""
        return np.array([frame.time for frame in self.frames], np.float64)

    @property
    def sources(self) -> list[str]:
        """Where each mask comes from."""
        return [frame.source for frame in self.frames]
