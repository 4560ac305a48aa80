"""What goes over HTTP: the models of the contract, made from the records of `service.jobs.types`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from service.http.examples import JOB, JOB_ID
from service.jobs.types import Job, JobStatus
from service.problems import type_of
from service.run.options import JobOptions


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]
"""UTC, RFC 3339 with milliseconds."""


class Options(JobOptions):
    """How to segment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keyframes": "adaptive", "start": 0, "end": 90}]})


class Progress(BaseModel):
    """How far a job is."""

    done: Annotated[int, Field(description="Masks written.")]
    total: Annotated[int | None, Field(description="Masks expected, null if unknown.")]
    stage: Annotated[str, Field(description="waiting, loading, resuming, segmenting or finished.")]
    fps: Annotated[float | None, Field(description="Masks a second.")]


class Video(BaseModel):
    """The video, as probing found it; sizes are those on display, in pixels."""

    codec: str
    width: int
    height: int
    fps: float | None
    frames: Annotated[
        int | None,
        Field(
            description="Of a long Matroska or WebM video duration times rate, until the job has read it to its end."
        ),
    ]
    duration: Annotated[float | None, Field(description="Seconds.")]
    rotation: Annotated[int, Field(description="Degrees clockwise by which players turn the coded picture.")]


class JobFailure(BaseModel):
    """Why a job failed."""

    type: Annotated[str, Field(description="As in a problem, such as `/problems/video-truncated`.")]
    detail: str


class JobView(BaseModel):
    """A job."""

    id: str
    status: JobStatus
    progress: Progress
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Annotated[Moment | None, Field(description="The job and its files are removed after it.")]
    options: Options
    video: Video
    report: Annotated[dict[str, Any] | None, Field(description="What a finished run did and what it cost.")]
    error: JobFailure | None
    links: Annotated[dict[str, str], Field(description="Addresses, relative to the service's root.")]

    @classmethod
    def of(cls, job: Job) -> JobView:
        """The job as clients see it."""
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
                "report": None if job.report is None else dict(job.report),
                "error": None if job.error is None else {"type": type_of(job.error.type), "detail": job.error.detail},
                "links": links_of(job.id),
            }
        )


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def links_of(job_id: str) -> dict[str, str]:
    """Where a job's resources are."""
    return {name: link.replace(JOB_ID, job_id) for name, link in JOB["links"].items()}


class JobPage(BaseModel):
    """Part of the list of jobs, newest first."""

    jobs: list[JobView]
    cursor: Annotated[str | None, Field(description="Pass it as `cursor` for the next part; null at the end.")]


class RunLength(BaseModel):
    """COCO's compressed run-length encoding."""

    size: Annotated[list[int], Field(min_length=2, max_length=2, description="[height, width] in pixels.")]
    counts: str


class ObjectMask(BaseModel):
    """One object in one frame."""

    id: Annotated[int, Field(ge=1, le=255)]
    rle: RunLength
    bbox: Annotated[list[int], Field(min_length=4, max_length=4, description="[x, y, width, height] in pixels.")]
    area: Annotated[int, Field(description="Pixels.")]
    score: Annotated[float, Field(ge=0, le=1)]


class FrameLine(BaseModel):
    """One line of the mask stream: a frame, with the objects that are visible in it."""

    index: int
    pts: int | None
    time: Annotated[float, Field(description="Seconds.")]
    type: Literal["I", "P", "B"]
    source: Literal["prompt", "key", "propagated", "fallback"]
    objects: list[ObjectMask]


class ModelView(BaseModel):
    """A network."""

    name: str
    summary: str
    license: Annotated[str, Field(description="SPDX identifier of the weights' licence.")]
    terms: str
    size: Annotated[int | None, Field(description="Bytes of the weights, null if they are not here.")]
    available: Annotated[bool, Field(description="Whether jobs may use it.")]
    loaded: Annotated[bool, Field(description="Whether a worker of this service holds it now.")]
    default: bool


class ModelList(BaseModel):
    """The networks."""

    models: list[ModelView]


class Health(BaseModel):
    """Whether the service works."""

    status: Literal["ok"]


class ProblemView(BaseModel):
    """An error (RFC 9457). Some kinds have further members, such as the sizes of mask and video."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: Annotated[str, Field(description="Names the kind of error; stable.")]
    title: Annotated[str, Field(description="The kind of error in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What was given and what is allowed, in one line.")]


class ProblemKind(BaseModel):
    """A kind of error."""

    type: Annotated[str, Field(description="As in an error.")]
    title: Annotated[str, Field(description="The kind of error in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    retry_after: Annotated[int | None, Field(description="Seconds after which the same request may succeed.")]
