"""Typed responses of the service, and the masks in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from keymask import rle
from keymask.detections import to_detections
from keymask.errors import InvalidArgumentError


class _Response(BaseModel):
    """A response; members that a newer service adds are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class JobStatus(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether this state is final."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Progress(_Response):
    """Progress of a job.

    Attributes:
        done: Number of masks computed.
        total: Number of masks expected; None if unknown.
        stage: What the job is doing.
        fps: Masks per second; None if unknown.
    """

    done: int = 0
    total: int | None = None
    stage: str = ""
    fps: float | None = None


class Video(_Response):
    """The uploaded video; sizes as displayed, in pixels."""

    codec: str
    width: int
    height: int
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    rotation: int = 0


class PromptObject(_Response):
    """An object of the prompt, as the service read it from the mask.

    Attributes:
        object: Object id, 1 to 255.
        label: Name in the option `labels`; None if it has none.
        frame: Frame that the mask belongs to, counted from 0.
        color: Color in the mask as "#rrggbb"; None if it has none.
        area: Number of pixels.
        bbox: Bounding box (x, y, width, height) in pixels.
    """

    object: int
    label: str | None = None
    frame: int = 0
    color: str | None = None
    area: int
    bbox: tuple[int, int, int, int]


class Failure(_Response):
    """The reason why a job failed."""

    type: str = "about:blank"
    detail: str = ""


class Job(_Response):
    """A job.

    Attributes:
        prompt: What the service read from the prompts.
        notes: What you should know about the uploads, in plain words.
        corrects: Id of the job whose masks this one corrects; None for a job with its own masks.
        origin: Id of the first job of the versions; None in that one.
        webhook: Where its events are sent, with `url` and `events`; None if nowhere.
    """

    id: str
    status: JobStatus
    progress: Progress = Progress()
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    options: dict[str, Any] = {}
    video: Video
    prompt: tuple[PromptObject, ...] = ()
    notes: tuple[str, ...] = ()
    corrects: str | None = None
    origin: str | None = None
    webhook: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    error: Failure | None = None
    links: dict[str, str] = {}
    _client: Any = PrivateAttr(default=None)

    def correct(self, prompt: Any = None, **given: Any) -> Job:
        """Correct the masks of this job, as `Client.correct` does with the same arguments; return the correction.

        Raises:
            InvalidArgumentError: The job does not come from a `Client`, for example because it was unpickled.
        """
        return cast(Job, self._connected().correct(self, prompt, **given))

    def versions(self) -> list[Job]:
        """Return the first job and all its corrections that exist, as `Client.versions` does."""
        return cast(list[Job], self._connected().versions(self))

    def undo(self) -> Job:
        """Delete this correction and return the job that it corrects, as `Client.undo` does."""
        return cast(Job, self._connected().undo(self))

    def _connected(self) -> Any:
        if self._client is None:
            raise InvalidArgumentError(
                f"job {self.id} does not come from a Client; call the client's method of this name"
            )
        return self._client

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the client, which cannot be pickled."""
        return super().__getstate__() | {"__pydantic_private__": {"_client": None}}


class Model(_Response):
    """A network of the service."""

    name: str
    license: str = ""
    size: int | None = None
    loaded: bool = False
    default: bool = False


class Forecast(_Response):
    """Forecast of the cost of a key-frame policy.

    Attributes:
        policy: "adaptive", "codec" or "every:N".
        key_frames: Number of key frames.
        key_share: Share of key frames, 0 to 1.
        speedup: Speed relative to the network on every frame.
        estimated: Whether the numbers are estimates.
    """

    policy: str
    key_frames: int
    key_share: float
    speedup: float
    estimated: bool = False


class Probe(_Response):
    """Report on a video's bitstream.

    Attributes:
        video: Codec, sizes, rotation and more, by name.
        frames: Number of frames decoded.
        complete: Whether the whole video was decoded.
        fps: Frames per second by their times; None if there are too few frames.
        constant_rate: Whether all frames have the same duration.
        types: Number of frames by type, "I", "P" and "B".
        motion_coverage: Share of the picture with motion vectors, in frames that are not intra coded.
        intra_share: Share of the picture that is intra coded, in the same frames.
        forecasts: Forecast for each key-frame policy.
        advice: The forecasts in plain words.
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


class RunLength(_Response):
    """A mask in COCO's compressed run-length encoding.

    Attributes:
        size: [height, width] in pixels.
        counts: The encoded runs.
    """

    size: tuple[int, int]
    counts: str


class ObjectMask(_Response):
    """One object in one frame.

    Attributes:
        id: Object id, 1 to 255.
        rle: The mask.
        bbox: Bounding box [x, y, width, height] in pixels.
        area: Number of pixels.
        score: Confidence, 0 to 1.
    """

    id: int
    rle: RunLength
    bbox: tuple[float, float, float, float]
    area: int
    score: float

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, bool [height, width]."""
        return rle.decode(self.rle.counts, *self.rle.size)


class Frame(_Response):
    """The mask of one frame.

    Attributes:
        index: Position in presentation order, from 0.
        pts: Presentation timestamp in the stream's time base; None if the frame has none.
        time: Presentation time in seconds from the start of the file.
        type: "I", "P" or "B".
        source: "prompt", "corrected", "key", "propagated" or "fallback".
        objects: The visible objects.
        height: Height of the mask in pixels, as displayed.
        width: Width of the mask in pixels, as displayed.
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
        """Labels uint8 [height, width]: 0 background, other values object ids. Decoded at each access."""
        return _labels(self.objects, self.height, self.width)

    def to_detections(self, labels: Mapping[int, str] | None = None) -> Any:
        """Return the masks as `supervision.Detections`: `tracker_id` is the object's id, `confidence` its score.

        The masks stay run lengths (`supervision.CompactMask`) where the installed version takes them.

        Args:
            labels: Object id -> name, which becomes `data["class_name"]`; objects of one name are of one class.

        Raises:
            PackageMissingError: supervision is not installed.
        """
        return to_detections(self, labels)


def _labels(objects: tuple[ObjectMask, ...], height: int, width: int) -> npt.NDArray[np.uint8]:
    labels = np.zeros((height, width), np.uint8)
    for item in objects:
        labels[item.mask] = item.id
    return labels


class PromptMask(_Response):
    """The mask of one frame that the service made from boxes and points.

    Attributes:
        frame: Position of the frame in presentation order, from 0.
        time: Presentation time in seconds from the start of the file.
        width: Width of the mask in pixels, as displayed.
        height: Height of the mask in pixels, as displayed.
        objects: The objects.
        notes: What to look at, in plain words.
    """

    frame: int
    time: float
    width: int
    height: int
    objects: tuple[ObjectMask, ...]
    notes: tuple[str, ...] = ()

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        """Labels uint8 [height, width]: 0 background, other values object ids. Decoded at each access."""
        return _labels(self.objects, self.height, self.width)


class ReviewRange(_Response):
    """Frames of one object that need review for one reason.

    Attributes:
        first: Index of the first frame.
        end: Index of the frame after the last.
        object: Object id.
        reason: "lost", "cut", "uncertain", "area", "border" or "far".
        score: Lowest confidence of the object's masks in the range, 0 to 1.
    """

    first: int = Field(alias="from")
    end: int = Field(alias="to")
    object: int
    reason: str
    score: float
