"""Colors of objects: the palette of mask files, and the one of overlays.

Mask files keep the color map of the PASCAL VOC and DAVIS data sets, which tools expect. Overlays are for people: their
colors are bright and can be told apart with any kind of color vision (Okabe and Ito, "Color Universal Design", 2008).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codec.types import UInt8Array

_OKABE_ITO = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167), (255, 255, 255)),
)
"""Orange, sky blue, bluish green, yellow, blue, vermillion, reddish purple; white for the black of the original."""


def davis_palette() -> UInt8Array:
    """Return the RGB colors uint8 [256, 3] of the labels 0 to 255.

    Bits 0, 1, 2 of the label are the top bits of red, green, blue; bits 3, 4, 5 their second bits; and so on.
    Label 0 is black, 1 dark red (128, 0, 0), 2 dark green (0, 128, 0).
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for group in range(3):
        for channel in range(3):
            bit = (labels >> (3 * group + channel)) & 1
            palette[:, channel] |= (bit << (7 - group)).astype(np.uint8)
    return palette


def overlay_palette(chosen: Mapping[int, tuple[int, int, int]] | None = None) -> UInt8Array:
    """Return the RGB colors uint8 [256, 3] in which an overlay shows the labels 0 to 255; 0 is black.

    Args:
        chosen: Object id -> color of its own. The others repeat the eight colors of Okabe and Ito.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[1:] = np.resize(np.array(_OKABE_ITO, np.uint8), (255, 3))
    for object_id, color in (chosen or {}).items():
        palette[object_id] = color
    return palette


PALETTE = davis_palette()
"""Colors of mask files."""
