"""Conversions between display, coded, analysis and padded sizes and the stride-4 grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.frames import info
from vos.errors import PromptError
from vos.masks.geometry import PaddedSize, mask_confidence, prompt_to_soft, soft_to_labels, to_grid


@pytest.mark.parametrize(("height", "width"), [(480, 854), (121, 161), (16, 16), (479, 853)])
def test_padding_keeps_the_grid_aligned_and_can_be_undone(height: int, width: int) -> None:
    """Padding at the top and left is a multiple of a cell, and cropping undoes it."""
    size = PaddedSize.of(height, width, 16)
    picture = torch.rand(2, height, width)
    padded = size.pad(picture)
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
    assert size.top % 4 == size.left % 4 == 0
    assert torch.equal(size.crop(padded), picture)
    cells = torch.rand(2, *size.grid)
    padded_cells = size.pad_grid(cells)
    assert padded_cells.shape[-2:] == (size.padded_height // 4, size.padded_width // 4)
    rows, columns = size.grid
    top, left = size.top // 4, size.left // 4
    assert torch.equal(padded_cells[..., top : top + rows, left : left + columns], cells)


def test_cells_are_means_of_the_pixels_they_cover() -> None:
    """A cell at the border averages only pixels that exist."""
    picture = torch.rand(1, 10, 7)
    cells = to_grid(picture)
    for row, column in np.ndindex(3, 2):
        block = picture[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert cells[0, row, column] == pytest.approx(float(block.mean()), abs=1e-6)


def blobs(objects: int, rows: int, columns: int, seed: int) -> np.ndarray:
    """Return smooth soft masks that overlap and sum to at most 1."""
    rng = np.random.default_rng(seed)
    planes = np.stack(
        [cv2.GaussianBlur(rng.random((rows, columns)).astype(np.float32), (0, 0), 3) for _ in range(objects)]
    )
    planes = np.exp((planes - planes.mean()) * 60)
    return (planes / (planes.sum(axis=0) + 1)).astype(np.float32)


@pytest.mark.parametrize("objects", [1, 2, 7])
@pytest.mark.parametrize("size", [(64, 48), (96, 72), (33, 47), (200, 20)])
def test_labels_equal_an_argmax_over_full_planes(objects: int, size: tuple[int, int]) -> None:
    """Interpolating only edges gives the same labels as interpolating every plane everywhere."""
    width, height = size
    soft = blobs(objects, 12, 16, objects)
    ids = tuple(range(3, 3 + objects))
    labels = soft_to_labels(soft, 4, ids, info(width, height, (64, 48)))
    ys = np.clip((np.arange(height) + 0.5) * 48 / height / 4 - 0.5, 0, 11)
    xs = np.clip((np.arange(width) + 0.5) * 64 / width / 4 - 0.5, 0, 15)
    full = []
    for plane in [1 - soft.sum(axis=0), *soft]:
        by_rows = np.stack([np.interp(ys, np.arange(12), column) for column in plane.T], axis=1)
        full.append(np.stack([np.interp(xs, np.arange(16), row) for row in by_rows]))
    order = np.sort(np.stack(full), axis=0)
    clear = order[-1] - order[-2] > 1e-5
    expected = np.array([0, *ids])[np.argmax(full, axis=0)]
    assert clear.mean() > 0.99
    assert len(np.unique(expected)) > min(objects, 4)
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_an_object_can_win_between_cells_that_it_does_not_win() -> None:
    """A label is chosen among all objects, not only those that win a cell next to the pixel."""
    soft = np.zeros((3, 12, 16), np.float32)
    soft[:, 5:7, 8] = np.array([0.55, 0.0, 0.45])[:, None]
    soft[:, 5:7, 9] = np.array([0.0, 0.55, 0.45])[:, None]
    labels = soft_to_labels(soft, 4, (1, 2, 3), info(64, 48))
    assert labels[24, 34:38].tolist() == [1, 3, 3, 2]


def test_mask_confidence_is_the_mean_inside() -> None:
    """The confidence of an object is the mean of its mask where it exceeds one half; an absent object has 0."""
    soft = np.random.default_rng(3).random((3, 21, 34)).astype(np.float32)
    soft[1] *= 0.5
    inside = [float(plane[plane > 0.5].mean()) if (plane > 0.5).any() else 0.0 for plane in soft]
    assert mask_confidence(soft) == pytest.approx(inside, abs=1e-5)
    assert inside[1] == 0


def test_an_absent_object_leaves_no_pixel() -> None:
    """Soft masks of 0 give an empty label image."""
    assert not soft_to_labels(np.zeros((2, 12, 16), np.float32), 4, (1, 2), info(64, 48)).any()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_prompt_and_labels_are_inverse(rotation: int) -> None:
    """A mask converted to soft masks at full size and back stays the same in display orientation."""
    video = info(64, 48, rotation=rotation)
    labels = np.zeros((video.display_height, video.display_width), np.uint8)
    labels[5:20, 8:30], labels[25:40, 10:33] = 2, 9
    soft = prompt_to_soft(labels, (2, 9), video)
    assert soft.shape == (2, 48, 64)
    np.testing.assert_array_equal(soft_to_labels(soft, 1, (2, 9), video), labels)


def test_prompt_of_another_size_is_refused_with_both_sizes() -> None:
    """The error states the given and the allowed size, and the rotation that explains it."""
    with pytest.raises(PromptError, match=r"64x48 pixels; allowed: 48x64, .* rotation by 90"):
        prompt_to_soft(np.ones((48, 64), np.uint8), (1,), info(64, 48, rotation=90))


def test_soft_labels_follow_torch_upsampling() -> None:
    """Upsampling by 4 agrees with torch's bilinear interpolation without aligned corners."""
    soft = blobs(1, 12, 16, 5)
    big = F.interpolate(torch.from_numpy(soft)[None], scale_factor=4, mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()
    labels = soft_to_labels(soft, 4, (1,), info(64, 48))
    clear = np.abs(big - 0.5) > 0.02
    np.testing.assert_array_equal(labels[clear], (big > 0.5)[clear])
