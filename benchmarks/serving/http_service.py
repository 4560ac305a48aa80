"""Measures the HTTP service: overhead over `keymask run`, long videos, many clients, many jobs.

1. Overhead: a client posts a 90-frame 480p clip and reads all masks; `service.run.run_to_files` does the same job in
   this process. Neither the interpreter's start nor loading the network counts.
2. First mask: time from posting a video to the first mask, for 10,000 frames over 100 frames (small pictures).
3. Load: 200 clients while two jobs run. Half of them poll once per second, half follow events or masks. The first run
   uses the tests' light engine at 25 frames per second and loads the API process alone; the second runs the network on
   every frame, on the same cores. The clients that follow streams read in another process (`followers.py`), so that a
   busy stream does not delay the clock of a client that polls.
4. Memory: resident memory of the API process over 500 small jobs, with the light engine.

Each service is a process of its own on the loopback interface.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, sleep

import httpx
import numpy as np

from benchmarks.harness import Report, Row, Spread, clip, first_labels, interleave, parser, per_frame, ratio
from benchmarks.paths import ROOT
from codec.encode import Encoder, encode, parse_options
from codec.types import UInt8Array
from service.config import Settings
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from service.writers.png import encode_mask

SEQUENCE = "bmx-bumps"
CLIENTS = 200
POSTERS = 4
POLL_SECONDS = 1.0
LIGHT_FRAME_SECONDS = 0.04
WIDTH, HEIGHT = 160, 128


@dataclass(frozen=True)
class Material:
    """A video and the mask of its first frame."""

    video: Path
    mask: Path


@dataclass(frozen=True)
class Served:
    """A service in a child process."""

    address: str
    pid: int
    home: Path
    client: httpx.Client

    def submit(self, material: Material, keyframes: str = "adaptive") -> str:
        """Post a job; return its id."""
        with material.video.open("rb") as video, material.mask.open("rb") as mask:
            files = {"video": ("clip.mkv", video), "mask": ("mask.png", mask)}
            answer = self.client.post("/v1/jobs", files=files, data={"options": json.dumps({"keyframes": keyframes})})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def segment(self, material: Material) -> int:
        """Post a job and read all its masks; return their number."""
        job = self.submit(material)
        with self.client.stream("GET", f"/v1/jobs/{job}/masks") as lines:
            count = sum(1 for line in lines.iter_lines() if line)
        self.wait(job, "succeeded")
        return count

    def first_mask(self, material: Material) -> float:
        """Return the seconds from posting a job to its first mask, then cancel the job."""
        started = perf_counter()
        job = self.submit(material)
        with self.client.stream("GET", f"/v1/jobs/{job}/masks") as lines:
            next(lines.iter_lines())
            seconds = perf_counter() - started
        self.drop(job)
        return seconds

    def drop(self, job: str) -> None:
        """Cancel a job and wait for its end."""
        self.client.post(f"/v1/jobs/{job}/cancel")
        self.wait(job, "canceled", "succeeded")

    def wait(self, job: str, *states: str) -> None:
        """Wait until the job is in one of the states."""
        for _ in range(6000):
            status = self.client.get(f"/v1/jobs/{job}").json()["status"]
            if status in states:
                return
            if status == "failed":
                break
            sleep(0.02)
        raise RuntimeError(f"job {job} is {status} and not {' or '.join(states)}")

    def cpu_seconds(self) -> float:
        """Return the processor time of the API process so far, without its workers."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Return the resident memory of the API process, without its workers."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


@contextmanager
def serving(*, light: bool = False, devices: str = "cpu", log: Path | None = None) -> Iterator[Served]:
    """Run a service on a free port of the loopback interface; yield it once ready and always end it.

    Args:
        light: Whether the tests' light engine replaces the network.
        devices: Devices with a worker.
        log: File for the whole log; by default only errors are logged, to standard error.
    """
    start = "from service.cli.main import main; main()"
    whole = ["-c", start, "serve", "--port", "0", "--json", "-"]
    command = [sys.executable, *(["-m", "benchmarks.serving.light_service"] if light else whole)]
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "HOME": folder,
            "PORT": "0",
            "DEVICES": devices,
            "LOG_LEVEL": "info" if log else "error",
            "GRACE_SECONDS": "2",
        }
        environment = os.environ | {f"KEYMASK_{name}": value for name, value in own.items()}
        environment["PYTHONPATH"] = str(ROOT)
        errors = log.open("w") if log else None
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            started = json.loads(_first_object(process))
            with httpx.Client(base_url=started["address"], timeout=300) as client:
                _wait_ready(client, process)
                yield Served(started["address"], started["pid"], Path(folder), client)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            if errors is not None:
                errors.close()


def _first_object(process: subprocess.Popen[str]) -> str:
    """Read the JSON object that the service prints when it listens, on one line or several."""
    text = ""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if line.rstrip().endswith("}"):
            return text
    raise RuntimeError("the service did not start")


def _wait_ready(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    for _ in range(240):
        if process.poll() is not None:
            raise RuntimeError("the service ended")
        if client.get("/health/ready").status_code == 200:
            return
        sleep(0.5)
    raise RuntimeError("the service did not become ready")


def synthetic(folder: Path, frames: int) -> Material:
    """Encode a small video of a square that moves over noise."""
    noise = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)

    def pictures() -> Iterator[UInt8Array]:
        for index in range(frames):
            picture, left = noise.copy(), 8 + index % (WIDTH - 64)
            picture[40:88, left : left + 48] = (220, 200, 40)
            yield picture

    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[40:88, 8:56] = 1
    material = Material(folder / f"{frames}.mkv", folder / "small.png")
    material.video.write_bytes(encode(pictures(), Encoder("libx264", parse_options("preset=ultrafast"))))
    material.mask.write_bytes(encode_mask(labels))
    return material


def overhead(report: Report, served: Served, folder: Path) -> Row:
    """Time the service against `service.run.run_to_files`, in turns."""
    arguments = report.arguments
    frames, rounds = (4, 1) if arguments.quick else (90, arguments.rounds)
    mask = folder / "mask.png"
    mask.write_bytes(encode_mask(first_labels(arguments, SEQUENCE)))
    whole, start = (Material(clip(arguments, SEQUENCE, count), mask) for count in (frames, 3))
    settings = Settings(home=folder / "run")
    counts = set()

    def direct(material: Material) -> None:
        outputs = Outputs(folder / "out")
        run_to_files(RunRequest(material.video, material.mask, outputs, force=True), settings)

    def warm_up() -> None:
        direct(start)
        served.segment(start)

    tasks = {"service": lambda: counts.add(served.segment(whole)), "run": lambda: direct(whole)}
    seconds = interleave(tasks, rounds, warm_up)
    if counts != {frames}:
        raise RuntimeError(f"the service returned {counts} masks for {frames} frames")
    report.details["overhead"] = {"frames": frames, "ms_per_frame": per_frame(seconds, frames)}
    note = (
        "service: post the clip, read all masks, see the job succeed; run: write PNGs in a warm process, without the "
        "interpreter's start and loading the network"
    )
    question = f"Service over `keymask run`, {frames} frames at 480p, networks loaded"
    return Row(question, ratio(seconds, "service", "run"), goal="<= 1.10", note=note)


def first_mask(report: Report, served: Served, short: Material, long: Material) -> Row:
    """Time the first mask of a long video against that of a short one."""
    tasks = {"short": lambda: served.first_mask(short), "long": lambda: served.first_mask(long)}
    seconds = interleave(tasks, 1 if report.arguments.quick else 5)
    report.details["first_mask"] = {
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "bytes": {"short": short.video.stat().st_size, "long": long.video.stat().st_size},
        "picture": [WIDTH, HEIGHT],
    }
    note = "small pictures; the time includes the upload"
    question = "Time to the first mask over HTTP, 10,000 frames over 100"
    return Row(question, ratio(seconds, "long", "short"), goal="<= 1.25", note=note)


@dataclass
class Traffic:
    """Answers that the clients received."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    received: int = 0


async def _poll(address: tuple[str, int], path: str, delay: float, traffic: Traffic) -> None:
    """Poll a path over one connection."""
    await asyncio.sleep(delay)
    reader, writer = await asyncio.open_connection(*address)
    while True:
        started = perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        traffic.seconds.append(perf_counter() - started)
        if b" 200 " not in head[:15]:
            traffic.errors.append(head.split(b"\r\n")[0].decode())
        await asyncio.sleep(max(0.0, POLL_SECONDS - traffic.seconds[-1]))


@contextmanager
def _following(place: tuple[str, int], paths: list[str], traffic: Traffic) -> Iterator[None]:
    """Follow streams in a process of its own while the block runs, so its stalls do not delay the pollers."""
    command = [sys.executable, "-m", "benchmarks.serving.followers", place[0], str(place[1]), *paths]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "following\n":
            raise RuntimeError("the followers did not start")
        yield
        met = json.loads(process.communicate()[0])
    traffic.received += met["received"]
    traffic.errors += met["errors"]


async def _poll_all(place: tuple[str, int], paths: list[str], seconds: float, traffic: Traffic) -> None:
    """Poll each path with one client for some seconds."""
    tasks = [
        asyncio.create_task(_poll(place, path, POLL_SECONDS * number / len(paths), traffic))
        for number, path in enumerate(paths)
    ]
    done, pending = await asyncio.wait(tasks, timeout=seconds)
    traffic.errors += [repr(task.exception()) for task in done if task.exception()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def crowd(served: Served, jobs: list[str], clients: int, seconds: float) -> tuple[Traffic, float]:
    """Let half the clients poll and half follow; return their traffic and the API process's processor time."""
    url, traffic = httpx.URL(served.address), Traffic()
    place = (url.host, int(url.port or 80))
    paths = [f"/v1/jobs/{jobs[number // 2 % len(jobs)]}" for number in range(clients // 2)]
    streams = [f"{path}/{'masks' if number % 2 else 'events'}" for number, path in enumerate(paths)]
    with _following(place, streams, traffic):
        before = served.cpu_seconds()
        asyncio.run(_poll_all(place, paths, seconds, traffic))
        busy = served.cpu_seconds() - before
    return traffic, busy


def load(report: Report, material: Material, *, light: bool) -> list[Row]:
    """Measure many clients while two workers run a job each."""
    quick = report.arguments.quick
    clients, seconds = (20, 2.0) if quick else (CLIENTS, report.arguments.load_seconds)
    with serving(light=light, devices="cpu,cpu") as served:
        (served.home / "behaviour.json").write_text(json.dumps({"seconds": LIGHT_FRAME_SECONDS}))
        # With the network on every frame, the jobs last longer than the measurement on any machine.
        jobs = [served.submit(material, "every:1") for _ in range(2)]
        for job in jobs:
            served.wait(job, "running")
        traffic, busy = crowd(served, jobs, clients, seconds)
        for job in jobs:
            served.wait(job, "running")
            served.drop(job)
    what = "a light engine" if light else "the network on the same cores"
    p50, p99 = (1000 * float(np.percentile(traffic.seconds, q)) for q in (50, 99))
    report.details[f"load_{'light' if light else 'network'}"] = {
        "clients": clients,
        "seconds": seconds,
        "cpu_seconds": round(busy, 2),
        "gets": len(traffic.seconds),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(1000 * max(traffic.seconds), 2),
        "streamed_bytes": traffic.received,
        "errors": traffic.errors[:20],
    }
    note = "half poll once per second, a quarter follow events, a quarter follow masks; all on the same machine"
    question = f"{clients} clients while two jobs run with {what}"
    return [
        Row(f"{question}: p99 of a GET", Spread.of([p99]), "ms", "<= 100", note),
        Row(f"{question}: errors", Spread.of([len(traffic.errors)]), "", "<= 0", note),
    ]


def memory(report: Report, material: Material) -> Row:
    """Compare the API process's resident memory in the last tenth of many jobs with that in the second tenth."""
    jobs = 20 if report.arguments.quick else report.arguments.jobs
    sizes = []
    with serving(light=True) as served, ThreadPoolExecutor(POSTERS) as pool:
        for _ in pool.map(lambda _: served.segment(material), range(jobs)):
            sizes.append(served.resident_mib())  # noqa: PERF401 - while the jobs run
    tenth = jobs // 10
    early, late = np.median(sizes[tenth : 2 * tenth]), np.median(sizes[-tenth:])
    report.details["memory"] = {"jobs": jobs, "mib_every_tenth": [round(size, 1) for size in sizes[tenth - 1 :: tenth]]}
    note = f"light engine; median of the last over median of the second tenth; {POSTERS} jobs at a time, none deleted"
    return Row(f"Resident memory of the API process over {jobs} jobs", Spread.of([late / early]), "x", "<= 1.05", note)


def main() -> None:
    """Measure and write http_service.json."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="rounds of the overhead")
    options.add_argument("--load-seconds", type=float, default=20.0, help="duration of the load")
    options.add_argument("--jobs", type=int, default=500, help="number of jobs of the memory test")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("http_service", arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, short, long = (synthetic(folder, frames) for frames in (12, 100, 10_000))
        report.rows.append(memory(report, small))
        report.rows += load(report, long, light=True)
        with serving() as served:
            report.rows.append(first_mask(report, served, short, long))
            report.rows.append(overhead(report, served, folder))
        report.rows += load(report, long, light=False)
    report.write()


if __name__ == "__main__":
    main()
