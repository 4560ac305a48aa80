"""Writes requirements.lock: every package of the image but torch, with the hashes of its files. `make lock` calls it.

Needs uv (`pip install uv`) and an index of packages. torch and what only its CUDA build needs are left out: its builds
for CPUs and GPUs are different files under one version, from different indexes, so constraints.txt pins its version.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Made by `make lock` from pyproject.toml and constraints.txt; the image installs it with --require-hashes. Not by hand.
"""
LEFT_OUT = re.compile(r"(torch|triton|cuda-[\w-]+|nvidia-[\w-]+)==")


def without_torch(lock: str) -> str:
    """Remove the requirements that come with torch's own index."""
    blocks = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)  # a requirement, and its indented hashes and comments
    return "".join(block for block in blocks if not LEFT_OUT.match(block))


def main() -> int:
    """Resolve all dependencies and write the file."""
    uv = shutil.which("uv")
    if uv is None:
        print("make_lock: uv is not installed; install it with `pip install uv`", file=sys.stderr)
        return 1
    command = [uv, "pip", "compile", "pyproject.toml", "--constraint", "constraints.txt"]
    command += ["--extra", "openvino", "--extra", "postgres", "--extra", "s3"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--quiet"]
    lock = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    LOCK.write_text(HEADER + without_torch(lock), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
