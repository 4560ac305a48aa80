"""Compile the loops of codec and vos once per processor, so that the user can be told why the first run waits.

Numba keeps what it compiled (see `codec.kernels`), but says only afterwards whether it had to compile. A marker file
therefore stores a fingerprint of what the result depends on.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

KERNELS = (
    *("codec.kernels", "vos.kernels"),
    *("vos.modeling.cpu.topk_kernels", "vos.modeling.cpu.topk_kernels_float32"),
)
"""Modules that compile when they are imported."""


def is_compiled(marker: Path) -> bool:
    """Whether the kernels were compiled here for this processor and this version of the code."""
    try:
        return marker.read_text(encoding="ascii") == _fingerprint()
    except (OSError, UnicodeDecodeError):
        return False


def compile_kernels(marker: Path, load: Callable[[str], object] = importlib.import_module) -> None:
    """Import the kernels, which compiles them where that has not been done, and write the marker."""
    for module in KERNELS:
        load(module)
    with suppress(OSError):  # without the marker, only the message comes again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(_fingerprint(), encoding="ascii")


def _fingerprint() -> str:
    """Digest of processor, Python, numba, the folder of its cache, and the kernels' source files."""
    import llvmlite.binding  # noqa: PLC0415 - takes a moment, which only runs have to spend

    about = [
        llvmlite.binding.get_host_cpu_name(),
        platform.python_version(),
        version("numba"),
        os.path.realpath(__file__),
        *(f"{file.name} {file.stat().st_mtime_ns}" for module in KERNELS for file in _sources(module)),
    ]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def _sources(module: str) -> list[Path]:
    """Source files of a module or package, without importing it."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return sorted(Path(spec.origin).parent.glob("*.py"))
