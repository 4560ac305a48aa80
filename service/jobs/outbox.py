"""Webhooks that are to be sent: each event of a job is stored by the very transaction that changes the job.

A sender claims a delivery for longer than sending takes. If it dies meanwhile, another one sends again, so a receiver
gets each event at least once, with one id. The end of a job is not sent before its start was tried.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, exists, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.jobs.reading import job_of
from service.jobs.schema import deliveries, jobs
from service.jobs.types import Delivery, Job, JobStatus

CLAIM = timedelta(seconds=60)
"""How long a sender has a delivery for itself."""
BACKOFF = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 3600, 7200))
"""Pauses after failed attempts; the event is given up after one more."""
_EVENTS = {
    JobStatus.RUNNING: "job.started",
    JobStatus.SUCCEEDED: "job.succeeded",
    JobStatus.FAILED: "job.failed",
    JobStatus.CANCELED: "job.canceled",
}
EVENTS = tuple(_EVENTS.values())
"""All events."""
STARTED = EVENTS[0]
"""The only event that may come before others of its job."""
_MAX_HOST = 255


def note_event(connection: Connection, job: Job) -> None:
    """Store the delivery of a job's new status, if its webhook asks for it and it is not stored yet."""
    event = _EVENTS.get(job.status)
    if job.webhook is None or event not in job.webhook.events:
        return
    now = datetime.now(UTC)
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    host = (urlsplit(job.webhook.url).hostname or "")[:_MAX_HOST]
    values = {"job_id": job.id, "event": event, "created_at": now, "send_at": now, "attempts": 0, "host": host}
    connection.execute(insert(deliveries).values(values).on_conflict_do_nothing())


def claim_delivery(connection: Connection, busy: Collection[str] = ()) -> tuple[Delivery, Job] | None:
    """Claim the delivery that waits longest, if one is due; return it with its job.

    Args:
        connection: A transaction.
        busy: Hosts that shall get nothing now.
    """
    now = datetime.now(UTC)
    start = deliveries.alias()
    is_start_untried = exists().where(
        start.c.job_id == deliveries.c.job_id,
        start.c.event == STARTED,
        start.c.answer.is_(None),
        start.c.send_at.is_not(None),
    )
    due = (
        select(deliveries.c.job_id, deliveries.c.event)
        .where(
            deliveries.c.send_at <= now,
            or_(deliveries.c.host.is_(None), deliveries.c.host.not_in(busy)),
            or_(deliveries.c.event == STARTED, not_(is_start_untried)),
        )
        .order_by(deliveries.c.send_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(due).first()
    if found is None:
        return None
    mine = (deliveries.c.job_id == found.job_id, deliveries.c.event == found.event)
    claim = update(deliveries).where(*mine, deliveries.c.send_at <= now)
    claimed = connection.execute(
        claim.values(send_at=now + CLAIM, attempts=deliveries.c.attempts + 1).returning(*deliveries.c)
    ).first()
    row = connection.execute(select(jobs).where(jobs.c.id == found.job_id)).first()
    if claimed is None:
        return None
    if row is None:  # the job was deleted: nobody waits for its events
        connection.execute(delete(deliveries).where(*mine))
        return None
    return Delivery(**claimed._mapping), job_of(row)


def settle_delivery(connection: Connection, delivery: Delivery, answer: str, *, delivered: bool, final: bool) -> None:
    """Note how an attempt ended; after a failure that is not final, the next one follows after a pause."""
    now = datetime.now(UTC)
    given_up = final or delivery.attempts > len(BACKOFF)
    mine = (deliveries.c.job_id == delivery.job_id, deliveries.c.event == delivery.event)
    values: dict[str, Any] = {"answer": answer[:200]}
    if delivered:
        values |= {"send_at": None, "delivered_at": now}
    else:
        values["send_at"] = None if given_up else now + BACKOFF[delivery.attempts - 1]
    # Not if another sender has tried since: its attempt counts then.
    connection.execute(update(deliveries).where(*mine, deliveries.c.attempts == delivery.attempts).values(values))
