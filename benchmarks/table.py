"""Prints the table of the results folder in Markdown: `python -m benchmarks.table [FOLDER]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import short
from benchmarks.paths import RESULTS

MODULES = {
    "decode": "benchmarks.speed.decode",
    "propagate": "benchmarks.speed.propagate",
    "proxy": "benchmarks.speed.proxy",
    "memory": "benchmarks.speed.memory",
    "speedup": "benchmarks.speed.speedup",
    "accuracy": "benchmarks.accuracy.measure",
    "http_service": "benchmarks.serving.http_service",
}
"""Name of a result file -> the module that measures it, in the order of the table."""
ORDER = tuple(MODULES)


def table(folder: Path = RESULTS) -> str:
    """Markdown of every result in a folder: what, goal, measured, met; then on what machine and commit which was."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in _files(folder)]
    lines = ["| what | goal | measured (quartiles) | met |", "| --- | --- | --- | --- |"]
    notes: list[str] = []
    for result in results:
        lines += [_line(row, notes) for row in result["rows"]]
    lines += [""] + [f"{number}. {note}" for number, note in enumerate(notes, start=1)] + [""] * bool(notes)
    lines += [line for result in results if result["name"] == "accuracy" for line in short(result["details"])]
    return "\n".join(lines + _machines(results)) + "\n"


def _files(folder: Path) -> list[Path]:
    return sorted(
        (file for file in folder.glob("*.json") if file.stem in ORDER), key=lambda file: ORDER.index(file.stem)
    )


def _line(row: dict[str, Any], notes: list[str]) -> str:
    measured, unit = row["measured"], row["unit"]
    text = f"{_number(measured['median'])} {unit}".rstrip()
    if measured["n"] > 1:
        text += f" ({_number(measured['q1'])} to {_number(measured['q3'])})"
    own = list(filter(None, (row["note"], row.get("why") if row["met"] is False else "")))
    notes += [note for note in own if note not in notes]
    mark = f" [{', '.join(str(notes.index(note) + 1) for note in own)}]" if own else ""
    goal = row["goal"].replace("<=", "at most").replace(">=", "at least")
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    return f"| {row['question']}{mark} | {goal} | {text} | {met} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.2f}"


def _machines(results: list[dict[str, Any]]) -> list[str]:
    """A line for each machine and commit with what was measured there; parts that were measured apart count apart."""
    found: dict[str, list[str]] = {}
    for result in results:
        details = result["details"].items()
        own = {name: part["environment"] for name, part in details if isinstance(part, dict) and "environment" in part}
        parts: dict[str, list[str]] = {}
        for name, env in sorted(own.items()):
            parts.setdefault(_machine(env, result["quick"]), []).append(name)
        for machine, names in parts.items() if parts else [(_machine(result["environment"], result["quick"]), [])]:
            found.setdefault(machine, []).append(result["name"] + (f" ({', '.join(names)})" if names else ""))
    return [f"- {', '.join(names)}: {machine}" for machine, names in found.items()]


def _machine(env: dict[str, Any], is_quick: bool) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in env["packages"].items())
    commit = (env["commit"] or "unknown")[:12] + (" and changes" if env["dirty"] else "")
    quick = " Quick run: figures mean nothing." if is_quick else ""
    return (
        f"Measured on {env['cpu']}, {env['cores']} cores, {env['memory_gib']} GiB, Python {env['python']}, {packages}, "
        f"libavcodec {env['libavcodec']}, commit {commit}.{quick}"
    )


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS), end="")
