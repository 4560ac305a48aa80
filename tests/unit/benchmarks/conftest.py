"""The benchmarks are scripts that import each other from their own folder."""

from __future__ import annotations

import sys
from pathlib import Path

_FOLDER = str(Path(__file__).resolve().parents[3] / "benchmarks")

if _FOLDER not in sys.path:
    sys.path.append(_FOLDER)
