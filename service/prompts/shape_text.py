"""Boxes and points as the command line takes them: `[frame@]x,y,width,height[:label]` and `[frame@]x,y[,1|0];...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from service.errors import UsageError
from service.prompts.shapes import ShapePrompt, Shapes

BOX_FORM = "x,y,width,height in pixels of the frame, with :label after it if wanted, such as 120,80,200,310:dog"
POINTS_FORM = "x,y or x,y,0 for a point beside the object, separated by ; such as '220,140;260,300;90,90,0:dog'"


@dataclass(frozen=True, slots=True)
class LabeledShapes:
    """Shapes with the names that the user gave to their objects.

    Attributes:
        shapes: The shapes; their objects are numbered from 1, boxes first. Those of one name are one object.
        labels: Object id -> name, for the objects that have one.
    """

    shapes: Shapes
    labels: dict[int, str]


def parse_texts(boxes: Sequence[str], points: Sequence[str]) -> LabeledShapes:
    """Parse the values of `--box` and `--points`; each marks one object, on a frame of its own if it names one.

    Raises:
        UsageError: A value has another form; the message has the value and the form.
    """
    shapes: list[ShapePrompt] = []
    labels: dict[int, str] = {}
    for option, text in [*(("--box", text) for text in boxes), *(("--points", text) for text in points)]:
        marks, separator, label = text.partition(":")
        label = label.strip()
        if separator and not label:
            raise UsageError(f"{option} is {text!r}: nothing stands after the colon; a label is expected")
        frame, at, body = marks.rpartition("@")
        if at and not frame.strip().isdecimal():
            raise UsageError(f"{option} is {text!r}: before @ stands the number of a frame, such as 120@{body}")
        number = next((i for i, name in labels.items() if at and name == label), None) or _next_number(shapes)
        shape = _box(body, text, number) if option == "--box" else _points(body, text, number)
        shapes.append(shape.model_copy(update={"frame": int(frame)}) if at else shape)
        if separator:
            labels[number] = label
    if len({shape.object for shape in shapes}) > 255:
        raise UsageError(f"--box and --points mark {len(shapes)} objects; at most 255 are possible")
    return LabeledShapes(tuple(shapes), labels)


def _next_number(shapes: Sequence[ShapePrompt]) -> int:
    return max((shape.object for shape in shapes), default=0) + 1


def _box(body: str, text: str, number: int) -> ShapePrompt:
    values = _numbers(body)
    if values is None or len(values) != 4:
        raise UsageError(f"--box is {text!r}; expected {BOX_FORM}")
    try:
        return ShapePrompt(object=number, box=(values[0], values[1], values[2], values[3]))
    except ValidationError:
        raise UsageError(
            f"--box is {text!r}; width and height must be above 0, and no number above 1,000,000"
        ) from None


def _points(body: str, text: str, number: int) -> ShapePrompt:
    found = [_numbers(part) for part in body.split(";") if part.strip()]
    if not found or any(not part or len(part) not in (2, 3) or part[2:] not in ([], [0.0], [1.0]) for part in found):
        raise UsageError(f"--points is {text!r}; expected {POINTS_FORM}")
    points = tuple((part[0], part[1], 0 if part[2:] == [0.0] else 1) for part in found if part)
    try:
        return ShapePrompt.model_validate({"object": number, "points": points})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"--points is {text!r}: {message[0].lower()}{message[1:]}") from None


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of `1,2.5,3`; None if one of the parts is no number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None
