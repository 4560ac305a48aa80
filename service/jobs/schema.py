"""The table of jobs, and the conversion between a row and a `Job`."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
)

from service.jobs.types import Job, JobError, JobProgress, JobStatus, JobVideo
from service.prompts.objects import PromptObject
from service.run.options import JobOptions


class UtcDateTime(TypeDecorator[datetime]):
    """Time-zone-aware times in UTC, also in databases without time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC; a stored time without a zone is UTC."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(column_0_N_label)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("status", String(16), nullable=False),
    # "" without API keys: NULLs are never equal, so the unique constraint below would not hold.
    Column("api_key_id", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("payload_sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("options", JSON, nullable=False),
    Column("video", JSON, nullable=False),
    Column("prompt", JSON(none_as_null=True)),
    Column("notes", JSON(none_as_null=True)),
    Column("report", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("done", Integer, nullable=False),
    Column("total", Integer),
    Column("stage", String(16), nullable=False),
    Column("fps", Float),
    Column("cancel_requested", Boolean, nullable=False),
    Column("delete_requested", Boolean, nullable=False, server_default=false()),
    Column("worker", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    UniqueConstraint("api_key_id", "idempotency_key"),
    Index("ix_jobs_status_id", "status", "id"),
    Index("ix_jobs_worker", "worker"),
)

_PLAIN_COLUMNS = tuple(
    f.name
    for f in fields(Job)
    if f.name not in ("api_key_id", "progress", "options", "video", "prompt", "notes", "error")
)


def to_columns(**attributes: Any) -> dict[str, Any]:
    """Convert attributes of a `Job`, given by name, to values of columns."""
    columns = dict(attributes)
    if "progress" in columns:
        columns |= asdict(columns.pop("progress"))
    if "options" in columns:
        columns["options"] = columns["options"].model_dump()
    for name in ("video", "error"):
        if columns.get(name) is not None:
            columns[name] = asdict(columns[name])
    if "prompt" in columns:
        columns["prompt"] = [item.to_json() for item in columns["prompt"]]
    if "notes" in columns:
        columns["notes"] = list(columns["notes"])
    if "status" in columns:
        columns["status"] = str(columns["status"])
    if "api_key_id" in columns:
        columns["api_key_id"] = columns["api_key_id"] or ""
    return columns


def row_of(job: Job) -> dict[str, Any]:
    """Return all columns of a job."""
    return to_columns(**{f.name: getattr(job, f.name) for f in fields(job)})


def job_of(row: Row[Any]) -> Job:
    """Return the job stored in a row."""
    columns = row._mapping
    plain = {name: columns[name] for name in _PLAIN_COLUMNS}
    plain["status"] = JobStatus(columns["status"])
    return Job(
        **plain,
        api_key_id=columns["api_key_id"] or None,
        progress=JobProgress(columns["done"], columns["total"], columns["stage"], columns["fps"]),
        options=JobOptions(**columns["options"]),
        video=JobVideo(**columns["video"]),
        prompt=tuple(PromptObject.from_json(item) for item in columns["prompt"] or ()),
        notes=tuple(columns["notes"] or ()),
        error=None if columns["error"] is None else JobError(**columns["error"]),
    )
