"""Boxes and points that mark objects in a frame, as people and programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from service.errors import UsageError

_FAR = 1e6
_MAX_POINTS = 1000

Coordinate: TypeAlias = Annotated[float, Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)]
Length: TypeAlias = Annotated[float, Field(gt=0, le=_FAR, allow_inf_nan=False)]


class ShapePrompt(BaseModel):
    """Marks one object with a box around it, with points on it and beside it, or with both."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="ShapePrompt")

    frame: Annotated[
        int | None, Field(ge=0, le=2**31 - 1, description="Frame that is marked, counted from 0; one for all objects.")
    ] = None
    object: Annotated[int, Field(ge=1, le=255, description="Id of the object in masks.")]
    box: Annotated[
        tuple[Coordinate, Coordinate, Length, Length] | None,
        Field(description="x, y, width and height in pixels of the frame as displayed."),
    ] = None
    points: Annotated[
        tuple[tuple[Coordinate, Coordinate, Literal[0, 1]], ...],
        Field(max_length=_MAX_POINTS, description="x, y in pixels, and 1 for a point on the object or 0 beside it."),
    ] = ()

    @model_validator(mode="after")
    def _check_marks(self) -> ShapePrompt:
        if self.box is None and not any(point[2] for point in self.points):
            raise ValueError("an object needs a box, or at least one point on it (x, y, 1)")
        return self


Shapes: TypeAlias = tuple[ShapePrompt, ...]
_SHAPES = TypeAdapter(Annotated[Shapes, Field(min_length=1)])


def parse_shapes(text: str | bytes) -> Shapes:
    """Parse the JSON of a prompt: a list of objects as in `ShapePrompt`.

    Raises:
        UsageError: It is not such a list, marks an object twice, or marks several frames.
    """
    try:
        shapes = _SHAPES.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        given = f" is {first['input']!r:.80}" if place else ""
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"prompt{'.' if place else ''}{place}{given}: {message[0].lower()}{message[1:]}") from None
    check_shapes(shapes)
    return shapes


def check_shapes(shapes: Sequence[ShapePrompt]) -> None:
    """Check that the shapes mark different objects of one frame.

    Raises:
        UsageError: They do not.
    """
    ids = [shape.object for shape in shapes]
    if twice := sorted({number for number in ids if ids.count(number) > 1}):
        raise UsageError(f"the prompt marks object {twice[0]} twice; give its box and all its points in one entry")
    frames = sorted({shape.frame for shape in shapes if shape.frame is not None})
    if len(frames) > 1:
        raise UsageError(f"the prompt marks frames {', '.join(map(str, frames))}; all objects must be on one frame")


def prompt_frame_of(shapes: Sequence[ShapePrompt], chosen: int | None) -> int:
    """Return the frame that the shapes mark.

    Args:
        shapes: Shapes that passed `check_shapes`.
        chosen: The option `prompt_frame`; None if the user did not set it.

    Raises:
        UsageError: Shapes and option name different frames.
    """
    named = next((shape.frame for shape in shapes if shape.frame is not None), None)
    if named is None:
        return chosen or 0
    if chosen is not None and chosen != named:
        raise UsageError(f"the prompt marks frame {named}, but prompt_frame is {chosen}; both must be the same frame")
    return named
