"""Installs torch into the environment of this Python: `python scripts/install_torch.py [INDEX]`. The Makefile calls it.

On PyPI, torch for Linux is the CUDA build, which is gigabytes larger than the CPU build. Without INDEX, a machine that
has no NVIDIA GPU gets the CPU build from PyTorch's own index if that index answers within seconds. Otherwise pip's own
configuration decides, so an installation behind a package mirror works too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3.0
CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"


def has_gpu() -> bool:
    """Tell whether NVIDIA's driver lists a GPU."""
    command = shutil.which("nvidia-smi")
    return command is not None and subprocess.run([command, "-L"], capture_output=True, check=False).returncode == 0


def answers(index: str, seconds: float = PROBE_SECONDS) -> bool:
    """Tell whether a package index has torch and answers in time."""
    found: list[bool] = []

    def ask() -> None:
        try:
            with urlopen(f"{index}/torch/", timeout=seconds):
                found.append(True)
        except (URLError, OSError):
            found.append(False)

    # Name resolution ignores the timeout of urlopen, so the wait is bounded here.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found == [True]


def attempts(index: str | None) -> list[str | None]:
    """Return the indexes to try in order; None stands for pip's own configuration."""
    if index:
        return [index]
    if sys.platform != "linux" or has_gpu():
        return [None]
    if answers(CPU_INDEX):
        return [CPU_INDEX, None]
    print(f"torch: {CPU_INDEX} does not answer; pip's own configuration decides which build comes", file=sys.stderr)
    return [None]


def install(index: str | None) -> bool:
    """Install torch from an index, or by pip's own configuration; return whether pip succeeded."""
    # Torch alone: an index of its builds need not have the versions of other packages that PyPI has.
    source = ["--no-deps", "--index-url", index] if index else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), *source, "torch"]
    return subprocess.run(command, check=False).returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Install torch; return 1 if no index has it."""
    return int(not any(install(index) for index in attempts(arguments[0] if arguments else None)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
