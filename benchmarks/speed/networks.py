"""Times the other base networks as `speedup.py` times STM: every sixth frame a key frame against every frame.

Takes about 20 minutes on two idle cores. The file is written after each network: a run that is stopped loses nothing.
"""

from __future__ import annotations

import argparse

from benchmarks.harness import Report, parser
from benchmarks.speed.speedup import measure, rows

MODELS = ("edgetam", "cutie-small", "cutie-base", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")


def main() -> None:
    """Measure and write networks.json."""
    options = parser(__doc__)
    options.add_argument("--models", nargs="+", default=MODELS)
    options.add_argument("--device", default="auto")
    options.add_argument("--precision", default="auto")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("networks", arguments)
    report.details = {"networks": {}}
    for model in arguments.models:
        details, seconds = measure(model, arguments, frames=19, rounds=2)
        report.details["networks"][model] = details
        report.rows += rows(model, seconds)
        report.write()


if __name__ == "__main__":
    main()
