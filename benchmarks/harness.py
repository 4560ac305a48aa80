"""Times, rows and reports that all benchmarks share. README.md beside this file states the contract."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.paths import RESULTS, ROOT

DATA = ROOT.parent / "shared" / "data" / "dev" / "davis480"
_PACKAGES = ("av", "numpy", "opencv-python-headless", "torch", "keymask-server")

Task = Callable[[], float | None]
"""Does the work once. May return its own seconds if starting it must not count."""


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    median: float
    q1: float
    q3: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float], digits: int = 4) -> Spread:
        """Return median and quartiles of values."""
        array = np.array(list(values), np.float64)
        q1, median, q3 = (round(float(q), digits) for q in np.percentile(array, (25, 50, 75)))
        return cls(median, q1, q3, len(array))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        question: Quantity that was measured, in plain words.
        measured: The figure.
        unit: Unit of the figure; "x" is a ratio.
        goal: "<= 1.5", ">= 5", or "" without a goal.
        note: Conditions of the measurement that a reader needs.
    """

    question: str
    measured: Spread
    unit: str = "x"
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Tell whether the median meets the goal; None without a goal."""
        if not self.goal:
            return None
        relation, limit = self.goal.split()
        return self.measured.median <= float(limit) if relation == "<=" else self.measured.median >= float(limit)


@dataclass
class Report:
    """Result file of one benchmark: rows, the details behind them, and the machine."""

    name: str
    arguments: argparse.Namespace
    rows: list[Row] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        """Print the rows and write NAME.json to the results folder."""
        for row in self.rows:
            verdict = {None: "", True: "met", False: "MISSED"}[row.met]
            spread = f"{row.measured.median:.3g} {row.unit} ({row.measured.q1:.3g} to {row.measured.q3:.3g})"
            print(f"{row.question}: {spread} {row.goal and 'goal ' + row.goal} {verdict}".rstrip())
        value = {
            "name": self.name,
            "quick": self.arguments.quick,
            "rows": [{**asdict(row), "met": row.met} for row in self.rows],
            "details": self.details,
            "environment": environment(),
        }
        folder: Path = self.arguments.out
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--data", type=Path, default=DATA, help="folder in DAVIS layout to make clips from")
    result.add_argument("--out", type=Path, default=RESULTS, help="folder of NAME.json")
    result.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "keymask-benchmarks")
    result.add_argument("--quick", action="store_true", help="check the script with few rounds on few frames")
    return result


def interleave(tasks: Mapping[str, Task], rounds: int, warm_up: Task | None = None) -> dict[str, list[float]]:
    """Time tasks in turns; each round starts with another task.

    Args:
        tasks: Tasks to time, by name.
        rounds: Number of times to run each task.
        warm_up: Runs untimed before the first round. By default each task runs once.

    Returns:
        Seconds of each round, by task. Divide times of the same round only.
    """
    names = list(tasks)
    for task in tasks.values() if warm_up is None else [warm_up]:
        task()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = perf_counter()
            own = tasks[name]()
            seconds[name].append(perf_counter() - started if own is None else own)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], over: str, under: str) -> Spread:
    """Divide one task's time by another's within each round; return the median over rounds."""
    return Spread.of(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def per_frame(seconds: Mapping[str, Sequence[float]], frames: int) -> dict[str, Any]:
    """Return milliseconds per frame of each task."""
    return {name: asdict(Spread.of(1000 * value / frames for value in values)) for name, values in seconds.items()}


def clip(
    arguments: argparse.Namespace, sequence: str, frames: int, encoder: str = "libx264", options: str = ""
) -> Path:
    """Return a 480p clip of a sequence's first frames, encoded once and kept in the cache folder."""
    from codec.encode import Encoder, encode, parse_options  # noqa: PLC0415
    from vos.evaluation.davis import find_sequences  # noqa: PLC0415 - printing a table needs none of it
    from vos.evaluation.evaluate import read_picture  # noqa: PLC0415

    chosen = Encoder(encoder, parse_options(options))
    key = sha256(
        f"{arguments.data.resolve()}|{sequence}|{frames}|{chosen.name}|{chosen.repeatable_options}".encode()
    ).hexdigest()
    file: Path = arguments.cache / f"{sequence}-{frames}-{encoder}-{key[:12]}.mkv"
    if not file.exists():
        (source,) = find_sequences(arguments.data, [sequence])
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        partial.write_bytes(encode(map(read_picture, source.pictures[:frames]), chosen))
        partial.rename(file)
    return file


def first_labels(arguments: argparse.Namespace, sequence: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the sequence's first annotation, uint8 [height, width]."""
    from vos.evaluation.davis import find_sequences  # noqa: PLC0415

    (source,) = find_sequences(arguments.data, [sequence])
    return source.labels(0)


def environment() -> dict[str, Any]:
    """Return hardware, versions, commit and command, without paths of this machine."""
    return {
        "cpu": _first_match("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _gpu(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "libavcodec": _libavcodec(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")),
        "command": _command(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    module = script.relative_to(ROOT).with_suffix("").parts if script.is_relative_to(ROOT) else (script.stem,)
    # Paths of this machine help no reader; keep the last part only.
    shown = [Path(argument).name if argument.startswith(("/", "..")) else argument for argument in sys.argv[1:]]
    return shlex.join(["python", "-m", ".".join(module), *shown])


def _gpu() -> str | None:
    import torch  # noqa: PLC0415

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _first_match(file: str, label: str) -> str | None:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(label)), None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _libavcodec() -> str:
    import av  # noqa: PLC0415

    return ".".join(map(str, av.library_versions["libavcodec"]))


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
