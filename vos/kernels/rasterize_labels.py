"""Convert soft masks to label images."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from vos.kernels.common import SOFT, readonly
from vos.kernels.squares import corner_shares, object_spans, pixel_edges


@compiled()
def _winners(soft):
    """Return 1 + the object with the largest share of each cell, 0 for the background: uint8 [rows, columns]."""
    objects, rows, columns = soft.shape
    winner = np.empty((rows, columns), np.uint8)
    best = np.empty(columns, np.float32)
    for row in range(rows):
        best[:] = 1
        winner[row] = 0
        for k in range(objects):
            for column in range(columns):
                best[column] -= soft[k, row, column]
        for k in range(objects):
            label = np.uint8(k + 1)
            for column in range(columns):
                value = soft[k, row, column]
                better = value > best[column]
                winner[row, column] = label if better else winner[row, column]
                best[column] = value if better else best[column]
    return winner


@compiled()
def _interpolated(corner, fx, fy):
    """Interpolate between four values [top left, top right, bottom left, bottom right]."""
    top = corner[0] + (corner[1] - corner[0]) * fx
    bottom = corner[2] + (corner[3] - corner[2]) * fx
    return top + (bottom - top) * fy


@compiled(nb.void(SOFT, readonly(nb.uint8, 1), nb.float64, nb.float64, nb.uint8[:, ::1]))
def rasterize_labels(soft, object_ids, scale_y, scale_x, labels):
    """Write the label of the largest bilinearly interpolated share to each pixel.

    The background has what the objects leave of 1. An object that wins four neighbouring cells wins everywhere between
    them, so only edges are interpolated.

    Args:
        object_ids: Labels of the objects, uint8 [K]; the background is 0.
        scale_y, scale_x: Cells per pixel.
        labels: Output, uint8 [height, width], filled with 0.
    """
    objects, rows, columns = soft.shape
    winner = _winners(soft)
    spans = object_spans(winner)
    edges_y, edges_x = pixel_edges(rows, labels.shape[0], scale_y), pixel_edges(columns, labels.shape[1], scale_x)
    corner, number = np.empty((objects + 1, 4), np.float32), np.empty(objects + 1, np.int64)
    for i in range(rows + 1):
        top, bottom, y0, y1 = max(i - 1, 0), min(i, rows - 1), edges_y[i], edges_y[i + 1]
        if y0 == y1:
            continue
        for j in range(min(spans[top, 0], spans[bottom, 0]), min(max(spans[top, 1], spans[bottom, 1]), columns) + 1):
            left, right, x0, x1 = max(j - 1, 0), min(j, columns - 1), edges_x[j], edges_x[j + 1]
            first = winner[top, left]
            if first == winner[top, right] == winner[bottom, left] == winner[bottom, right]:
                if first > 0:
                    for y in range(y0, y1):
                        for x in range(x0, x1):
                            labels[y, x] = object_ids[first - 1]
                continue
            count = corner_shares(soft, top, bottom, left, right, corner, number)
            for y in range(y0, y1):
                fy = np.float32((y + 0.5) * scale_y + 0.5 - i)
                for x in range(x0, x1):
                    fx = np.float32((x + 0.5) * scale_x + 0.5 - j)
                    best, found = _interpolated(corner[0], fx, fy), 0
                    for k in range(1, count):
                        value = _interpolated(corner[k], fx, fy)
                        if value > best:
                            best, found = value, number[k]
                    if found > 0:
                        labels[y, x] = object_ids[found - 1]
