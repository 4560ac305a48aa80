"""Which queued job is claimed next: API keys take turns, and each gets its oldest job."""

from __future__ import annotations

from sqlalchemy import Connection, ScalarSelect, func, select, update

from service.jobs.database import upsert
from service.jobs.rows import QUEUED, VISIBLE
from service.jobs.schema import jobs, turns


def waiting_keys(connection: Connection) -> list[str]:
    """Return the API keys that have queued jobs, the one whose latest claim is longest ago first.

    Each key is looked up in the index after the one before it, so long queues cost no more than short ones.
    """
    least = select(func.min(jobs.c.api_key_id).label("api_key_id")).where(QUEUED)
    found = least.cte("found", recursive=True)
    following = least.where(jobs.c.api_key_id > found.c.api_key_id).correlate(found).scalar_subquery()
    keys = found.union_all(select(following).where(found.c.api_key_id.is_not(None)))
    oldest = select(func.min(jobs.c.id)).where(QUEUED, jobs.c.api_key_id == keys.c.api_key_id).scalar_subquery()
    query = (
        select(keys.c.api_key_id)
        .outerjoin(turns, turns.c.api_key_id == keys.c.api_key_id)
        .where(keys.c.api_key_id.is_not(None))
        .order_by(func.coalesce(turns.c.number, 0), oldest)
    )
    return list(connection.scalars(query))


def next_job(api_key_id: str) -> ScalarSelect[str]:
    """Return a query for the id of the key's oldest queued job that no other worker is just claiming."""
    queued = (
        select(jobs.c.id)
        .where(QUEUED, VISIBLE, jobs.c.api_key_id == api_key_id)
        .order_by(jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return queued.correlate(None).scalar_subquery()


def take_turn(connection: Connection, api_key_id: str | None) -> None:
    """Note, in the transaction of a claim, that the claim was the latest one and went to this key.

    The turns are numbered, because clocks go back and differ between machines. If another claim for the key is just
    being noted, that is enough: hundreds of workers that claim at once do not wait for each other.
    """
    following = select(func.coalesce(func.max(turns.c.number), 0)).scalar_subquery() + 1
    mine = turns.c.api_key_id == (api_key_id or "")
    if connection.scalar(select(turns.c.number).where(mine)) is None:
        upsert(connection, turns, {"api_key_id": api_key_id or ""}, {"number": following})
    else:
        free = select(turns.c.api_key_id).where(mine).with_for_update(skip_locked=True).scalar_subquery()
        connection.execute(update(turns).where(turns.c.api_key_id == free).values(number=following))
