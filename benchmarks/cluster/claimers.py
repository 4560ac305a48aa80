"""Simulated workers: each claims jobs, ends them at once and asks for the next; `cluster.py` runs it as a process.

Arguments: URL of the database, number of workers, seconds. Prints "ready", waits for a line, and prints JSON with the
seconds that each claim took. Every worker has connections of its own, as real ones do.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

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
        taken = [claim for part in pool.map(partial(_work, until=time.monotonic() + seconds), stores) for claim in part]
        list(pool.map(JobStore.close, stores))
    print(json.dumps(taken))


def _work(store: JobStore, until: float) -> list[float]:
    """Work as one worker; return the seconds of each claim."""
    taken = []
    while (began := time.monotonic()) < until and (job := store.claim_next("simulated")) is not None:
        taken.append(time.monotonic() - began)
        store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, fence=job.fence)
    return taken


if __name__ == "__main__":
    main()
