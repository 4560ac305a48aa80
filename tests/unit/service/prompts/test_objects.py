"""What is said back about a prompt."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.prompts.colors.names import name_of
from service.prompts.objects import PromptObject, objects_line, objects_of, suspicious

LABELS = np.zeros((10, 20), np.uint8)
LABELS[2:5, 3:9] = 1
LABELS[6:8, 10:11] = 7


def test_objects_have_area_box_color_and_frame() -> None:
    """The box is [x, y, width, height]."""
    found = objects_of(LABELS, 4, {1: (255, 0, 0)})
    assert found == (PromptObject(1, 4, 18, (3, 2, 6, 3), "#ff0000"), PromptObject(7, 4, 2, (10, 6, 1, 2), None))
    assert TypeAdapter(tuple[PromptObject, ...]).validate_python([item.to_json() for item in found]) == found


def test_the_line_for_people() -> None:
    """Pixels, share of the picture, and the color where there is one."""
    line = objects_line(objects_of(LABELS, 0, {1: (255, 0, 0), 7: (7, 7, 7)}), LABELS.size)
    assert line == "objects: 1 (18 px, 9.0 %, red), 7 (2 px, 1.0 %)"
    assert objects_line((PromptObject(1, 0, 12345, (0, 0, 1, 1)),), 301098) == "objects: 1 (12,345 px, 4.1 %)"


@pytest.mark.parametrize(
    ("color", "name"),
    [((255, 0, 0), "red"), ((128, 0, 0), "dark red"), ((0, 128, 0), "dark green"), ((0, 0, 255), "blue"),
     ((255, 255, 0), "yellow"), ((255, 165, 0), "orange"), ((0, 255, 255), "cyan"), ((128, 0, 128), "dark purple"),
     ((255, 105, 180), "pink"), ((255, 255, 255), "white"), ((128, 128, 128), "grey"), ((64, 64, 64), "dark grey"),
     ((3, 2, 1), "black"), ((220, 20, 60), "red")],
)  # fmt: skip
def test_names_of_colors(color: tuple[int, int, int], name: str) -> None:
    """Everyday names; the CSS colors of these names have them."""
    assert name_of(color) == name


def test_objects_that_may_be_the_background_are_noted() -> None:
    """Those that cover more than 60 % of the picture or most of its border."""
    frame = np.ones((10, 20), np.uint8)
    frame[1:-1, 1:-1] = 0
    assert suspicious(LABELS, objects_of(LABELS, 0, {})) == ()
    assert "object 1 covers 28% of the picture and 100% of its border" in suspicious(frame, objects_of(frame, 0, {}))[0]
    inner = np.pad(np.ones((14, 24), np.uint8), 2)
    assert "object 1 covers 67% of the picture and 0% of its border" in suspicious(inner, objects_of(inner, 0, {}))[0]
