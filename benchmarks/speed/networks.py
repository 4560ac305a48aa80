"""Times the other base networks as `speedup.py` times STM: every sixth frame a key frame against every frame.

Takes about 40 minutes on two idle cores. The file is written after each network, and keeps what it has of other ones: a
run that is stopped loses nothing, and `--models` measures some of them again.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.harness import Report, Row, Spread, environment, parser
from benchmarks.speed.speedup import measure, rows

MODELS = ("edgetam", "cutie-small", "cutie-base", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")


def main() -> None:
    """Measure and write networks.json."""
    options = parser(__doc__)
    options.add_argument("--models", nargs="+", default=MODELS)
    options.add_argument("--frames", type=int, default=19, help="frames of the clip")
    options.add_argument("--rounds", type=int, default=2, help="times that each method runs")
    options.add_argument("--device", default="auto")
    options.add_argument("--precision", default="auto")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("networks", arguments)
    measured: dict[str, list[Row]] = {}
    file = arguments.out / "networks.json"
    if file.exists():
        earlier = json.loads(file.read_text(encoding="utf-8"))
        report.details = earlier["details"]
        measured = {model: [row for row in map(_row, earlier["rows"]) if _is_of(row, model)] for model in MODELS}
    for model in arguments.models:
        details, seconds = measure(model, arguments, arguments.frames, arguments.rounds)
        report.details[model] = {**details, "environment": environment()}
        measured[model] = rows(model, seconds)
        report.rows = [row for model in MODELS for row in measured.get(model, [])]
        report.write()


def _row(stored: dict[str, Any]) -> Row:
    spread = Spread(**stored["measured"])
    return Row(stored["question"], spread, stored["unit"], stored["goal"], stored["note"])


def _is_of(row: Row, model: str) -> bool:
    return row.question.startswith(f"{model} ")


if __name__ == "__main__":
    main()
