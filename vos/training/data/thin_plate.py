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
"""The spline is computed on at most so many places along a side and interpolated between them: it is smooth."""


def random_bend(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Displacement float32 [height, width]: a thin-plate spline through random values of -1..1 on a 4 x 4 grid."""
    values = rng.uniform(-1, 1, POINTS * POINTS)
    rows, columns = min(height, _CELLS), min(width, _CELLS)
    coarse = (_influence(rows, columns) @ values).reshape(rows, columns).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


@lru_cache(maxsize=4)
def _influence(rows: int, columns: int) -> NDArray[np.float64]:
    """What a unit value of each control point does at each place, [rows * columns, 16].

    Places are centres of cells of the unit square, control points lie from border to border. A spline is
    sum(w_i * U(|p - p_i|)) + a + b * x + c * y with U(r) = r^2 log r^2; the weights w and the plane follow from the
    values at the control points by one linear system, so that the spline is linear in these values.
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
    """U of all distances between places [n, 2] and control points [m, 2], [n, m]."""
    squared = ((places[:, None] - control[None]) ** 2).sum(axis=-1)
    return np.where(squared > 0, squared * np.log(np.maximum(squared, 1e-12)), 0.0)
