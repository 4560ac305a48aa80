"""Measures the HTTP service while many clients hold connections without sending a request.

The load of `http_service.py` with the light engine (200 clients, half of which poll once per second and half of which
follow streams) runs while 1,000 further connections are half open: half of them silent, half with a part of a header.
The service closes them after 15 seconds, and they are opened again. Measured are the p99 of a GET, the errors of the
200 clients, the memory of the API process and the size of its log.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.harness import Report, Row, Spread, parser
from benchmarks.paths import ROOT
from benchmarks.serving.http_service import (
    CLIENTS,
    LIGHT_FRAME_SECONDS,
    Material,
    Served,
    crowd,
    serving,
    synthetic,
)

HALF_OPEN = 1000
FRAMES = 10_000
_SAMPLE_SECONDS = 0.5


@contextmanager
def half_open(served: Served, number: int, found: dict[str, Any]) -> Iterator[None]:
    """Keep connections half open in a process of its own while the block runs; add its counts to `found`."""
    url = httpx.URL(served.address)
    command = [sys.executable, "-m", "benchmarks.serving.half_open_clients", url.host, str(url.port), str(number)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "open\n":
            raise RuntimeError("the half-open connections could not be opened")
        yield
        found |= json.loads(process.communicate()[0])


@contextmanager
def sampled_memory(served: Served) -> Iterator[list[float]]:
    """Sample the memory of the API process in MiB while the block runs."""
    sizes, end = [served.resident_mib()], threading.Event()

    def sample() -> None:
        while not end.wait(_SAMPLE_SECONDS):
            sizes.append(served.resident_mib())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        end.set()
        thread.join()


def measure(report: Report, material: Material, log: Path) -> list[Row]:
    """Measure the load with half-open connections."""
    quick = report.arguments.quick
    given = (CLIENTS, report.arguments.half_open, report.arguments.seconds)
    clients, number, seconds = (20, 100, 4.0) if quick else given
    counts: dict[str, Any] = {}
    with serving(light=True, devices="cpu,cpu", log=log) as served:
        (served.home / "behaviour.json").write_text(json.dumps({"seconds": LIGHT_FRAME_SECONDS}))
        jobs = [served.submit(material, "every:1") for _ in range(2)]
        for job in jobs:
            served.wait(job, "running")
        alone = served.resident_mib()
        with half_open(served, number, counts), sampled_memory(served) as sizes:
            traffic, busy = crowd(served, jobs, clients, seconds)
        for job in jobs:
            served.drop(job)
    p50, p99 = (1000 * float(np.percentile(traffic.seconds, q)) for q in (50, 99))
    quarter = max(1, len(sizes) // 4)
    early, late = float(np.median(sizes[quarter : 2 * quarter])), float(np.median(sizes[-quarter:]))
    written = log.stat().st_size
    report.details["half_open"] = {
        "clients": clients,
        "half_open": number,
        "seconds": seconds,
        "cpu_seconds": round(busy, 2),
        "gets": len(traffic.seconds),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(1000 * max(traffic.seconds), 2),
        "mib": {"alone": round(alone, 1), "early": round(early, 1), "late": round(late, 1)},
        "log_bytes": written,
        "errors": traffic.errors[:20],
        **counts,
    }
    note = f"half poll once per second, half follow; light engine; {seconds:g} seconds, all on the same machine"
    what = f"{number:,} half-open connections and {clients} clients"
    return [
        Row(f"{what}: p99 of a GET", Spread.of([p99]), "ms", "<= 100", note),
        Row(f"{what}: errors", Spread.of([len(traffic.errors)]), "", "<= 0", note),
        Row(f"{what}: memory, last over second quarter", Spread.of([late / early]), "x", "<= 1.05", note),
        Row(f"{what}: log beside that of the requests", Spread.of([_odd_bytes(log)]), "bytes", "<= 100000", note),
    ]


def _odd_bytes(log: Path) -> int:
    """Return the bytes of log lines that are not those of answered requests and of jobs."""
    usual = (b'"logger": "keymask.http"', b'"logger": "service.engine')
    lines = log.read_bytes().splitlines(keepends=True)
    return sum(len(line) for line in lines if not any(name in line for name in usual))


def main() -> None:
    """Measure and write half_open.json."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="duration of the load")
    options.add_argument("--half-open", type=int, default=HALF_OPEN, help="half-open connections; 0 for comparison")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("half_open", arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report.rows += measure(report, synthetic(folder, FRAMES), folder / "log")
    report.write()


if __name__ == "__main__":
    main()
