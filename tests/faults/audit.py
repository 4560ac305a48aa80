"""What must hold once all faults are over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx
from sqlalchemy import create_engine, text

from tests.faults.clients import ALL_FRAMES, ENDED, PATIENCE_SECONDS, Ledger, frames_of
from tests.support.counted_runs import computed_frames
from tests.support.plant import Plant
from tests.support.waiting import wait_for


@dataclass(frozen=True)
class Outcome:
    """The balance of a fault run.

    Attributes:
        acknowledged: Number of jobs that were acknowledged and not deleted.
        unanswered: Number of jobs whose clients never got an answer.
        lost: Acknowledged jobs without all they were promised.
        doubled: Jobs with a frame twice, or in more than one row.
        gave_up: Number of jobs that failed as documented, after the last worker that may die with them.
        resumptions: How often a worker took up a job that another attempt had begun.
        frames: Number of frames that workers computed, each counted once.
        computed_twice: How often a worker computed a frame that had been computed before.
    """

    acknowledged: int
    unanswered: int
    lost: list[str]
    doubled: list[str]
    gave_up: int
    resumptions: int
    frames: int
    computed_twice: int


@dataclass(frozen=True)
class Row:
    """What the database says of a job that has ended."""

    status: str
    deaths: int
    fence: int


def audit(plant: Plant, ledger: Ledger) -> Outcome:
    """Wait until the plant is quiet and examine every job, row and file."""
    rows: dict[str, Row] = wait_for(lambda: _ended_rows(plant), PATIENCE_SECONDS)
    kept = {job_id: wish for job_id, wish in ledger.jobs.items() if wish != "delete"}
    lost = [f"{job_id} has no row" for job_id in kept if job_id not in rows]
    lost += [
        f"{job_id} was deleted and is still there" for job_id in ledger.jobs.keys() - kept.keys() if job_id in rows
    ]
    doubled: list[str] = []
    digests: set[str] = set()
    gave_up = 0
    with httpx.Client(base_url=plant.apis[0].url, timeout=60) as client:
        for job_id, row in rows.items():
            if row.status == "failed" and row.deaths >= 2:
                gave_up += 1
                continue
            lines = client.get(f"/v1/jobs/{job_id}/masks").raise_for_status().text
            frames = frames_of(lines)
            if len(set(frames)) < len(frames):
                doubled.append(f"{job_id} has the frames {frames}")
            if row.status == "succeeded":
                digests.add(hashlib.sha256(lines.encode()).hexdigest())
                if frames != ALL_FRAMES:
                    lost.append(f"{job_id} succeeded with the frames {frames}")
            elif not (row.status == "canceled" and ledger.jobs.get(job_id) == "cancel"):
                lost.append(f"{job_id} is {row.status}")
    if len(digests) > 1:
        lost.append(f"the masks of one clip differ: {digests}")
    lost += [f"{job_id} has no files" for job_id in rows.keys() - plant.job_folders()]
    computed, frames_of_all = computed_frames(plant.home)
    return Outcome(
        acknowledged=len(kept),
        unanswered=len(rows.keys() - ledger.jobs.keys()),
        lost=lost,
        doubled=doubled,
        gave_up=gave_up,
        resumptions=sum(max(0, row.fence - 1) for row in rows.values()),
        frames=frames_of_all,
        computed_twice=computed - frames_of_all,
    )


def ownerless(plant: Plant) -> list[str]:
    """Return what lies in the storage without a job: files of jobs, uploads, unfinished files."""
    return sorted(plant.job_folders() - set(_rows(plant))) + plant.unfinished_files()


def _ended_rows(plant: Plant) -> dict[str, Row] | None:
    """Return the rows of all jobs by id; None while one runs or waits for its deletion."""
    rows = _rows(plant)
    return None if any(row.status not in ENDED for row in rows.values()) else rows


def _rows(plant: Plant) -> dict[str, Row]:
    engine = create_engine(plant.database)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id, status, deaths, fence, delete_requested FROM jobs")).all()
    finally:
        engine.dispose()
    return {row.id: Row("deleted soon" if row.delete_requested else row.status, row.deaths, row.fence) for row in found}
