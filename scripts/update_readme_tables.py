"""Puts the table of the benchmarks into README.md: `python scripts/update_readme_tables.py [--check]`.

It goes between the lines `<!-- benchmarks: begin -->` and `<!-- benchmarks: end -->`; `--check` changes nothing and
exits 1 if the table there is not that of benchmarks/results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def updated(text: str, table: str) -> str:
    """The text with the table between its marks.

    Raises:
        ValueError: The text has not both marks once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"README.md must hold the lines {BEGIN} and {END} once each")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table.strip()}\n\n{END}{after}"


def main() -> int:
    """Update or check README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the table is current")
    arguments = parser.parse_args()
    made = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "table.py"], capture_output=True, text=True, check=True
    )
    text = README.read_text(encoding="utf-8")
    try:
        wanted = updated(text, made.stdout)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.check:
        if wanted != text:
            print("README.md: the table is not that of benchmarks/results; run this without --check", file=sys.stderr)
        return int(wanted != text)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
