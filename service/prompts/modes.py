"""How a mask may be read."""

from __future__ import annotations

from typing import Literal

MaskMode = Literal["auto", "ids", "colors", "binary"]
"""`docs/reference/masks.md` says what each mode reads."""
