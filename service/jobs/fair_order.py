"""Which queued job is claimed next: API keys take turns, and each gets its oldest job."""

from __future__ import annotations

from sqlalchemy import Connection, ScalarSelect, func, select, update

from service.jobs.database import upsert
from service.jobs.rows import QUEUED, VISIBLE
from service.jobs.schema import jobs, turns


def next_job() -> ScalarSelect[str]:
    """Return a query for the id of the next job: of the key whose latest claim is longest ago, the oldest one.

    Jobs that another worker is just claiming are skipped. Workers that claim at the same moment may therefore get jobs
    of the same key; its turn ends with the first of these claims.
    """
    queued = (
        select(jobs.c.id)
        .select_from(jobs.outerjoin(turns, turns.c.api_key_id == jobs.c.api_key_id))
        .where(QUEUED, VISIBLE)
        .order_by(func.coalesce(turns.c.number, 0), jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=jobs)
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
