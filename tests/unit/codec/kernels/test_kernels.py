"""Each compiled loop against a slow one that is written another way."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from codec import kernels
from codec.motion.block_grid import BlockMotion, Geometry, lay_blocks
from codec.types import Float32Array, Int16Array, Int32Array, UInt8Array
from tests.support.block_grids import grid_of_blocks

WIDTH, HEIGHT = 90, 57
UNUSED = -1
"""Instead of a slot: the block predicts nothing, the other list does alone."""


def scene(seed: int) -> tuple[BlockMotion, Int32Array, UInt8Array, UInt8Array]:
    """Blocks, a slot for each (some none), three noisy reference pictures and the frame."""
    rng = np.random.default_rng(seed)
    blocks = lay_blocks(grid_of_blocks(WIDTH, HEIGHT, seed), Geometry.between((WIDTH, HEIGHT), (WIDTH, HEIGHT)))
    slot = np.append(rng.integers(-1, 3, len(blocks.lists)), -1).astype(np.int32)
    pictures = rng.integers(0, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)
    return blocks, slot, pictures, rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def bilinear(picture: UInt8Array, x: float, y: float) -> float:
    """A picture continued with its edge, between its pixels."""
    padded = np.pad(picture.astype(float), 1, mode="edge")
    x, y = np.clip(x, -1, picture.shape[1] - 0.001) + 1, np.clip(y, -1, picture.shape[0] - 0.001) + 1
    x0, y0 = int(x), int(y)
    column = padded[y0 : y0 + 2, x0 : x0 + 2] @ np.array([1 - (x - x0), x - x0])
    return float(column @ np.array([1 - (y - y0), y - y0]))


def slow_error(
    known: tuple[BlockMotion, Int32Array, UInt8Array, UInt8Array], i: int, candidate: int, factor: float = 1
) -> float:
    """Mean error of 4 x 4 samples in the middles of a block's sixteenths, bi-predicted where the other list is used."""
    blocks, slot, pictures, luma = known
    left, top, width, height = blocks.corners[i].astype(float)
    errors = []
    for v in (0.125, 0.375, 0.625, 0.875):
        for u in (0.125, 0.375, 0.625, 0.875):
            x = min(max(int(np.floor(left + u * width)), 0), WIDTH - 1)
            y = min(max(int(np.floor(top + v * height)), 0), HEIGHT - 1)
            beside = int(blocks.block[1 - blocks.lists[i], y // 4, x // 4])
            dx, dy = blocks.vectors[i].astype(float)
            guesses = [bilinear(pictures[candidate], x + dx, y + factor * dy)] if candidate != UNUSED else []
            if slot[beside] >= 0:
                dx, dy = blocks.vectors[beside].astype(float)
                guesses.append(bilinear(pictures[slot[beside]], x + dx, y + dy))
            elif candidate == UNUSED:
                return np.inf
            errors.append(abs(np.mean(guesses) - float(luma[y, x])))
    return float(np.mean(errors)) if candidate != UNUSED or not blocks.vectors[i].any() else np.inf


@pytest.mark.parametrize("which", [0, 1])
def test_rematch_takes_the_best_where_it_is_clearly_better(which: int) -> None:
    """Suspect blocks of the list get the slot of least error where that is clearly less; all others keep theirs."""
    blocks, slot, pictures, _ = scene(seed=6)
    luma = np.round(0.8 * pictures[2] + 0.2 * pictures[0]).astype(np.uint8)
    rng = np.random.default_rng(2)
    blocks.vectors[rng.random(len(slot)) < 0.8] = 0
    slot[:-1][rng.random(len(slot) - 1) < 0.8] = 2
    candidates = np.array([1, 0], np.int32)
    excess = np.random.default_rng(1).uniform(-1, 2, len(slot)).astype(np.float32)
    expected = slot.copy()
    for i in np.flatnonzero((blocks.lists == which) & (excess[:-1] > 0)):
        choices = [*candidates.tolist(), UNUSED]
        errors = [slow_error((blocks, slot, pictures, luma), int(i), choice) for choice in choices]
        best = int(np.argmin(errors))
        if errors[best] < min(0.95 * errors[0], errors[0] - 1):
            expected[i] = choices[best]
    changed = slot.copy()
    kernels.rematch(
        which, candidates, excess, 0.95, 1.0,
        blocks.block, blocks.vectors, blocks.lists, blocks.corners, changed, pictures, luma,
    )  # fmt: skip
    assert np.array_equal(changed, expected)
    for value in (-1, 0):
        assert ((changed == value) & (slot != value)).any()


def test_unfold_takes_the_factor_of_least_error() -> None:
    """A vector's vertical part is multiplied by the factor that makes its block's error clearly least."""
    blocks, slot, pictures, luma = scene(seed=7)
    slot[:-1] = np.maximum(slot[:-1], 0)
    expected = blocks.vectors.copy()
    for i in range(len(blocks.lists)):
        errors = [slow_error((blocks, slot, pictures, luma), i, int(slot[i]), factor) for factor in (1.0, 2.0, 0.5)]
        best = int(np.argmin(errors))
        if errors[best] < min(0.95 * errors[0], errors[0] - 1):
            expected[i, 1] *= (1.0, 2.0, 0.5)[best]
    out = blocks.vectors.copy()
    kernels.unfold(
        np.array([2.0, 0.5]), 0.95, 1.0,
        blocks.block, blocks.vectors, blocks.lists, blocks.corners, slot, pictures, luma, out,
    )  # fmt: skip
    assert np.array_equal(out, expected)
    assert 5 < (out != blocks.vectors).any(axis=1).sum() < len(blocks.lists)


def compensated(
    known: tuple[BlockMotion, Int32Array, UInt8Array, UInt8Array],
    wanted: np.typing.NDArray[np.bool_],
    residual: Int16Array,
) -> Float32Array:
    """Fill the residual of wanted blocks and return each block's excess over 3 levels."""
    blocks, slot, pictures, luma = known
    excess = np.full(len(slot), 9, np.float32)
    kernels.compensate(blocks.block, blocks.vectors, slot, wanted, 3.0, pictures, luma, residual, excess)
    return excess


def test_excess_is_the_sum_over_a_blocks_cells() -> None:
    """A block's excess is the sum of its cells' mean absolute residuals, each less the level."""
    known = scene(seed=8)
    residual = np.empty((HEIGHT, WIDTH), np.int16)
    excess = compensated(known, np.ones(len(known[1]), bool), residual)
    rows = range(0, HEIGHT, 4)
    error = np.array([[np.abs(residual[y : y + 4, x : x + 4]).mean() for x in range(0, WIDTH, 4)] for y in rows])
    for i in range(len(excess) - 1):
        cells = (known[0].block == i).any(axis=0)
        assert excess[i] == pytest.approx((error[cells] - 3.0).sum(), abs=1e-3)


def test_wanted_blocks_alone_are_predicted_again() -> None:
    """Cells that no wanted block covers keep what they hold."""
    known = scene(seed=9)
    wanted = np.random.default_rng(3).random(len(known[1])) < 0.3
    wanted[-1] = False
    whole, part = np.empty((HEIGHT, WIDTH), np.int16), np.full((HEIGHT, WIDTH), 777, np.int16)
    compensated(known, np.ones_like(wanted), whole)
    compensated(known, wanted, part)
    cells = wanted[known[0].block].any(axis=0)
    pixels = np.kron(cells, np.ones((4, 4), bool))[:HEIGHT, :WIDTH]
    assert np.array_equal(part, np.where(pixels, whole, 777))


def test_vectors_far_beyond_the_picture_see_its_edge() -> None:
    """Blocks that point far out, as damaged streams may, are predicted from the nearest edge."""
    known = blocks, slot, pictures, luma = scene(seed=10)
    blocks.vectors[:-1] = np.random.default_rng(4).choice([-3e4, 3e4, 0.5], blocks.vectors[:-1].shape)
    residual = np.empty((HEIGHT, WIDTH), np.int16)
    compensated(known, np.ones(len(slot), bool), residual)
    for y, x in np.ndindex(HEIGHT, WIDTH):
        pair = [int(number) for number in blocks.block[:, y // 4, x // 4]]
        guesses = [
            bilinear(pictures[slot[i]], x + float(blocks.vectors[i, 0]), y + float(blocks.vectors[i, 1]))
            for i in pair
            if slot[i] >= 0
        ]
        expected = float(luma[y, x]) - (np.mean(guesses) if guesses else luma[y, x])
        assert abs(residual[y, x] - expected) <= 1.01


def test_numba_waits_for_the_first_video() -> None:
    """Importing what opens videos does not import numba, whose import takes longer than a command's help should."""
    script = "import sys, codec, vos.probe.probe, service.cli.main; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
