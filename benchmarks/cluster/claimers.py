"""Simulated workers: each claims jobs, ends them at once and asks for the next; `cluster.py` runs it as a process.

Arguments: URL of the database, number of workers, seconds. Prints "ready", waits for a line, and prints JSON with the
seconds that each claim took, and how often the database gave up on a lock or on a worker that had no turn for too long.
Every worker has connections of its own and tries again, as real ones do.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from service.jobs.database import is_transient
from service.jobs.store import JobStore
from service.jobs.types import JobStatus


def main() -> None:
    """Claim until the time is over or no job is left."""
    url, workers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    stores = [JobStore(url, migrate=False) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(JobStore.ping, stores))
        print("ready", flush=True)
        sys.stdin.readline()
        done = list(pool.map(partial(_work, until=time.monotonic() + seconds), stores))
        list(pool.map(JobStore.close, stores))
    print(json.dumps({"claims": [claim for claims, _ in done for claim in claims], "waits": sum(n for _, n in done)}))


def _work(store: JobStore, until: float) -> tuple[list[float], int]:
    """Work as one worker; return the seconds of each claim, and how often the database gave up."""
    taken: list[float] = []
    waits, job = 0, None
    while (began := time.monotonic()) < until:
        try:
            if job is None:
                job = store.claim_next("simulated")
                if job is None:
                    break
                taken.append(time.monotonic() - began)
            store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, fence=job.fence)
            job = None
        except SQLAlchemyError as error:
            if not is_transient(error):
                raise
            waits += 1
    return taken, waits


if __name__ == "__main__":
    main()
