"""Runs all benchmarks one after the other and prints the table.

`python -m benchmarks.run_all --mv-python VENV/bin/python` takes about forty minutes on two idle cores. README.md says
which package the environment of `--mv-python` needs. If a benchmark fails, the remaining ones still run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.harness import parser
from benchmarks.paths import RESULTS, ROOT
from benchmarks.table import MODULES, ORDER, table


def main() -> int:
    """Run all benchmarks; return 1 if any failed."""
    options = parser(__doc__)
    options.add_argument("--mv-python", type=Path, help="Python that has motion-vector-extractor")
    options.add_argument("--only", metavar="A,B", help=f"some of {', '.join(ORDER)}")
    arguments = options.parse_args()
    names = arguments.only.split(",") if arguments.only else ORDER
    failed = [name for name in names if not run(name, arguments)]
    print(table(arguments.out))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def run(name: str, arguments: argparse.Namespace) -> bool:
    """Run one benchmark in a process of its own; return whether it succeeded."""
    command = [sys.executable, "-m", MODULES[name], "--data", str(arguments.data), "--cache", str(arguments.cache)]
    command += ["--out", str(arguments.out)] if arguments.out != RESULTS else []
    command += ["--quick"] if arguments.quick else []
    command += ["--mv-python", str(arguments.mv_python)] if name == "decode" and arguments.mv_python else []
    print(f"-- {name}", flush=True)
    started = perf_counter()
    done = subprocess.run(command, check=False, cwd=ROOT).returncode == 0
    print(f"-- {name}: {perf_counter() - started:.0f} s", flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main())
