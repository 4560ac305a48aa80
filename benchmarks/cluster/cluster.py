"""Measures a service of several processes on one machine, with its jobs in PostgreSQL.

1. Claims: claims per second, and seconds per claim, of 200 simulated workers in four processes that end each job at
   once, with 1,000 and with 10,000 jobs in the queue.
2. Delay: time from the moment a worker's line of a mask is written to the moment a follower of another process has it.
3. Scaling: jobs per minute of one and of two `keymask worker` processes, each pinned to a core of its own, with the
   network on the sample clip three times over (270 frames). The database and the API have the same cores, as on a small
   machine.

`--quick` checks the script with few jobs. PostgreSQL comes from the tests' wheel (extra `dev`) and does not wait for
the disk, which would be measured otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

from benchmarks.harness import Report, Row, Spread, parser
from benchmarks.paths import ROOT
from codec.encode import Encoder, encode
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, LogSegment, new_job_id
from service.run.options import JobOptions
from service.storage.job_files import JobFiles, Storage
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

SAMPLE = ROOT / "service" / "sample"
SIMULATED, PROCESSES = 200, 4
LINES_PER_SECOND = 20
KEYMASK = (sys.executable, "-c", "import sys; from service.cli.main import main; sys.exit(main())")


def main() -> None:
    """Run all three and write cluster.json."""
    arguments = parser(__doc__).parse_args()
    report = Report("cluster", arguments)
    with tempfile.TemporaryDirectory(prefix="keymask-cluster-") as folder:
        server = PostgresServer(Path(folder) / "postgres")
        try:
            measure_claims(report, server, arguments)
            report.write()  # after each part, so that a failure loses no other one
            measure_delay(report, server, Path(folder), arguments)
            report.write()
            measure_scaling(report, server, Path(folder), arguments)
            report.write()
        finally:
            server.stop()


def measure_scaling(report: Report, server: PostgresServer, folder: Path, arguments: argparse.Namespace) -> None:
    """Compare one and two pinned workers; rounds alternate, so that a slow minute meets both."""
    jobs, rounds = (2, 1) if arguments.quick else (4, 3)
    short, video = sample(1), sample(1 if arguments.quick else 3)
    cores = sorted(os.sched_getaffinity(0))[:2]
    rates: dict[int, list[float]] = {1: [], 2: []}
    server.empty()
    with api(folder / "scaling", server) as (client, environment):
        for _ in range(rounds):
            for count, measured in rates.items():
                with workers(environment, cores[:count]):
                    wait_for(lambda count=count: remote_workers(client) >= count)  # type: ignore[misc]
                    run_jobs(client, count, short)  # warms every worker up
                    began = time.perf_counter()
                    run_jobs(client, jobs, video)
                    measured.append(60 * jobs / (time.perf_counter() - began))
    for count, values in rates.items():
        report.rows.append(Row(f"jobs per minute, {count} worker(s)", Spread.of(values), "jobs/min"))
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    report.rows.append(Row("two workers over one", Spread.of(ratios), "x", ">= 1.8", f"cores {cores}"))


def measure_claims(report: Report, server: PostgresServer, arguments: argparse.Namespace) -> None:
    """Let simulated workers empty a queue for some seconds."""
    seconds = 2.0 if arguments.quick else 10.0
    for waiting in (200,) if arguments.quick else (1_000, 10_000):
        server.empty()
        with closing(JobStore(server.url)) as store:
            for _ in range(waiting):
                store.create(new_job())
        command = [sys.executable, "-m", "benchmarks.cluster.claimers", server.url]
        command += [str(SIMULATED // PROCESSES), str(seconds)]
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        began = time.perf_counter()
        answers = [json.loads(process.communicate()[0]) for process in processes]
        claims = [claim for answer in answers for claim in answer["claims"]]
        took = min(seconds, time.perf_counter() - began)
        note = f"{SIMULATED} simulated workers, {waiting} jobs in the queue"
        report.rows.append(Row("claims per second", Spread.of([len(claims) / took], 1), "claims/s", note=note))
        report.rows.append(Row("time per claim", Spread.of((1000 * claim for claim in claims), 1), "ms", note=note))
        waits = sum(answer["waits"] for answer in answers)
        report.rows.append(Row("locks not to be had within 3 s", Spread.of([waits], 1), "", note=note))


def measure_delay(report: Report, server: PostgresServer, folder: Path, arguments: argparse.Namespace) -> None:
    """Write lines as a worker does, and follow them through an API process."""
    count = 20 if arguments.quick else 200
    server.empty()
    home = folder / "delay"
    with api(home, server) as (client, _), closing(JobStore(server.url)) as store:
        storage = Storage(home / "service" / "files", reserve=0)
        store.create(new_job())
        job = store.claim_next("benchmark")
        assert job is not None
        files = storage.job(job.id)
        files.folder.mkdir(parents=True)
        store.set_segments(job.id, job.fence, [LogSegment(job.fence)])
        written: list[float] = []
        writer = threading.Thread(target=_write, args=(files, job, count, written))
        with client.stream("GET", f"/v1/jobs/{job.id}/masks") as lines:
            writer.start()
            read = [time.perf_counter() for _ in zip(range(count), lines.iter_lines(), strict=False)]
        writer.join()
        store.move(job.id, JobStatus.RUNNING, JobStatus.CANCELED, fence=job.fence)
        storage.close()
    delays = [1000 * (end - begin) for begin, end in zip(written, read, strict=True)]
    note = f"{count} lines at {LINES_PER_SECOND} per second"
    report.rows.append(Row("delay of a follower in another process", Spread.of(delays, 1), "ms", note=note))


def _write(files: JobFiles, job: Job, count: int, written: list[float]) -> None:
    with files.mask_log(job.fence).open("ab") as log:
        for index in range(count):
            written.append(time.perf_counter())
            log.write(b'{"index": %d, "pts": 0, "time": 0.0, "objects": []}\n' % index)
            log.flush()
            time.sleep(1 / LINES_PER_SECOND)


@contextmanager
def api(home: Path, server: PostgresServer) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """Run an API process without workers; yield a client, and the environment that workers need."""
    home.mkdir(parents=True)
    own = {"HOME": str(home), "DATABASE_URL": server.url, "MAX_JOBS_PER_KEY": "1000", "LOG_LEVEL": "warning"}
    environment = os.environ | {f"KEYMASK_{name}": value for name, value in own.items()}
    command = [*KEYMASK, "serve", "--port", "0", "--devices", "none", "--json", "-"]
    with _process(command, environment) as started, httpx.Client(base_url=started["address"], timeout=300) as client:
        yield client, environment


@contextmanager
def workers(environment: dict[str, str], cores: list[int]) -> Iterator[None]:
    """Run a `keymask worker` on each of these cores."""
    with ExitStack() as running:
        for core in cores:
            command = ["taskset", "--cpu-list", str(core), *KEYMASK, "worker", "--devices", "cpu", "--json", "-"]
            running.enter_context(_process(command, environment))
        yield


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Run a command until the end of the block; yield the JSON that it prints when it is up."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
    finally:
        process.terminate()
        process.communicate()


def sample(times: int) -> bytes:
    """Return the sample clip of 90 frames, repeated."""
    with av.open(SAMPLE / "clip.mp4") as container:
        pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
    return encode(pictures * times, Encoder("libx264", {}))


def run_jobs(client: httpx.Client, count: int, video: bytes) -> None:
    """Post jobs and wait until all have succeeded."""
    mask = (SAMPLE / "mask.png").read_bytes()
    ids = []
    for _ in range(count):
        answer = client.post("/v1/jobs", files={"video": video, "mask": mask})
        ids.append(str(answer.raise_for_status().json()["id"]))
    for job in ids:
        while (status := _status(client, job)) in ("queued", "running"):
            time.sleep(0.1)  # more requests would take the cores from the workers
        assert status == "succeeded", status


def _status(client: httpx.Client, job: str) -> str:
    return str(client.get(f"/v1/jobs/{job}").raise_for_status().json()["status"])


def remote_workers(client: httpx.Client) -> int:
    """Return the number of worker processes that the API knows of."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("keymask_remote_worker_processes "):
            return int(float(line.split()[1]))
    return 0


def new_job() -> Job:
    """Return a queued job without files."""
    video = JobVideo("h264", 64, 48, 25.0, 30, 1.2, 0)
    return Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC))


if __name__ == "__main__":
    main()
