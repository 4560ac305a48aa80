"""Boxes, points and run-length encoded masks that mark objects in frames, as people and programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from service.errors import UsageError

_FAR = 1e6
_MAX_POINTS = 1000
_MOST_CHARACTERS = 7
"""Characters of a run's length: 5 bits each, and no picture has 2**32 pixels."""

Coordinate: TypeAlias = Annotated[float, Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)]
Side: TypeAlias = Annotated[int, Field(ge=1, le=65_535)]
Length: TypeAlias = Annotated[float, Field(gt=0, le=_FAR, allow_inf_nan=False)]


class Rle(BaseModel):
    """A mask in COCO's compressed run-length encoding."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Rle")

    size: Annotated[tuple[Side, Side], Field(description="Height and width of the frame as displayed, in pixels.")]
    counts: Annotated[str, Field(description="Lengths of the runs, as `pycocotools` writes them.")]

    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Return the mask bool [height, width]; None if the runs do not cover exactly its pixels.

        Runs of background and object alternate, column by column. Each is written in characters of 5 bits and a sign
        of continuation, from the fourth on as the difference from the run two before. What users send is checked run
        by run, so `pycocotools`, which trusts its input, does not read it.
        """
        runs: list[int] = []
        value, shift = 0, 0
        for character in self.counts.encode("ascii", "replace"):
            bits = character - 48
            if not 0 <= bits < 64 or shift == 5 * _MOST_CHARACTERS:
                return None
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                value -= (1 << shift) if bits & 16 else 0
                runs.append(value + (runs[-2] if len(runs) > 2 else 0))
                value, shift = 0, 0
        height, width = self.size
        if shift or min(runs, default=-1) < 0 or sum(runs) != height * width:
            return None
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


class ShapePrompt(BaseModel):
    """Marks one object in one frame: a box around it, points on it and beside it, or both; a mask; or its absence."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="ShapePrompt")

    frame: Annotated[int | None, Field(ge=0, le=2**31 - 1, description="Frame that is marked, counted from 0.")] = None
    object: Annotated[int, Field(ge=1, le=255, description="Id of the object in masks.")]
    label: Annotated[
        str | None, Field(min_length=1, max_length=64, description="Name of the object, as in the option `labels`.")
    ] = None
    box: Annotated[
        tuple[Coordinate, Coordinate, Length, Length] | None,
        Field(description="x, y, width and height in pixels of the frame as displayed."),
    ] = None
    points: Annotated[
        tuple[tuple[Coordinate, Coordinate, Literal[0, 1]], ...],
        Field(max_length=_MAX_POINTS, description="x, y in pixels, and 1 for a point on the object or 0 beside it."),
    ] = ()

    rle: Annotated[Rle | None, Field(description="The object's mask, in place of box and points.")] = None
    absent: Annotated[
        bool, Field(description="Whether the object is not in the frame; it is then marked with nothing else.")
    ] = False

    @model_validator(mode="after")
    def _check_marks(self) -> ShapePrompt:
        if self.label is not None and not self.label.isprintable():
            raise ValueError("a label has printable characters only")
        ways = [self.box is not None or bool(self.points), self.rle is not None, self.absent]
        if sum(ways) > 1:
            raise ValueError("an object is marked with box and points, with a mask (rle), or as absent; give one")
        if self.rle is not None or self.absent:
            return self
        if self.box is None and not any(point[2] for point in self.points):
            raise ValueError("an object needs a box, or at least one point on it (x, y, 1)")
        return self


Shapes: TypeAlias = tuple[ShapePrompt, ...]
_SHAPES = TypeAdapter(Annotated[Shapes, Field(min_length=1)])


def parse_shapes(text: str | bytes, *, several: bool = False) -> Shapes:
    """Parse the JSON of a prompt: a list of objects as in `ShapePrompt`.

    Args:
        text: The JSON.
        several: Whether several frames may be marked.

    Raises:
        UsageError: It is not such a list, marks an object twice in a frame, or marks several frames.
    """
    try:
        shapes = _SHAPES.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        given = f" is {first['input']!r:.80}" if place else ""
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"prompt{'.' if place else ''}{place}{given}: {message[0].lower()}{message[1:]}") from None
    for part in frames_of(shapes).values() if several else (shapes,):
        check_shapes(part)
    return shapes


def frames_of(shapes: Sequence[ShapePrompt], frame: int = 0) -> dict[int, Shapes]:
    """Return the shapes by the frame that they mark, ascending.

    Args:
        shapes: The shapes. Those that name no frame mark the one that all others name.
        frame: Frame that they mark if the others name none, or several.
    """
    named = {shape.frame for shape in shapes if shape.frame is not None}
    default = named.pop() if len(named) == 1 else frame
    found: dict[int, list[ShapePrompt]] = {}
    for shape in shapes:
        found.setdefault(default if shape.frame is None else shape.frame, []).append(shape)
    return {index: tuple(found[index]) for index in sorted(found)}


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
    """Return the first frame that the shapes mark.

    Args:
        shapes: The shapes, see `frames_of`.
        chosen: The option `prompt_frame`; None if the user did not set it.

    Raises:
        UsageError: Shapes and option name different frames.
    """
    first = min(frames_of(shapes, chosen or 0))
    if chosen is not None and chosen != first:
        raise UsageError(f"the prompt marks frame {first}, but prompt_frame is {chosen}; both must be the same frame")
    return first
