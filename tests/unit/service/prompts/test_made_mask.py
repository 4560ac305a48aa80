"""Masks made from boxes and points on drawn pictures, whose true masks are known."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco

from service.prompts.made_mask import make_mask
from service.prompts.shapes import ShapePrompt, parse_shapes
from vos.errors import PromptError

HEIGHT, WIDTH = 120, 200
BoolArray = npt.NDArray[np.bool_]


def disc(x: float, y: float, radius: float, height: int = HEIGHT, width: int = WIDTH) -> BoolArray:
    """A disc's true mask."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.asarray(np.hypot(columns - x, rows - y) <= radius)


def drawn(*objects: BoolArray, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A noisy green picture with objects of other colors."""
    rng = np.random.default_rng(seed)
    picture = np.full((*objects[0].shape, 3), (60.0, 130.0, 70.0))
    for mask, color in zip(objects, ((200, 60, 40), (60, 80, 210), (230, 220, 60)), strict=False):
        picture[mask] = color
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


def box(number: int, x: float, y: float, w: float, h: float) -> ShapePrompt:
    """A box prompt."""
    return ShapePrompt(object=number, box=(x, y, w, h))


def iou(one: BoolArray, other: BoolArray) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("by", [-2, 0, 3])
def test_a_box_becomes_the_mask_of_its_object(by: int) -> None:
    """A box that is a few pixels too small or too large gives the object's outline."""
    true = disc(90, 60, 30)
    made = make_mask(drawn(true), [box(5, 60 - by, 30 - by, 60 + 2 * by, 60 + 2 * by)])
    assert set(np.unique(made.labels)) == {0, 5}
    assert iou(made.labels == 5, true) > 0.95
    assert made.notes == ()


def test_an_outline_that_is_no_ellipse_is_followed() -> None:
    """Colors decide where the shape of the box does not: an L is cut out of its box."""
    true = np.zeros((HEIGHT, WIDTH), bool)
    true[20:100, 50:80] = True
    true[70:100, 50:150] = True
    made = make_mask(drawn(true), [box(1, 50, 20, 100, 80)])
    ellipse = np.hypot((np.mgrid[:HEIGHT, :WIDTH][1] - 100) / 50, (np.mgrid[:HEIGHT, :WIDTH][0] - 60) / 40) <= 1
    assert iou(made.labels == 1, true) > iou(ellipse, true) + 0.3


@pytest.mark.parametrize(
    ("x", "y", "radius", "size"),
    [(0, 60, 40, (HEIGHT, WIDTH)), (200, 120, 50, (HEIGHT, WIDTH)), (100, 60, 6, (HEIGHT, WIDTH)),
     (700, 300, 200, (600, 1400))],
)  # fmt: skip
def test_boxes_at_the_border_small_and_large(x: float, y: float, radius: float, size: tuple[int, int]) -> None:
    """Objects that are cut off by the border, small or larger than the working size are found too."""
    true = disc(x, y, radius, *size)
    rows, columns = np.flatnonzero(true.any(axis=1)), np.flatnonzero(true.any(axis=0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    made = make_mask(drawn(true), [box(1, left, top, right - left, bottom - top)])
    assert iou(made.labels == 1, true) > 0.8


@pytest.mark.parametrize(("width", "height"), [(500, 6), (6, 500)])
def test_boxes_of_any_aspect(width: int, height: int) -> None:
    """A bar is found in a box that is a hundred times as long as it is wide."""
    true = np.zeros((height + 60, width + 60), bool)
    true[30 : 30 + height, 30 : 30 + width] = True
    made = make_mask(drawn(true), [box(1, 28, 28, width + 4, height + 4)])
    assert iou(made.labels == 1, true) > 0.6


@pytest.mark.parametrize("seed", range(40))
def test_random_boxes_and_points_give_a_mask_or_one_error(seed: int) -> None:
    """Pictures from one pixel on, and boxes and points anywhere, end in a mask of known ids or in a `PromptError`."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    shapes = []
    for number in range(1, int(rng.integers(2, 5))):
        x, y = rng.uniform(-10, 45, 2)
        w, h = rng.uniform(0.1, 50, 2)
        points = ((float(rng.uniform(0, width)), float(rng.uniform(0, height)), 1),)
        marks = {"box": (x, y, w, h), "points": points if rng.random() < 0.3 else ()}
        shapes.append(ShapePrompt(object=number, **(marks if rng.random() < 0.7 else {"points": points})))
    try:
        made = make_mask(picture, shapes)
    except PromptError:
        return
    assert made.labels.shape == (height, width)
    assert set(np.unique(made.labels)) - {0} == {shape.object for shape in shapes}


def test_the_same_input_gives_the_same_mask() -> None:
    """Nothing is random."""
    picture, shapes = drawn(disc(90, 60, 30)), [box(1, 55, 35, 60, 60)]
    assert np.array_equal(make_mask(picture, shapes).labels, make_mask(picture, shapes).labels)


def test_objects_do_not_overlap_and_a_note_says_so() -> None:
    """Two boxes that overlap share no pixel; each object keeps its own color."""
    one, other = disc(80, 60, 30), disc(125, 60, 30)
    made = make_mask(drawn(one, other), [box(1, 50, 30, 60, 60), box(2, 95, 30, 60, 60)])
    assert iou(made.labels == 1, one & ~other) > 0.85
    assert iou(made.labels == 2, other) > 0.85
    same = make_mask(drawn(one), [box(1, 50, 30, 60, 60), box(2, 52, 28, 60, 60)])
    assert any("objects 1 and 2 overlap in" in note for note in same.notes)


def test_parts_without_color_of_the_object_are_left_out() -> None:
    """Specks are dropped and pinholes are filled."""
    true = disc(90, 60, 30)
    speckled = true.copy()
    speckled[60, 85:88] = False
    made = make_mask(drawn(speckled), [box(1, 58, 28, 64, 64)])
    assert (made.labels[60, 85:88] == 1).all()


def test_points_on_an_object_give_its_mask() -> None:
    """A click makes a mask, with a note that a box is better."""
    true = disc(90, 60, 14)
    made = make_mask(drawn(true), [ShapePrompt(object=1, points=((90, 60, 1),))])
    assert iou(made.labels == 1, true) > 0.7
    assert made.notes == ("object 1 was made from points alone; a box gives a better outline",)


def test_a_point_beside_the_object_takes_a_part_away() -> None:
    """A point with 0 removes what has its color from the box."""
    one, other = disc(80, 60, 25), disc(130, 60, 25)
    picture = drawn(one, other)
    both = make_mask(picture, [box(1, 55, 35, 100, 50)]).labels == 1
    shape = ShapePrompt(object=1, box=(55, 35, 100, 50), points=((80, 60, 1), (130, 60, 0)))
    one_only = make_mask(picture, [shape]).labels == 1
    assert iou(both, one | other) > iou(both, one)
    assert iou(one_only, one) > 0.8


def test_a_tiny_box_is_its_ellipse() -> None:
    """A box of three pixels has no outline to find; the mask is still not empty."""
    made = make_mask(drawn(disc(90, 60, 30)), [box(1, 10, 10, 3, 3), box(2, 2.5, 2.5, 1, 1)])
    assert made.labels[11, 11] == 1
    assert (made.labels == 2).any()


def test_what_cannot_be_told_apart_is_noted() -> None:
    """In a picture of one color the mask is a guess, and the user learns it."""
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    made = make_mask(flat, [box(3, 60, 30, 60, 60)])
    assert any("object 3 shares many colors with its surroundings" in note for note in made.notes)


def test_a_box_beyond_the_picture_is_cut_with_a_note() -> None:
    """A box may reach over the border, but not lie outside."""
    true = disc(190, 60, 30)
    made = make_mask(drawn(true), [box(1, 160, 30, 60, 60)])
    assert iou(made.labels == 1, true) > 0.9
    assert made.notes == ("object 1: its box reaches beyond the picture of 200x120 and was cut to it",)
    with pytest.raises(PromptError, match="the box 300,30,60,60 covers no pixel of the picture of 200x120"):
        make_mask(drawn(true), [box(1, 300, 30, 60, 60)])
    with pytest.raises(PromptError, match="the point 200,3 is outside the picture of 200x120"):
        make_mask(drawn(true), [ShapePrompt(object=1, points=((200, 3, 1),))])


def test_an_object_that_is_fully_hidden_by_others_is_refused() -> None:
    """No object of the prompt gets lost silently."""
    shapes = [box(1, 60, 30, 60, 60), box(2, 60, 30, 60, 60)]
    with pytest.raises(PromptError, match="object 2 lies where other objects are"):
        make_mask(drawn(disc(90, 60, 30)), shapes)


def test_given_masks_and_absent_objects() -> None:
    """A run-length encoded mask is taken pixel by pixel, an absent object has none, and another size is refused."""
    mask = disc(90, 60, 30)
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    entry = {"object": 3, "rle": {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")}}
    shapes = parse_shapes(json.dumps([entry, {"object": 4, "absent": True}]))
    made = make_mask(drawn(mask), shapes)
    assert np.array_equal(made.labels, np.where(mask, 3, 0))
    with pytest.raises(PromptError, match=r"has the size \[120, 200\]; it must be that of the picture, \[20, 20\]"):
        make_mask(np.zeros((20, 20, 3), np.uint8), shapes)
