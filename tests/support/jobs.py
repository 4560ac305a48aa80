"""Jobs in states that tests need."""

from __future__ import annotations

from sqlalchemy import update

from service.jobs.schema import jobs
from service.jobs.store import JobStore


def ask_to_delete(store: JobStore, job_id: str) -> None:
    """Note the wish alone, as a service does that dies in the middle of `request_delete`'s work."""
    with store._engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(delete_requested=True))
