"""Which part of a picture the base network sees: windows around small objects, and whole pictures else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vos.keyframes.window import LEAST_SIDE, WHOLE_EVERY, Window, WindowChoice
from vos.masks.geometry import PaddedSize

FULL_HD = PaddedSize.of(1080, 1920, 16)


def soft_boxes(size: PaddedSize, *boxes: tuple[int, int, int, int]) -> Tensor:
    """Soft masks on the stride-4 grid of one object per box (top, left, height, width) in pixels of the picture."""
    soft = torch.zeros(len(boxes), *size.grid)
    for plane, (top, left, height, width) in zip(soft, boxes, strict=True):
        plane[top // 4 : (top + height) // 4, left // 4 : (left + width) // 4] = 1
    return soft


def choice(size: PaddedSize = FULL_HD, *, narrows: bool = True) -> WindowChoice:
    """Make a choice for one video."""
    return WindowChoice(size, 16, narrows)


@pytest.mark.parametrize("seed", range(12))
def test_a_window_holds_small_objects(seed: int) -> None:
    """A window lies in the picture, in steps of 16 pixels, and holds the objects with room around them."""
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(12, 180)), int(rng.integers(12, 180))
    top, left = int(rng.integers(0, 1080 - height)), int(rng.integers(0, 1920 - width))
    window = choice().choose(soft_boxes(FULL_HD, (top, left, height, width)))
    assert window.top % 16 == window.left % 16 == window.height % 16 == window.width % 16 == 0
    assert min(window.top, window.left) >= 0
    assert window.top + window.height <= 1088
    assert window.left + window.width <= 1920
    assert window.height * window.width <= 1088 * 1920 / 2
    assert min(window.height, window.width) >= LEAST_SIDE
    # The picture begins 4 rows below the padded one.
    assert window.top <= max(0, top + 4 - 90)
    assert window.top + window.height >= min(1080, top + height + 4 + 90)
    assert window.left <= max(0, left - 90)
    assert window.left + window.width >= min(1920, left + width + 90)


@pytest.mark.parametrize("size", [(480, 854), (854, 480), (480, 1152), (480, 640), (360, 640), (540, 960)])
def test_ordinary_analysis_sizes_have_no_windows(size: tuple[int, int]) -> None:
    """However small the object is, a picture of about 480 lines is seen whole, as a window would save little."""
    padded = PaddedSize.of(*size, 16)
    seen = choice(padded)
    assert seen.choose(soft_boxes(padded, (200, 200, 16, 16))) == seen.whole


def test_whole_pictures_are_seen_when_windows_do_not_help() -> None:
    """That is so if nothing is known, an object is lost, objects are large or far apart, or the network cannot."""
    small, lost = (500, 900, 24, 24), (0, 0, 0, 0)
    assert choice().choose(soft_boxes(FULL_HD, small)) != choice().whole
    assert choice().choose(None) == choice().whole
    assert choice().choose(soft_boxes(FULL_HD, small, lost)) == choice().whole
    assert choice().choose(soft_boxes(FULL_HD, small, lost) * 0.5) == choice().whole
    assert choice().choose(soft_boxes(FULL_HD, (100, 300, 800, 900))) == choice().whole
    assert choice().choose(soft_boxes(FULL_HD, (40, 40, 24, 24), (1000, 1800, 24, 24))) == choice().whole
    assert choice(narrows=False).choose(soft_boxes(FULL_HD, small)) == choice().whole


def test_one_of_several_key_frames_is_seen_whole() -> None:
    """Of each eight key frames one is whole, counted from the latest whole picture, whatever the reason for that."""
    seen, soft = choice(), soft_boxes(FULL_HD, (500, 900, 24, 24))
    assert seen.choose(None) == seen.whole
    whole = [seen.choose(soft) == seen.whole for _ in range(2 * WHOLE_EVERY)]
    assert [i for i, is_whole in enumerate(whole) if is_whole] == [WHOLE_EVERY - 1, 2 * WHOLE_EVERY - 1]


def test_a_window_stays_while_the_objects_are_well_inside() -> None:
    """Small moves keep the window, so that a prefetched frame is of use; a large one moves it."""
    seen = choice()
    first = seen.choose(soft_boxes(FULL_HD, (500, 900, 24, 24)))
    assert seen.expected == first
    assert seen.choose(soft_boxes(FULL_HD, (540, 980, 24, 24))) == first
    moved = seen.choose(soft_boxes(FULL_HD, (540, 1200, 24, 24)))
    assert moved == seen.expected != first
    assert abs(moved.left + moved.width / 2 - 1212) <= 16


def test_what_is_expected_is_what_is_chosen() -> None:
    """While objects stay where they are, every window is known one key frame ahead, whole pictures as well."""
    seen, soft = choice(), soft_boxes(FULL_HD, (500, 900, 24, 24))
    seen.choose(soft)
    for _ in range(2 * WHOLE_EVERY):
        expected = seen.expected
        assert seen.choose(soft) == expected


def test_the_masks_of_a_whole_picture_tell_where_the_next_window_is() -> None:
    """After a prompt frame, or when a lost object is found, the next key frame is expected around the objects."""
    seen, soft = choice(), soft_boxes(FULL_HD, (500, 900, 24, 24))
    assert seen.choose(None) == seen.expected == seen.whole
    masks = torch.zeros(1, 1088, 1920)
    masks[0, 504:528, 900:924] = 1
    seen.expect(masks)
    assert seen.expected == seen.choose(soft) != seen.whole


def test_the_choice_continues_from_a_captured_state() -> None:
    """After every key frame, a choice with the captured state chooses and remembers what the other one does."""
    seen, resumed = choice(), choice()
    for index in range(3 * WHOLE_EVERY):
        seen.memorize(index, seen.choose(soft_boxes(FULL_HD, (500, 600 + 40 * index, 24, 24))), (0, index - 1, index))
        resumed.restore(seen.capture())
        assert resumed.expected == seen.expected
        assert [resumed.of(i) for i in range(index + 1)] == [seen.of(i) for i in range(index + 1)]
    assert len(seen.capture()["windows"]) == 4
    resumed.restore({})  # a state that an earlier version saved


@pytest.mark.parametrize("window", [Window(0, 0, 1088, 1920), Window(0, 1280, 640, 640), Window(448, 16, 640, 768)])
def test_cutting_placing_and_pictures_agree(window: Window) -> None:
    """What a window cuts from a padded map returns to its place; a picture cut first and padded then is the same."""
    grid = torch.rand(2, 1088 // 4, 1920 // 4)
    part = window.cut(grid, 4)
    assert part.shape == (2, window.height // 4, window.width // 4)
    placed = window.place(part, FULL_HD, 4, -20.0)
    assert placed.shape == grid.shape
    assert torch.equal(window.cut(placed, 4), part)
    assert int((placed == -20).sum()) == grid.numel() - part.numel()
    picture = torch.rand(3, 1080, 1920)
    (rows, columns), padding = window.in_picture(FULL_HD)
    assert torch.equal(torch.nn.functional.pad(picture[:, rows, columns], padding), window.cut(FULL_HD.pad(picture)))
