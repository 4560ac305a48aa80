"""Compare each kernel with a slow reference implementation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from codec import kernels
from codec.motion.block_grid import BlockGrid, GridGeometry, build_block_grid
from codec.types import Float32Array, Int16Array, Int32Array, UInt8Array
from tests.support.block_grids import random_records

WIDTH, HEIGHT = 90, 57
UNUSED = -1
"""In place of a slot: the other list predicts the block alone."""


def scene(seed: int) -> tuple[BlockGrid, Int32Array, UInt8Array, UInt8Array]:
    """Blocks, their slots (some -1), three noisy reference pictures and the frame."""
    rng = np.random.default_rng(seed)
    grid = build_block_grid(random_records(WIDTH, HEIGHT, seed), GridGeometry.between((WIDTH, HEIGHT), (WIDTH, HEIGHT)))
    slots = np.append(rng.integers(-1, 3, len(grid.lists)), -1).astype(np.int32)
    pictures = rng.integers(0, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)
    return grid, slots, pictures, rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def bilinear(picture: UInt8Array, x: float, y: float) -> float:
    """Bilinear sample of a picture with repeated edges."""
    padded = np.pad(picture.astype(float), 1, mode="edge")
    x, y = np.clip(x, -1, picture.shape[1] - 0.001) + 1, np.clip(y, -1, picture.shape[0] - 0.001) + 1
    x0, y0 = int(x), int(y)
    column = padded[y0 : y0 + 2, x0 : x0 + 2] @ np.array([1 - (x - x0), x - x0])
    return float(column @ np.array([1 - (y - y0), y - y0]))


def slow_error(
    known: tuple[BlockGrid, Int32Array, UInt8Array, UInt8Array], i: int, candidate: int, factor: float = 1
) -> float:
    """Mean error of 4 x 4 samples at the centers of a block's sixteenths, bi-predicted where the other list is used."""
    grid, slots, pictures, luma = known
    left, top, width, height = grid.boxes[i].astype(float)
    errors = []
    for v in (0.125, 0.375, 0.625, 0.875):
        for u in (0.125, 0.375, 0.625, 0.875):
            x = min(max(int(np.floor(left + u * width)), 0), WIDTH - 1)
            y = min(max(int(np.floor(top + v * height)), 0), HEIGHT - 1)
            other_block = int(grid.block_of_cell[1 - grid.lists[i], y // 4, x // 4])
            dx, dy = grid.vectors[i].astype(float)
            guesses = [bilinear(pictures[candidate], x + dx, y + factor * dy)] if candidate != UNUSED else []
            if slots[other_block] >= 0:
                dx, dy = grid.vectors[other_block].astype(float)
                guesses.append(bilinear(pictures[slots[other_block]], x + dx, y + dy))
            elif candidate == UNUSED:
                return np.inf
            errors.append(abs(np.mean(guesses) - float(luma[y, x])))
    return float(np.mean(errors)) if candidate != UNUSED or not grid.vectors[i].any() else np.inf


@pytest.mark.parametrize("which", [0, 1])
def test_a_clearly_better_reference_is_selected(which: int) -> None:
    """Blocks of the list with excess get the slot of lowest error if it is clearly lower; other blocks keep theirs."""
    grid, slots, pictures, _ = scene(seed=6)
    luma = np.round(0.8 * pictures[2] + 0.2 * pictures[0]).astype(np.uint8)
    rng = np.random.default_rng(2)
    grid.vectors[rng.random(len(slots)) < 0.8] = 0
    slots[:-1][rng.random(len(slots) - 1) < 0.8] = 2
    candidates = np.array([1, 0], np.int32)
    excess = np.random.default_rng(1).uniform(-1, 2, len(slots)).astype(np.float32)
    expected = slots.copy()
    for i in np.flatnonzero((grid.lists == which) & (excess[:-1] > 0)):
        choices = [*candidates.tolist(), UNUSED]
        errors = [slow_error((grid, slots, pictures, luma), int(i), choice) for choice in choices]
        best = int(np.argmin(errors))
        if errors[best] < min(0.95 * errors[0], errors[0] - 1):
            expected[i] = choices[best]
    changed = slots.copy()
    kernels.reselect_references(
        which, candidates, excess, 0.95, 1.0,
        grid.block_of_cell, grid.vectors, grid.lists, grid.boxes, changed, pictures, luma,
    )  # fmt: skip
    assert np.array_equal(changed, expected)
    for value in (-1, 0):
        assert ((changed == value) & (slots != value)).any()


def test_a_clearly_better_scale_of_field_vectors_is_selected() -> None:
    """The vertical component is multiplied by the factor of lowest error if it is clearly lower."""
    grid, slots, pictures, luma = scene(seed=7)
    slots[:-1] = np.maximum(slots[:-1], 0)
    expected = grid.vectors.copy()
    for i in range(len(grid.lists)):
        errors = [slow_error((grid, slots, pictures, luma), i, int(slots[i]), factor) for factor in (1.0, 2.0, 0.5)]
        best = int(np.argmin(errors))
        if errors[best] < min(0.95 * errors[0], errors[0] - 1):
            expected[i, 1] *= (1.0, 2.0, 0.5)[best]
    out = grid.vectors.copy()
    kernels.scale_field_vectors(
        np.array([2.0, 0.5]), 0.95, 1.0,
        grid.block_of_cell, grid.vectors, grid.lists, grid.boxes, slots, pictures, luma, out,
    )  # fmt: skip
    assert np.array_equal(out, expected)
    assert 5 < (out != grid.vectors).any(axis=1).sum() < len(grid.lists)


def compensated(
    known: tuple[BlockGrid, Int32Array, UInt8Array, UInt8Array],
    selected: np.typing.NDArray[np.bool_],
    residual: Int16Array,
) -> Float32Array:
    """Fill the residual of selected blocks and return each block's excess over 3 levels."""
    grid, slots, pictures, luma = known
    excess = np.full(len(slots), 9, np.float32)
    kernels.compensate(grid.block_of_cell, grid.vectors, slots, selected, 3.0, pictures, luma, residual, excess)
    return excess


def test_excess_is_the_sum_over_a_blocks_cells() -> None:
    """A block's excess is the sum over its cells of the mean absolute residual minus the tolerance."""
    known = scene(seed=8)
    residual = np.empty((HEIGHT, WIDTH), np.int16)
    excess = compensated(known, np.ones(len(known[1]), bool), residual)
    rows = range(0, HEIGHT, 4)
    error = np.array([[np.abs(residual[y : y + 4, x : x + 4]).mean() for x in range(0, WIDTH, 4)] for y in rows])
    for i in range(len(excess) - 1):
        cells = (known[0].block_of_cell == i).any(axis=0)
        assert excess[i] == pytest.approx((error[cells] - 3.0).sum(), abs=1e-3)


def test_only_selected_blocks_are_predicted() -> None:
    """Cells that no selected block covers keep their residual."""
    known = scene(seed=9)
    selected = np.random.default_rng(3).random(len(known[1])) < 0.3
    selected[-1] = False
    whole, part = np.empty((HEIGHT, WIDTH), np.int16), np.full((HEIGHT, WIDTH), 777, np.int16)
    compensated(known, np.ones_like(selected), whole)
    compensated(known, selected, part)
    cells = selected[known[0].block_of_cell].any(axis=0)
    pixels = np.kron(cells, np.ones((4, 4), bool))[:HEIGHT, :WIDTH]
    assert np.array_equal(part, np.where(pixels, whole, 777))


def test_vectors_far_outside_predict_from_the_edge() -> None:
    """Blocks whose vectors point far outside, as in damaged streams, are predicted from the nearest edge."""
    known = grid, slots, pictures, luma = scene(seed=10)
    grid.vectors[:-1] = np.random.default_rng(4).choice([-3e4, 3e4, 0.5], grid.vectors[:-1].shape)
    residual = np.empty((HEIGHT, WIDTH), np.int16)
    compensated(known, np.ones(len(slots), bool), residual)
    for y, x in np.ndindex(HEIGHT, WIDTH):
        pair = [int(number) for number in grid.block_of_cell[:, y // 4, x // 4]]
        guesses = [
            bilinear(pictures[slots[i]], x + float(grid.vectors[i, 0]), y + float(grid.vectors[i, 1]))
            for i in pair
            if slots[i] >= 0
        ]
        expected = float(luma[y, x]) - (np.mean(guesses) if guesses else luma[y, x])
        assert abs(residual[y, x] - expected) <= 1.01


def test_numba_is_imported_with_the_first_video() -> None:
    """Importing the reader and the command line does not import numba, which would slow down `--help`."""
    script = "import sys, codec, vos.probe.probe, service.cli.main; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
