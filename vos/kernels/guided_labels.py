"""Convert soft masks to label images along the edges that the full-size picture shows.

Within 3 x 3 cells, the share of an object is regressed linearly on the colour of the cells, with a ridge. The share of
a pixel is the interpolated share of its cells, plus the gain of the regression times the difference between the pixel's
colour and the interpolated colour of the cells. This is the guided filter (He, Sun, Tang, "Guided Image Filtering",
PAMI 2013) in the form that image fusion uses to sharpen (Aiazzi et al., "Improving Component Substitution
Pansharpening", TGRS 2007): the coarse share stays, and only detail that the cells cannot hold is added.
"""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from vos.kernels.common import SOFT, readonly
from vos.kernels.squares import corner_shares, object_spans, pixel_edges

_PLANE = nb.Array(nb.uint8, 2, "A", readonly=True)
_FLAT = 0.02
"""Range of shares in 3 x 3 cells below which an object has no edge there."""


@compiled()
def _decided(soft, margin):
    """Return 1 + the object that wins a cell, 0 for the background, -1 where a change of up to `margin` decides."""
    objects, rows, columns = soft.shape
    winner = np.empty((rows, columns), np.int16)
    for row in range(rows):
        for column in range(columns):
            best, second, found = 1.0, 0.0, 0
            for k in range(objects):
                best -= soft[k, row, column]
            for k in range(objects):
                value = soft[k, row, column]
                if value > best:
                    best, second, found = value, best, k + 1
                elif value > second:
                    second = value
            winner[row, column] = found if best - second >= 2 * margin else -1
    return winner


@compiled()
def _range(plane, top, bottom, left, right):
    """Return the least and the largest value of a part of a plane."""
    low, high = plane[top, left], plane[top, left]
    for row in range(top, bottom):
        for column in range(left, right):
            low, high = min(low, plane[row, column]), max(high, plane[row, column])
    return low, high


@compiled()
def _covariances(share, colours, top, bottom, left, right, xx, xy):
    """Fill in the covariances of the colour, lower triangle [3, 3], and of colour and share, [3], in a part."""
    count = (bottom - top) * (right - left)
    mean, share_mean = np.zeros(3, np.float32), np.float32(0)
    xx[:], xy[:] = 0, 0
    for row in range(top, bottom):
        for column in range(left, right):
            share_mean += share[row, column] / count
            for i in range(3):
                mean[i] += colours[row, column, i] / count
    for row in range(top, bottom):
        for column in range(left, right):
            for i in range(3):
                deviation = (colours[row, column, i] - mean[i]) / count
                xy[i] += deviation * (share[row, column] - share_mean)
                for j in range(i + 1):
                    xx[i, j] += deviation * (colours[row, column, j] - mean[j])


@compiled()
def _solve(xx, xy):
    """Solve a positive definite system of three equations in place, from its lower triangle (Cholesky)."""
    for i in range(3):
        for j in range(i + 1):
            for m in range(j):
                xx[i, j] -= xx[i, m] * xx[j, m]
            xx[i, j] = np.sqrt(xx[i, j]) if i == j else xx[i, j] / xx[j, j]
    for i in range(3):
        for m in range(i):
            xy[i] -= xx[i, m] * xy[m]
        xy[i] /= xx[i, i]
    for n in range(3):
        i = 2 - n
        for m in range(i + 1, 3):
            xy[i] -= xx[m, i] * xy[m]
        xy[i] /= xx[i, i]


@compiled()
def _gains(soft, colours, winner, spans, ridge):
    """Return the gains float32 [K, rows, columns, 3] of cells beside an edge; 0 elsewhere.

    Edges lie in or beside the `spans` of the cells that are not plainly background.
    """
    objects, rows, columns = soft.shape
    gains = np.zeros((objects, rows, columns, 3), np.float32)
    xx, xy = np.empty((3, 3), np.float32), np.empty(3, np.float32)
    for row in range(rows):
        top, bottom = max(row - 1, 0), min(row + 2, rows)
        first, end = spans[top:bottom, 0].min() - 1, spans[top:bottom, 1].max() + 1
        for column in range(max(first, 0), min(end, columns)):
            left, right = max(column - 1, 0), min(column + 2, columns)
            lowest, highest = _range(winner, top, bottom, left, right)
            if lowest == highest >= 0:
                continue
            for k in range(objects):
                low, high = _range(soft[k], top, bottom, left, right)
                if high - low > _FLAT:
                    _covariances(soft[k], colours, top, bottom, left, right, xx, xy)
                    for i in range(3):
                        xx[i, i] += ridge
                    _solve(xx, xy)
                    gains[k, row, column] = xy
    return gains


@compiled()
def _fill_corners(values, top, bottom, left, right, corners):
    """Copy a vector at four cells of [rows, columns, 3] into [3, 4]."""
    for i in range(3):
        corners[i, 0], corners[i, 1] = values[top, left, i], values[top, right, i]
        corners[i, 2], corners[i, 3] = values[bottom, left, i], values[bottom, right, i]


@compiled()
def _along_row(corner, fy, line):
    """Write the value of four corners at fx = 0 and its slope along a row, [2]."""
    left = corner[0] + (corner[2] - corner[0]) * fy
    line[0], line[1] = left, corner[1] + (corner[3] - corner[1]) * fy - left


@compiled()
def _label_square(square, count, corner, slopes, means, samples, number, object_ids, margin, scale, labels):
    """Label the pixels between the centres of four cells.

    Args:
        square: Rows and columns of the pixels, (y0, y1, x0, x1), and of the cell at the lower right, (i, j).
        count: Number of shares: the background's and those of the objects present.
        corner: Shares at the cells, [count, 4].
        slopes: Gains at the cells, [count, 3, 4]; the background has none.
        means: Colour of the cells, [3, 4].
        samples: The picture's y, u, v and the factors of the channels.
        number: 1 + the object per share.
        scale: Cells per pixel, (vertically, horizontally).
    """
    y0, y1, x0, x1, i, j = square
    y, u, v, weights = samples
    # Along a row every interpolated value is linear: its value at fx = 0, and its slope.
    mean, share, gain = (
        np.empty((3, 2), np.float32),
        np.empty((count, 2), np.float32),
        np.empty((count, 3, 2), np.float32),
    )
    for row in range(y0, y1):
        fy = np.float32((row + 0.5) * scale[0] + 0.5 - i)
        for c in range(3):
            _along_row(means[c], fy, mean[c])
        for k in range(count):
            _along_row(corner[k], fy, share[k])
            for c in range(3 if k > 0 else 0):
                _along_row(slopes[k, c], fy, gain[k, c])
        for column in range(x0, x1):
            fx = np.float32((column + 0.5) * scale[1] + 0.5 - j)
            luma = y[row, column] * weights[0] - (mean[0, 0] + mean[0, 1] * fx)
            blue = u[row >> 1, column >> 1] * weights[1] - (mean[1, 0] + mean[1, 1] * fx)
            red = v[row >> 1, column >> 1] * weights[2] - (mean[2, 0] + mean[2, 1] * fx)
            background, best, found = share[0, 0] + share[0, 1] * fx, np.float32(-1), 0
            for k in range(1, count):
                change = luma * (gain[k, 0, 0] + gain[k, 0, 1] * fx)
                change += blue * (gain[k, 1, 0] + gain[k, 1, 1] * fx)
                change += red * (gain[k, 2, 0] + gain[k, 2, 1] * fx)
                change = min(max(change, -margin), margin)
                background -= change
                value = share[k, 0] + share[k, 1] * fx + change
                if value > best:
                    best, found = value, number[k]
            if found > 0 and best > background:
                labels[row, column] = object_ids[found - 1]


@compiled(
    nb.void(
        SOFT, SOFT, readonly(nb.uint8, 1), _PLANE, _PLANE, _PLANE, readonly(nb.float32, 1), nb.float64, nb.float64,
        nb.float32, nb.float32, nb.uint8[:, ::1],
    )
)  # fmt: skip
def guided_labels(soft, colours, object_ids, y, u, v, weights, scale_y, scale_x, ridge, margin, labels):
    """Write the label of the largest share, refined by the picture, to each pixel.

    Args:
        colours: Mean colour per cell times `weights`, float32 [rows, columns, 3].
        object_ids: Labels of the objects, uint8 [K]; the background is 0.
        y: Luma uint8 [height, width].
        u, v: Chroma uint8 [ceil(height / 2), ceil(width / 2)].
        weights: Factor of each channel, float32 [3].
        scale_y, scale_x: Cells per pixel.
        ridge: Ridge of the regression, in squared units of `colours`.
        margin: Largest change of a share.
        labels: Output, uint8 [height, width], filled with 0.
    """
    objects, rows, columns = soft.shape
    winner = _decided(soft, margin)
    spans = object_spans(winner)
    gains = _gains(soft, colours, winner, spans, ridge)
    edges_y, edges_x = pixel_edges(rows, labels.shape[0], scale_y), pixel_edges(columns, labels.shape[1], scale_x)
    corner, number = np.empty((objects + 1, 4), np.float32), np.empty(objects + 1, np.int64)
    slopes, means = np.empty((objects + 1, 3, 4), np.float32), np.empty((3, 4), np.float32)
    for i in range(rows + 1):
        top, bottom, y0, y1 = max(i - 1, 0), min(i, rows - 1), edges_y[i], edges_y[i + 1]
        if y0 == y1:
            continue
        for j in range(min(spans[top, 0], spans[bottom, 0]), min(max(spans[top, 1], spans[bottom, 1]), columns) + 1):
            left, right, x0, x1 = max(j - 1, 0), min(j, columns - 1), edges_x[j], edges_x[j + 1]
            first = winner[top, left]
            if first >= 0 and first == winner[top, right] == winner[bottom, left] == winner[bottom, right]:
                if first > 0:
                    labels[y0:y1, x0:x1] = object_ids[first - 1]
                continue
            count = corner_shares(soft, top, bottom, left, right, corner, number)
            for k in range(1, count):
                _fill_corners(gains[number[k] - 1], top, bottom, left, right, slopes[k])
            _fill_corners(colours, top, bottom, left, right, means)
            square = (y0, y1, x0, x1, i, j)
            _label_square(
                square, count, corner, slopes, means, (y, u, v, weights), number, object_ids, margin,
                (scale_y, scale_x), labels,
            )  # fmt: skip
