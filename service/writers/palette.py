"""The color map of the PASCAL VOC and DAVIS data sets."""

from __future__ import annotations

import numpy as np

from codec.types import UInt8Array


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


PALETTE = davis_palette()
