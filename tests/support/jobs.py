"""Puts jobs into states that tests need."""

from __future__ import annotations

from sqlalchemy import update

from service.jobs.schema import jobs
from service.jobs.store import JobStore


def mark_for_deletion(store: JobStore, job_id: str) -> None:
    """Only set the flag, as a service that dies in the middle of `request_delete` does."""
    with store._engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(delete_requested=True))
