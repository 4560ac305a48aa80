"""Random bends are thin-plate splines: compared with the definition in plain loops."""

import math

import cv2
import numpy as np
import pytest

from vos.training.data.thin_plate import POINTS, random_bend


def slow_spline(values: np.ndarray, x: float, y: float) -> float:
    """Bookstein's spline through values at the control points of the unit square, at one position."""
    control = [(i / (POINTS - 1), j / (POINTS - 1)) for j in range(POINTS) for i in range(POINTS)]

    def bending(a: tuple[float, float], b: tuple[float, float]) -> float:
        distance = math.dist(a, b)
        return 0.0 if distance == 0 else distance**2 * math.log(distance**2)

    n = len(control)
    system = np.zeros((n + 3, n + 3))
    for i, a in enumerate(control):
        for j, b in enumerate(control):
            system[i, j] = bending(a, b)
        system[i, n:] = system[n:, i] = (1, *a)
    solved = np.linalg.solve(system, np.append(values, [0, 0, 0]))
    bent = sum(weight * bending((x, y), place) for weight, place in zip(solved, control, strict=False))
    return float(bent + solved[n] + solved[n + 1] * x + solved[n + 2] * y)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (20, 20)])
def test_bends_are_splines(height: int, width: int) -> None:
    """A small bend equals the definition everywhere."""
    found = random_bend(np.random.default_rng(3), height, width)
    values = np.random.default_rng(3).uniform(-1, 1, POINTS * POINTS)
    for row in range(0, height, 5):
        for column in range(0, width, 5):
            expected = slow_spline(values, (column + 0.5) / width, (row + 0.5) / height)
            assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_large_bends_are_small_ones_enlarged() -> None:
    """The bend of a large picture is the same spline, interpolated with an error of a few hundredths."""
    large = random_bend(np.random.default_rng(5), 384, 512)
    small = random_bend(np.random.default_rng(5), 48, 48)
    assert np.abs(cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA) - small).max() < 0.03
    assert np.abs(large).max() < 3
