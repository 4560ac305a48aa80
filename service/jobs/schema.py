"""The table of jobs, and the conversion of a `Job` to a row."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
)

from service.jobs.reading import Document, UtcDateTime
from service.jobs.types import Job

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
    Column("options", Document, nullable=False),
    Column("video", Document, nullable=False),
    Column("prompt", Document(none_as_null=True)),
    Column("notes", Document(none_as_null=True)),
    Column("report", Document(none_as_null=True)),
    Column("error", Document(none_as_null=True)),
    Column("done", Integer, nullable=False),
    Column("total", Integer),
    Column("stage", String(16), nullable=False),
    Column("fps", Float),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False),
    Column("delete_requested", Boolean, nullable=False, server_default=false()),
    Column("worker", String(64)),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("lease_until", UtcDateTime),
    Column("segments", Document, nullable=False, server_default="[]"),
    Column("attempts", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("corrects", String(32)),
    Column("origin", String(32)),
    Column("webhook", Document(none_as_null=True)),
    Column("traceparent", String(64)),
    UniqueConstraint("api_key_id", "idempotency_key"),
    Index("ix_jobs_status_id", "status", "id"),
    Index("ix_jobs_status_api_key_id_id", "status", "api_key_id", "id"),
    Index("ix_jobs_worker", "worker"),
    Index("ix_jobs_origin", "origin"),
)

turns = Table(
    "turns",
    metadata,
    Column("api_key_id", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
)
"""Of each API key that ever had a job claimed, the number of its latest claim among all claims."""

speeds = Table(
    "speeds",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("megapixels_per_second", Float, nullable=False),
)
"""The speed of each base network, measured by jobs."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("event", String(32), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("send_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("answer", String(200)),
    Column("delivered_at", UtcDateTime),
    Column("host", String(255)),
    Index("ix_deliveries_send_at", "send_at"),
)
"""Events of jobs for their webhooks (see `service.jobs.outbox`)."""

workers = Table(
    "workers",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("sign", String(16), nullable=False),
)
"""The latest sign of life of each process with workers (see `service.engine.upkeep.presence`)."""


def to_columns(**attributes: Any) -> dict[str, Any]:
    """Convert attributes of a `Job`, given by name, to values of columns."""
    columns = dict(attributes)
    if "progress" in columns:
        columns |= asdict(columns.pop("progress"))
    if "options" in columns:
        columns["options"] = columns["options"].model_dump()
    for name in ("video", "error", "webhook"):
        if columns.get(name) is not None:
            columns[name] = asdict(columns[name])
    if "prompt" in columns:
        columns["prompt"] = [item.to_json() for item in columns["prompt"]]
    if "segments" in columns:
        columns["segments"] = [asdict(segment) for segment in columns["segments"]]
    if "notes" in columns:
        columns["notes"] = list(columns["notes"])
    if "status" in columns:
        columns["status"] = str(columns["status"])
    if "api_key_id" in columns:
        columns["api_key_id"] = columns["api_key_id"] or ""
    return columns


def row_of(job: Job) -> dict[str, Any]:
    """Return all columns of a job."""
    return to_columns(**{f.name: getattr(job, f.name) for f in fields(job) if f.name != "unreadable"})


CLAIM = (jobs.c.id, jobs.c.fence, jobs.c.worker, jobs.c.lease_until, jobs.c.segments)
"""The columns of a `Claim`."""
