"""Smooth random bends: thin-plate splines through a grid of control points (Bookstein, PAMI 1989)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import Float32Array

POINTS = 4
"""Control points along each side."""
_CELLS = 48
"""Most positions per side at which the spline is computed; it is smooth, so it is interpolated between them."""


def random_bend(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Draw a displacement float32 [height, width]: a thin-plate spline through values of -1..1 on a 4 x 4 grid."""
    values = rng.uniform(-1, 1, POINTS * POINTS)
    rows, columns = min(height, _CELLS), min(width, _CELLS)
    coarse = (_influence(rows, columns) @ values).reshape(rows, columns).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


@lru_cache(maxsize=4)
def _influence(rows: int, columns: int) -> NDArray[np.float64]:
    """Effect of a unit value at each control point on each position, [rows * columns, 16].

    Positions are the centres of cells of the unit square; control points reach from border to border. A spline is
    sum(w_i * U(|p - p_i|)) + a + b * x + c * y with U(r) = r^2 log r^2. Weights and plane follow from the values at
    the control points by one linear system, so the spline is linear in these values.
    """
    line = np.linspace(0, 1, POINTS)
    control = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    across, down = ((np.arange(n) + 0.5) / n for n in (columns, rows))
    places = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    plane = np.column_stack([np.ones(len(control)), control])
    system = np.block([[_bending(control, control), plane], [plane.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.eye(len(system))[:, : len(control)])
    return np.column_stack([_bending(places, control), np.ones(len(places)), places]) @ weights


def _bending(places: NDArray[np.float64], control: NDArray[np.float64]) -> NDArray[np.float64]:
    """U of all distances between positions [n, 2] and control points [m, 2] -> [n, m]."""
    squared = ((places[:, None] - control[None]) ** 2).sum(axis=-1)
    return np.where(squared > 0, squared * np.log(np.maximum(squared, 1e-12)), 0.0)
