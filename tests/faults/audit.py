"""What must hold once all faults are over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx
from sqlalchemy import create_engine, text

from tests.faults.clients import ALL_FRAMES, ENDED, Ledger, frames_of
from tests.support.plant import Plant
from tests.support.waiting import files_below, wait_for
from vos.runtime.durable import is_part


@dataclass(frozen=True)
class Outcome:
    """The balance of a fault run.

    Attributes:
        acknowledged: Number of jobs that were acknowledged and not deleted.
        unanswered: Number of jobs whose clients never got an answer.
        lost: Acknowledged jobs without all they were promised.
        doubled: Jobs with a frame twice, or in more than one row.
        ownerless: Files and folders that belong to no job.
        gave_up: Number of jobs that failed as documented, after the last worker that may die with them.
    """

    acknowledged: int
    unanswered: int
    lost: list[str]
    doubled: list[str]
    ownerless: list[str]
    gave_up: int


def audit(plant: Plant, ledger: Ledger) -> Outcome:
    """Wait until the plant is quiet and examine every job, row and file."""
    rows = wait_for(lambda: _ended_rows(plant), 180)
    kept = {job_id: wish for job_id, wish in ledger.jobs.items() if wish != "delete"}
    lost = [f"{job_id} has no row" for job_id in kept if job_id not in rows]
    lost += [
        f"{job_id} was deleted and is still there" for job_id in ledger.jobs.keys() - kept.keys() if job_id in rows
    ]
    doubled: list[str] = []
    digests: set[str] = set()
    gave_up = 0
    with httpx.Client(base_url=plant.apis[0].url, timeout=60) as client:
        for job_id, (status, deaths) in rows.items():
            if status == "failed" and deaths >= 2:
                gave_up += 1
                continue
            lines = client.get(f"/v1/jobs/{job_id}/masks").raise_for_status().text
            frames = frames_of(lines)
            if len(set(frames)) < len(frames):
                doubled.append(f"{job_id} has the frames {frames}")
            if status == "succeeded":
                digests.add(hashlib.sha256(lines.encode()).hexdigest())
                if frames != ALL_FRAMES:
                    lost.append(f"{job_id} succeeded with the frames {frames}")
            elif not (status == "canceled" and ledger.jobs.get(job_id) == "cancel"):
                lost.append(f"{job_id} is {status}")
    if len(digests) > 1:
        lost.append(f"the masks of one clip differ: {digests}")
    folders = {entry.name for entry in (plant.files / "jobs").iterdir()}
    lost += [f"{job_id} has no files" for job_id in rows.keys() - folders]
    return Outcome(
        len(kept), len(rows.keys() - ledger.jobs.keys()), lost, doubled, _ownerless(plant, set(rows)), gave_up
    )


def _ended_rows(plant: Plant) -> dict[str, tuple[str, int]] | None:
    """Return job id -> status and deaths of all jobs; None while one runs or waits for its deletion."""
    engine = create_engine(plant.database)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id, status, deaths, delete_requested FROM jobs")).all()
    finally:
        engine.dispose()
    if any(row.status not in ENDED or row.delete_requested for row in found):
        return None
    return {row.id: (row.status, row.deaths) for row in found}


def _ownerless(plant: Plant, job_ids: set[str]) -> list[str]:
    """Return what lies in the storage without a job: folders, uploads, unfinished files."""
    folders = [str(entry) for entry in (plant.files / "jobs").iterdir() if entry.name not in job_ids]
    uploads = [str(path) for path in files_below(plant.files / "incoming")]
    parts = [str(path) for path in files_below(plant.files / "jobs") if is_part(path.name)]
    return folders + uploads + parts
