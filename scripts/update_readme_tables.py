"""Writes benchmark results into pages: `python scripts/update_readme_tables.py [--check]`.

Tables go between the lines `<!-- benchmarks: begin -->` and `<!-- benchmarks: end -->` of the pages in `PAGES`.
`--check` changes nothing and exits with 1 if a page differs from benchmarks/results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": ("benchmarks.comparison",),
    "docs/performance.md": (
        "benchmarks.table",
        *("decode", "propagate", "objects", "proxy", "memory", "speedup", "networks"),
        *("correction", "correction_gain", "http_service", "half_open", "cluster"),
    ),
    "docs/accuracy.md": ("benchmarks.accuracy.tables",),
    "docs/model_card_compact.md": ("benchmarks.ablation.table",),
}
"""Module that prints the tables of each page, and its arguments."""
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def updated(text: str, table: str) -> str:
    """Put a table between the marks of a text.

    Raises:
        ValueError: The text does not have each mark exactly once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"it must hold the lines {BEGIN} and {END} once each")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table.strip()}\n\n{END}{after}"


def current(name: str) -> str:
    """Return the text that a page of `PAGES` should have.

    Raises:
        ValueError: The page does not have each mark exactly once.
    """
    command = [sys.executable, "-m", *PAGES[name]]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return updated((ROOT / name).read_text(encoding="utf-8"), made.stdout)


def main() -> int:
    """Update or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check whether the pages are current")
    arguments = parser.parse_args()
    failed = False
    for name in PAGES:
        try:
            wanted = current(name)
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        if not arguments.check:
            (ROOT / name).write_text(wanted, encoding="utf-8")
        elif wanted != (ROOT / name).read_text(encoding="utf-8"):
            print(f"{name} differs from benchmarks/results; run this script without --check", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
