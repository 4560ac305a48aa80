"""Boxes and points as the client takes them, and as the service gets them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from keymask.marks import split, to_json
from keymask.protocol import prompt_call, submission

from service.prompts.shapes import parse_shapes

MASK = np.ones((4, 6), np.uint8)


@pytest.mark.parametrize(
    ("marks", "sent"),
    [
        ({"box": (1, 2, 3, 4)}, [{"object": 1, "box": [1, 2, 3, 4]}]),
        ({"box": np.array([1.5, 2, 3, 4])}, [{"object": 1, "box": [1.5, 2, 3, 4]}]),
        ({"boxes": [(1, 2, 3, 4), [5, 6, 7, 8]]},
         [{"object": 1, "box": [1, 2, 3, 4]}, {"object": 2, "box": [5, 6, 7, 8]}]),
        ({"boxes": {7: (1, 2, np.int64(3), 4)}}, [{"object": 7, "box": [1, 2, 3, 4]}]),
        ({"prompt": [{"object": 2, "frame": 4, "points": [(1, 2, 1)]}]},
         [{"object": 2, "frame": 4, "points": [[1, 2, 1]]}]),
    ],
)  # fmt: skip
def test_marks_become_the_json_of_the_service(marks: dict[str, Any], sent: list[dict[str, Any]]) -> None:
    """Each way of marking gives the list that the service documents and accepts."""
    assert json.loads(to_json(marks)) == sent
    assert len(parse_shapes(to_json(marks))) == len(sent)


@pytest.mark.parametrize(
    "marks", [{}, {"box": (1, 2, 3, 4), "boxes": [(1, 2, 3, 4)]}, {"prompt": []}, {"prompt": MASK}, {"box": [object()]}]
)
def test_marks_that_are_none_are_refused(marks: dict[str, Any]) -> None:
    """Nothing, two ways at once and other types are errors before anything is sent."""
    with pytest.raises(ValueError, match=r"give one of|a prompt is a list|no coordinate"):
        to_json(marks)


@pytest.mark.parametrize(
    ("mask", "marks", "said"), [(None, {}, "given: none"), (MASK, {"box": (1, 2, 3, 4)}, "given: mask, box")]
)
def test_a_job_needs_exactly_one_way_of_marking(mask: Any, marks: Any, said: str) -> None:
    """A mask and marks exclude each other."""
    with pytest.raises(ValueError, match=said):
        submission("clip.mp4", mask, marks, None, None)


def test_a_submission_carries_the_prompt() -> None:
    """Marks go into a part of their own, and options stay options."""
    upload = submission(b"video", None, {"box": (1, 2, 3, 4), "quality": "fast", "boxes": None}, None, None).upload
    assert upload is not None
    with upload.opened() as parts:
        assert json.loads(parts["data"]["prompt"]) == [{"object": 1, "box": [1, 2, 3, 4]}]
        assert json.loads(parts["data"]["options"]) == {"quality": "fast"}
        assert list(parts["files"]) == ["video"]


def test_options_are_no_marks() -> None:
    """`Client.prompt` takes marks only."""
    with pytest.raises(TypeError, match="quality is no way to mark objects"):
        prompt_call(b"video", {"box": (1, 2, 3, 4), "quality": "fast"})  # type: ignore[typeddict-unknown-key]
    assert split({"box": None, "start": 1}) == ({"start": 1}, {})
