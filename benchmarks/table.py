"""Prints results as a Markdown table: `python -m benchmarks.table [NAME ...] [--results FOLDER]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.paths import RESULTS

MODULES = {
    "decode": "benchmarks.speed.decode",
    "propagate": "benchmarks.speed.propagate",
    "objects": "benchmarks.speed.objects",
    "proxy": "benchmarks.speed.proxy",
    "memory": "benchmarks.speed.memory",
    "speedup": "benchmarks.speed.speedup",
    "networks": "benchmarks.speed.networks",
    "correction": "benchmarks.speed.correction",
    "correction_gain": "benchmarks.accuracy.correction_gain",
    "accuracy": "benchmarks.accuracy.measure",
    "http_service": "benchmarks.serving.http_service",
    "half_open": "benchmarks.serving.half_open",
    "cluster": "benchmarks.cluster.cluster",
}
"""Module that measures each result, by the result's name, in table order."""
ORDER = tuple(MODULES)


def table(folder: Path = RESULTS, names: Sequence[str] = ORDER) -> str:
    """Return the results of a folder as Markdown: measurement, goal, figure, met; then notes and machines."""
    files = [folder / f"{name}.json" for name in names]
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    lines = ["| measurement | goal | measured (quartiles) | met |", "| --- | --- | --- | --- |"]
    notes: list[str] = []
    for result in results:
        lines += [_line(row, notes) for row in result["rows"]]
    lines += [""] + [f"{number}. {note}" for number, note in enumerate(notes, start=1)] + [""] * bool(notes)
    return "\n".join(lines + _machines(results)) + "\n"


def _line(row: dict[str, Any], notes: list[str]) -> str:
    """Return one row, and append its note if no earlier row has the same note."""
    measured, note = row["measured"], row["note"]
    text = f"{_number(measured['median'])} {row['unit']}".rstrip()
    if measured["n"] > 1:
        text += f" ({_number(measured['q1'])} to {_number(measured['q3'])})"
    if note and note not in notes:
        notes.append(note)
    mark = f" [{notes.index(note) + 1}]" if note else ""
    goal = row["goal"].replace("<=", "at most").replace(">=", "at least")
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    return f"| {row['question']}{mark} | {goal} | {text} | {met} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.2f}"


def _machines(results: list[dict[str, Any]]) -> list[str]:
    """Return a line per machine and commit; parts of a result that were measured separately are named."""
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


def main() -> None:
    """Print the results of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"results to print, of {', '.join(ORDER)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of NAME.json")
    arguments = parser.parse_args()
    print(table(arguments.results, arguments.names or ORDER), end="")


if __name__ == "__main__":
    main()
