"""The JSON of the HTTP API as pydantic models, made from the records of `service.jobs.types`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from service.jobs.types import Delivery, Job, JobStatus
from service.problems import type_of
from service.run.options import JobOptions


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]
"""UTC, RFC 3339 with milliseconds."""


class Options(JobOptions):
    """Options of a job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keyframes": "adaptive", "start": 0, "end": 90}]})


class Progress(BaseModel):
    """Progress of a job."""

    done: Annotated[int, Field(description="Number of masks written.")]
    total: Annotated[int | None, Field(description="Number of masks expected; null if unknown.")]
    stage: Annotated[str, Field(description="`waiting`, `loading`, `resuming`, `segmenting` or `finished`.")]
    fps: Annotated[float | None, Field(description="Masks per second.")]


class Video(BaseModel):
    """The video, as found at the upload. Width and height are the display size in pixels."""

    codec: str
    width: int
    height: int
    fps: float | None
    frames: Annotated[
        int | None,
        Field(
            description="Number of frames. For a long Matroska or WebM video it is an estimate (duration times frame "
            "rate) until the job has read the whole video."
        ),
    ]
    duration: Annotated[float | None, Field(description="Duration in seconds.")]
    rotation: Annotated[int, Field(description="Degrees clockwise by which players rotate the coded picture.")]


class PromptObject(BaseModel):
    """An object of the prompt, as it was read."""

    object: Annotated[int, Field(ge=1, le=255, description="Object id.")]
    label: Annotated[str | None, Field(description="Name in the option `labels`; null if it has none.")]
    frame: Annotated[int, Field(ge=0, description="Frame that the mask belongs to, counted from 0.")]
    color: Annotated[str | None, Field(description="Color in the mask as #rrggbb; null if it has none.")]
    area: Annotated[int, Field(description="Number of pixels.")]
    bbox: Annotated[list[int], Field(min_length=4, max_length=4, description="[x, y, width, height] in pixels.")]


class JobFailure(BaseModel):
    """Why a job failed."""

    type: Annotated[str, Field(description="The `type` of a problem, such as `/problems/video-truncated`.")]
    detail: str


Event: TypeAlias = Literal["job.started", "job.succeeded", "job.failed", "job.canceled"]
"""Events of a job."""


class WebhookRequest(BaseModel):
    """Where the events of a job shall be sent."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"url": "https://example.com/hook"}]})

    url: Annotated[str, Field(max_length=2000, description="URL that events are posted to, signed.")]
    events: Annotated[
        list[Event], Field(min_length=1, description="Which events are sent; by default how the job ends.")
    ] = ["job.succeeded", "job.failed", "job.canceled"]


class WebhookView(BaseModel):
    """Where the events of a job are sent."""

    url: str
    events: list[str]


class DeliveryView(BaseModel):
    """An event of a job on its way to the webhook."""

    id: Annotated[str, Field(description="`webhook-id` of all attempts.")]
    event: str
    created_at: Annotated[Moment, Field(description="Time of the event.")]
    attempts: int
    answer: Annotated[str | None, Field(description="What came of the latest attempt; null before the first.")]
    delivered_at: Annotated[Moment | None, Field(description="Time at which the receiver answered 2xx.")]
    next_attempt_at: Annotated[Moment | None, Field(description="Null if it is delivered or was given up.")]

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        """Return a delivery as clients see it."""
        fields = {name: getattr(delivery, name) for name in cls.model_fields if name != "next_attempt_at"}
        return cls(**fields, next_attempt_at=delivery.send_at)


class Deliveries(BaseModel):
    """The events of a job for its webhook, in the order in which they happened."""

    deliveries: list[DeliveryView]


class WebhookSecret(BaseModel):
    """What the caller's webhooks are signed with."""

    secret: Annotated[str, Field(description="Secret of Standard Webhooks: `whsec_` and base64.")]


class JobView(BaseModel):
    """A job."""

    id: str
    status: JobStatus
    progress: Progress
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Annotated[Moment | None, Field(description="Time after which the job and its files are deleted.")]
    options: Options
    video: Video
    prompt: Annotated[list[PromptObject], Field(description="What was read from the mask.")]
    notes: Annotated[list[str], Field(description="What you should know about the uploads, in plain words.")]
    corrects: Annotated[str | None, Field(description="Id of the job whose masks this one corrects.")]
    origin: Annotated[str | None, Field(description="Id of the first job of the versions; null in that one.")]
    webhook: Annotated[WebhookView | None, Field(description="Where its events are sent.")]
    report: Annotated[dict[str, Any] | None, Field(description="Report of a finished run.")]
    error: JobFailure | None
    links: Annotated[
        dict[str, str], Field(description="Addresses on this server, below the prefix that a proxy gives it.")
    ]

    @classmethod
    def of(cls, job: Job, root: str = "") -> JobView:
        """Return the job as clients see it, with links below `root`."""
        return cls.model_validate(
            {
                "id": job.id,
                "status": job.status,
                "progress": _fields(job.progress),
                "created_at": job.created_at,
                "started_at": job.started_at,
                "finished_at": job.finished_at,
                "expires_at": job.expires_at,
                "options": job.options.model_dump(),
                "video": _fields(job.video),
                "prompt": [item.to_json(job.options.labels) for item in job.prompt],
                "notes": list(job.notes),
                "corrects": job.corrects,
                "origin": job.origin,
                "webhook": None if job.webhook is None else {"url": job.webhook.url, "events": job.webhook.events},
                "report": None if job.report is None else dict(job.report),
                "error": None if job.error is None else {"type": type_of(job.error.type), "detail": job.error.detail},
                "links": links_of(job.id, root),
            }
        )


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def links_of(job_id: str, root: str = "") -> dict[str, str]:
    """Return the addresses of a job's resources below `root`."""
    job = f"{root}/v1/jobs/{job_id}"
    return {
        "self": job,
        "events": f"{job}/events",
        "masks": f"{job}/masks",
        "mask": f"{job}/masks/{{index}}.png",
        "result": f"{job}/result?format={{format}}",
        "review": f"{job}/review",
        "cancel": f"{job}/cancel",
        "corrections": f"{job}/corrections",
        "versions": f"{job}/versions",
        "deliveries": f"{job}/deliveries",
    }


class JobPage(BaseModel):
    """One page of the list of jobs, newest first."""

    jobs: list[JobView]
    cursor: Annotated[str | None, Field(description="The `cursor` parameter of the next page; null on the last page.")]


class RunLength(BaseModel):
    """COCO's compressed run-length encoding."""

    size: Annotated[list[int], Field(min_length=2, max_length=2, description="[height, width] in pixels.")]
    counts: str


class JobVersions(BaseModel):
    """A job and its corrections, the oldest first."""

    versions: list[JobView]


class ObjectMask(BaseModel):
    """One object in one frame."""

    id: Annotated[int, Field(ge=1, le=255)]
    rle: RunLength
    bbox: Annotated[list[int], Field(min_length=4, max_length=4, description="[x, y, width, height] in pixels.")]
    area: Annotated[int, Field(description="Number of pixels.")]
    score: Annotated[float, Field(ge=0, le=1)]


class FrameLine(BaseModel):
    """One line of the mask stream: a frame and the objects that are visible in it."""

    index: int
    pts: Annotated[int | None, Field(description="The stream's own timestamp, in its time base.")]
    time: Annotated[
        float, Field(description="Presentation time in seconds from the start of the file, also across jumps of pts.")
    ]
    type: Literal["I", "P", "B"]
    source: Literal["prompt", "corrected", "key", "propagated", "fallback"]
    objects: list[ObjectMask]


class PromptMask(BaseModel):
    """The mask that was made from boxes and points."""

    frame: int
    time: Annotated[float, Field(description="Presentation time of the frame in seconds.")]
    width: Annotated[int, Field(description="Width of the mask in pixels: the display size of the video.")]
    height: Annotated[int, Field(description="Height of the mask in pixels.")]
    objects: list[ObjectMask]
    notes: Annotated[list[str], Field(description="What to look at, in plain words.")]


class ModelView(BaseModel):
    """A base network."""

    name: str
    summary: str
    license: Annotated[str, Field(description="SPDX identifier of the weights' licence.")]
    terms: str
    size: Annotated[int | None, Field(description="Size of the weights in bytes; null if they are not installed.")]
    available: Annotated[bool, Field(description="Whether jobs can use it.")]
    loaded: Annotated[bool, Field(description="Whether a worker of this service has loaded it.")]
    default: bool


class ModelList(BaseModel):
    """The base networks."""

    models: list[ModelView]


class ConfinementView(BaseModel):
    """What the kernel enforces on processes that decode uploads."""

    landlock: Annotated[int, Field(description="Version of Landlock, which takes files away; 0 without it.")]
    seccomp: Annotated[bool, Field(description="Whether system calls are refused: no sockets, no programs.")]


class Health(BaseModel):
    """State of the service."""

    status: Literal["ok"]
    confinement: Annotated[
        ConfinementView | None, Field(description="How uploads are decoded; only for callers with an API key.")
    ] = None


class ProblemView(BaseModel):
    """An error (RFC 9457). Some types have further members, such as the sizes of mask and video."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: Annotated[str, Field(description="Identifies the kind of error; stable.")]
    title: Annotated[str, Field(description="The kind of error in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What was given and what is allowed, in one line.")]


class ProblemKind(BaseModel):
    """A kind of error."""

    type: Annotated[str, Field(description="The `type` of a problem.")]
    title: Annotated[str, Field(description="The kind of error in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    retry_after: Annotated[int | None, Field(description="Seconds after which the same request may succeed.")]


class UploadView(BaseModel):
    """A resumable upload."""

    id: Annotated[str, Field(description="Id of the upload.")]
    offset: Annotated[int, Field(description="Number of bytes that have arrived, where the upload continues.")]
    length: Annotated[int, Field(description="Number of bytes of the whole.")]
    complete: Annotated[bool, Field(description="Whether all bytes have arrived.")]
    expires_at: Annotated[Moment, Field(description="Until when the upload is kept at least.")]


class ResultNotes(BaseModel):
    """What was changed or lost in a result."""

    notes: Annotated[list[str], Field(description="One sentence each, in plain words.")]


class ReviewRangeView(BaseModel):
    """Frames of one object that need review for one reason."""

    first: Annotated[int, Field(alias="from", description="Index of the first frame.")]
    end: Annotated[int, Field(alias="to", description="Index of the frame after the last.")]
    object: Annotated[int, Field(description="Object id.")]
    reason: Annotated[
        Literal["lost", "cut", "uncertain", "area", "border", "far"],
        Field(
            description="`lost`: the object was not found. `cut`: a new shot began up to 16 frames before. "
            "`uncertain`: the masks have a low score. `area`: its area jumps. `border`: it reaches the edge of the "
            "picture. `far`: far from a key frame."
        ),
    ]
    score: Annotated[float, Field(description="Lowest confidence of the object's masks in the range, 0 to 1.")]
