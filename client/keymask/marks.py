"""Boxes and points that mark objects in a frame, from which the service makes the mask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypeAlias

from typing_extensions import TypedDict

from keymask.errors import InvalidArgumentError
from keymask.options import LocalOptions, Options

Box: TypeAlias = tuple[float, float, float, float] | Sequence[float]
"""x, y, width and height in pixels of the frame as displayed."""
Point: TypeAlias = tuple[float, float, Literal[0, 1]] | Sequence[float]
"""x, y, and 1 for a point on the object or 0 beside it."""


class Mark(TypedDict, total=False):
    """Marks one object, with a box, with points, or with both.

    Attributes:
        object: Id of the object in masks, 1 to 255.
        frame: Frame that is marked, counted from 0; the same for all objects.
        box: Box around the object.
        points: Points on the object and beside it.
    """

    object: Required[int]
    frame: int
    box: Box
    points: Sequence[Point]


class Marks(TypedDict, total=False):
    """Ways to mark the objects in place of a mask; exactly one is given.

    Attributes:
        prompt: Any number of objects, with boxes and points.
        box: A box around object 1.
        boxes: Boxes by object id, or around objects 1, 2, 3 and so on.
    """

    prompt: Sequence[Mark] | None
    box: Box | None
    boxes: Mapping[int, Box] | Sequence[Box] | None


class JobOptions(Options, Marks, total=False):
    """Options of a job, and marks in place of its mask."""


class LocalJobOptions(LocalOptions, total=False):
    """Options of a run in this process, and marks in place of its mask.

    Attributes:
        box: A box around object 1.
        boxes: Boxes by object id, or around objects 1, 2, 3 and so on.
    """

    box: Box | None
    boxes: Mapping[int, Box] | Sequence[Box] | None


def split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keyword arguments into options and the marks that are set."""
    names = Marks.__annotations__.keys()
    marks = {name: value for name, value in given.items() if name in names and value is not None}
    return {name: value for name, value in given.items() if name not in names}, marks


def to_json(marks: Mapping[str, Any]) -> str:
    """Return the JSON of marks, as the service takes it; the service checks the values.

    Raises:
        InvalidArgumentError: Not exactly one way of marking is given, or a mark is no mapping.
    """
    if len(marks) != 1:
        raise InvalidArgumentError(f"give one of prompt, box and boxes; given: {', '.join(marks) or 'none'}")
    ((name, value),) = marks.items()
    if name == "box":
        value = {1: value}
    if name != "prompt":
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
        value = [{"object": number, "box": box} for number, box in pairs]
    if not is_prompt(value):
        raise InvalidArgumentError('a prompt is a list of objects such as {"object": 1, "box": [x, y, width, height]}')
    return json.dumps(list(value), default=_plain)


def is_prompt(value: Any) -> bool:
    """Whether a value is a list of marks and no mask."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _plain(value: Any) -> Any:
    """Return an array or a number of another library as JSON can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InvalidArgumentError(f"{value!r} of type {type(value).__name__} is no coordinate")
