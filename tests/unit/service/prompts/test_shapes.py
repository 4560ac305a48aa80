"""Boxes and points in the forms that users write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from service.errors import UsageError
from service.prompts.shape_text import parse_texts
from service.prompts.shapes import Rle, ShapePrompt, check_shapes, frames_of, parse_shapes, prompt_frame_of
from service.run.options import RunOptions, on_marked_frame

BOX = {"object": 1, "box": [1, 2, 3, 4]}


def test_json_of_boxes_and_points() -> None:
    """A list of objects with boxes, points or both is read as written."""
    text = json.dumps([{"frame": 0, **BOX}, {"object": 7, "points": [[5, 6.5, 1], [7, 8, 0]]}])
    boxed, pointed = parse_shapes(text)
    assert (boxed.frame, boxed.object, boxed.box, boxed.points) == (0, 1, (1, 2, 3, 4), ())
    assert (pointed.frame, pointed.object, pointed.box) == (None, 7, None)
    assert pointed.points == ((5, 6.5, 1), (7, 8, 0))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nonsense", "json"),
        ([], "at least 1 item"),
        ({"object": 1}, "valid array"),
        ([{"object": 1}], "needs a box, or at least one point on it"),
        ([{"object": 1, "points": [[1, 2, 0]]}], "needs a box, or at least one point on it"),
        ([{"object": 0, "box": [1, 2, 3, 4]}], "prompt.0.object is 0"),
        ([{"object": 256, "box": [1, 2, 3, 4]}], "prompt.0.object is 256"),
        ([{"object": 1, "box": [1, 2, 0, 4]}], "prompt.0.box.2 is 0"),
        ([{"object": 1, "box": [1, 2, 3]}], "prompt.0.box.3"),
        ([{"object": 1, "box": [1, 2, 3, 1e30]}], "prompt.0.box.3 is 1e"),
        ([{"object": 1, "points": [[1, 2, 3]]}], "prompt.0.points.0.2 is 3"),
        ([{**BOX, "mask": 1}], "prompt.0.mask is 1"),
        ([{**BOX, "frame": -1}], "prompt.0.frame is -1"),
        ([BOX, BOX], "marks object 1 twice"),
        ([{**BOX, "absent": True}], "give one"),
        ([{"object": 1, "rle": {"size": [0, 4], "counts": "0"}}], "prompt.0.rle.size.0 is 0"),
        ([{**BOX, "frame": 1}, {**BOX, "object": 2, "frame": 3}], "marks frames 1, 3"),
    ],
)
def test_a_bad_prompt_is_refused_in_one_line(value: Any, said: str) -> None:
    """The error says where the prompt is wrong, what was given and what is allowed."""
    with pytest.raises(UsageError) as caught:
        parse_shapes(value if isinstance(value, str) else json.dumps(value))
    assert said in str(caught.value).replace("JSON", "json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_numbers_that_are_none_are_refused() -> None:
    """NaN and infinity are no coordinates."""
    with pytest.raises(UsageError):
        parse_shapes('[{"object":1,"box":[NaN,1,2,3]}]')
    with pytest.raises(UsageError):
        parse_texts(["inf,1,2,3"], [])


def test_several_frames_where_they_are_allowed() -> None:
    """An object is marked once per frame; entries without a frame mark the default one."""
    text = json.dumps([{"frame": 8, "object": 2, "absent": True}, BOX, {**BOX, "frame": 3, "label": "dog"}])
    shapes = parse_shapes(text, several=True)
    assert {index: [s.object for s in part] for index, part in frames_of(shapes).items()} == {0: [1], 3: [1], 8: [2]}
    assert list(frames_of(shapes[:1])) == [8]
    options = on_marked_frame(RunOptions(), shapes)
    assert (options.prompt_frame, options.labels) == (0, {1: "dog"})
    with pytest.raises(UsageError, match="marks object 1 twice"):
        parse_shapes(json.dumps([BOX, {**BOX, "frame": 0}, {**BOX, "frame": 4}]), several=True)


def test_masks_in_run_lengths_are_those_of_pycocotools() -> None:
    """What pycocotools encoded is decoded, and runs that do not fit the picture are no mask."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = (int(n) for n in rng.integers(1, 90, 2))
        mask = np.kron(rng.random((height, width)) < rng.random(), np.ones((3, 5))) > 0
        counts = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode("ascii")
        decoded = Rle(size=mask.shape, counts=counts).mask()
        assert decoded is not None
        assert np.array_equal(decoded, mask)
        assert Rle(size=(mask.shape[0], mask.shape[1] + 1), counts=counts).mask() is None
    for counts in ("", "P", "oooooooooooooo", "\u20ac", "o", "n4"):
        assert Rle(size=(4, 4), counts=counts).mask() is None


@pytest.mark.parametrize(
    ("frames", "chosen", "expected"),
    [((None,), None, 0), ((None,), 4, 4), ((6,), None, 6), ((6,), 6, 6), ((None, 6), None, 6)],
)
def test_the_prompt_frame(frames: tuple[int | None, ...], chosen: int | None, expected: int) -> None:
    """Shapes and option may both name the frame; 0 is the default."""
    shapes = [ShapePrompt(frame=f, object=i + 1, box=(0, 0, 1, 1)) for i, f in enumerate(frames)]
    check_shapes(shapes)
    assert prompt_frame_of(shapes, chosen) == expected


def test_two_different_prompt_frames_are_refused() -> None:
    """A shape on another frame than the option names is an error, not a choice."""
    with pytest.raises(UsageError, match="marks frame 6, but prompt_frame is 0"):
        prompt_frame_of([ShapePrompt(frame=6, object=1, box=(0, 0, 1, 1))], 0)


def test_boxes_and_points_of_the_command_line() -> None:
    """Each value is one object, numbered from 1, with its label if it has one."""
    parsed = parse_texts(["1,2,3.5,4:a dog", " 5, 6, 7, 8"], ["9,10;11,12,0 :kite"])
    assert [shape.object for shape in parsed.shapes] == [1, 2, 3]
    assert [shape.box for shape in parsed.shapes] == [(1, 2, 3.5, 4), (5, 6, 7, 8), None]
    assert parsed.shapes[2].points == ((9, 10, 1), (11, 12, 0))
    assert parsed.labels == {1: "a dog", 3: "kite"}


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1 2 3 4", "1,2,0,4", "1,2,-3,4", "1,2,3,4:"])
def test_a_bad_box_is_named(text: str) -> None:
    """The error has the value and says what is expected."""
    with pytest.raises(UsageError, match="--box is") as caught:
        parse_texts([text], [])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", ";", "1", "1,2,2", "1,2,3,4", "a,b", "1,2,0", "1,2:"])
def test_bad_points_are_named(text: str) -> None:
    """The error has the value and says what is expected."""
    with pytest.raises(UsageError, match="--points is") as caught:
        parse_texts([], [text])
    assert repr(text) in str(caught.value)
