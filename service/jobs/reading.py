"""Reads rows into jobs. A part that cannot be read, such as one that a newer version wrote, spoils only itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import JSON, DateTime, Dialect, Row, TypeDecorator

from service.jobs.types import Claim, Job, JobError, JobProgress, JobStatus, JobVideo
from service.run.options import JobOptions

UNREADABLE = object()
"""In place of a stored value that the type of its column cannot read."""

_UNREADABLE_JOB = "job-unreadable"
_ROW_PARTS = tuple(name for name in get_type_hints(Job) if name != "unreadable")
_READERS = {name: TypeAdapter(hint).validate_python for name, hint in get_type_hints(Job).items()}
_PROGRESS = tuple(get_type_hints(JobProgress))
_OPTIONAL_TUPLES = ("prompt", "notes")
_SUBSTITUTES: Mapping[str, Any] = {
    "options": JobOptions(),
    "video": JobVideo("unknown", 0, 0, None, None, None, 0),
    "status": JobStatus.FAILED,
    "payload_sha256": "",
    "created_at": datetime.fromtimestamp(0, UTC),
}

Value = TypeVar("Value")


class _Tolerant(TypeDecorator[Value]):
    """A type that reads what it cannot convert as `UNREADABLE`, so that other rows of the query can be read."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return a function that converts a value and never fails."""
        convert = super().result_processor(dialect, coltype)
        if convert is None:
            return None

        def tolerant(value: Any) -> Any:
            try:
                return convert(value)
            except Exception:
                return UNREADABLE

        return tolerant


class Document(_Tolerant[Any]):
    """A JSON value."""

    impl = JSON
    cache_ok = True


class UtcDateTime(_Tolerant[datetime]):
    """Time-zone-aware times in UTC, also in databases without time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC; a stored time without a zone is UTC."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def job_of(row: Row[Any]) -> Job:
    """Return the job stored in a row.

    Parts that cannot be read are replaced and named in `unreadable`. Without a readable status, a job counts as failed.
    """
    stored = dict(row._mapping)
    stored["progress"] = {name: stored[name] for name in _PROGRESS}
    stored["api_key_id"] = stored["api_key_id"] or None
    for name in _OPTIONAL_TUPLES:
        stored[name] = () if stored[name] is None else stored[name]
    parts: dict[str, Any] = {}
    unreadable = []
    for name in _ROW_PARTS:
        try:
            parts[name] = _READERS[name](stored[name])
        except Exception:  # pydantic passes on some errors of the validators of options
            unreadable.append(name)
            if name in _SUBSTITUTES:
                parts[name] = _SUBSTITUTES[name]
    job = Job(**parts)
    return _mark(job, tuple(unreadable)) if unreadable else job


def claim_of(row: Row[*tuple[Any, ...]]) -> Claim:
    """Return the claim that the columns `service.jobs.schema.CLAIM` of a row describe."""
    stored = row._mapping
    try:
        segments = _READERS["segments"](stored["segments"])
    except ValueError:
        segments = None
    return Claim(stored["id"], stored["fence"], stored["worker"] or "", stored["lease_until"], segments)


def unreadable_error(job: Job) -> JobError:
    """Return the error of a job that cannot run because of its unreadable parts."""
    return JobError(_UNREADABLE_JOB, f"{_statement(job.unreadable)}, so the job cannot run; post it again")


def _mark(job: Job, unreadable: tuple[str, ...]) -> Job:
    marked = replace(job, unreadable=unreadable, notes=(*job.notes, _statement(unreadable)))
    return replace(marked, error=unreadable_error(marked)) if "status" in unreadable else marked


def _statement(unreadable: tuple[str, ...]) -> str:
    return f"this version of the service cannot read the stored {', '.join(unreadable)} of the job"
