"""Write colors for people."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rgb = tuple[int, int, int]

_HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (195, "cyan"), (255, "blue"), (305, "purple"),
         (345, "pink"), (360, "red"))  # fmt: skip
_GREY_SPREAD = 0.15


def hex_of(color: npt.NDArray[Any] | Rgb) -> str:
    """Return a color as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*rgb_of(color))


def parse_hex(text: str) -> Rgb:
    """Return red, green and blue of "#rrggbb"."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def rgb_of(color: npt.NDArray[Any] | Rgb) -> Rgb:
    """Return red, green and blue, 0 to 255; further channels are dropped."""
    red, green, blue = (int(channel) for channel in color[:3])
    return red, green, blue


def name_of(color: Rgb) -> str:
    """Return an everyday name, such as "dark red"."""
    low, high = min(color), max(color)
    if high <= 24:
        return "black"
    if high - low <= _GREY_SPREAD * high:
        return "white" if low >= 230 else "grey" if low >= 96 else "dark grey"
    hue = next(name for limit, name in _HUES if _degrees(color) <= limit)
    return f"dark {hue}" if high < 160 else hue


def _degrees(color: Rgb) -> float:
    """Hue of a color that is not grey, 0 to 360."""
    red, green, blue = np.array(color, float)
    spread = float(max(color) - min(color))
    if max(color) == red:
        return float((green - blue) / spread * 60 % 360)
    return float((blue - red) / spread * 60 + 120 if max(color) == green else (red - green) / spread * 60 + 240)
