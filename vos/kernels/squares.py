"""The squares of pixels between the centres of four cells, on which label images are made."""

from __future__ import annotations

import math

import numpy as np

from codec.jit import compiled


@compiled()
def object_spans(winner):
    """Return the first column per row that the background does not win, and the one after the last: int64 [rows, 2]."""
    rows, columns = winner.shape
    found = np.empty((rows, 2), np.int64)
    for row in range(rows):
        first, end = 0, columns
        while first < columns and winner[row, first] == 0:
            first += 1
        while end > 0 and winner[row, end - 1] == 0:
            end -= 1
        found[row, 0], found[row, 1] = first, end
    return found


@compiled()
def pixel_edges(cells, pixels, scale):
    """Return the first pixel between the centres of cells i - 1 and i, i from 0 to `cells`, and at the end `pixels`."""
    found = np.full(cells + 2, pixels)
    done = 0
    for pixel in range(pixels):
        while done <= min(math.floor((pixel + 0.5) * scale - 0.5) + 1, cells):
            found[done] = pixel
            done += 1
    return found


@compiled()
def corner_shares(soft, top, bottom, left, right, corner, number):
    """Fill in the shares of the background and of the objects present at four cells.

    Writes corner [n, 4] and number [n] (0 for the background, else 1 + the object), and returns n.
    """
    for i in range(4):
        corner[0, i] = 1
    number[0] = 0
    count = 1
    for k in range(len(soft)):
        corner[count, 0], corner[count, 1] = soft[k, top, left], soft[k, top, right]
        corner[count, 2], corner[count, 3] = soft[k, bottom, left], soft[k, bottom, right]
        if max(corner[count, 0], corner[count, 1], corner[count, 2], corner[count, 3]) > 0:
            for i in range(4):
                corner[0, i] -= corner[count, i]
            number[count] = k + 1
            count += 1
    return count
