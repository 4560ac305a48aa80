"""The options of a run: name, type, range, default and help of each, once.

The HTTP schema, the command line and `docs/reference` are made from these fields. To add an option, add a field here
and use it; an option of the segmenter also goes into `vos.types.Options`, under the same name.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from service.errors import UsageError
from service.prompts.modes import MaskMode
from service.prompts.shapes import Shapes, prompt_frame_of
from service.run.per_object import parse_colors, parse_labels

if TYPE_CHECKING:
    from vos.types import Options

MAX_INDEX = 2**31 - 1
"""Largest frame index."""
MIN_SIDE = 16
"""Smallest `max_side` in pixels: one cell of the network's features."""
MIN_ANALYSIS_SIDE, MAX_ANALYSIS_SIDE = 240, 1080
"""Limits of `analysis_side` in pixels."""
DEFAULT_ANALYSIS_SIDE = 480
"""What `auto` takes where objects are large enough."""
_KEYFRAMES = r"^(adaptive|codec|every:[1-9][0-9]{0,8})$"

Chosen = TypeVar("Chosen", bound="JobOptions")
Index = Annotated[int, Field(ge=0, le=MAX_INDEX)]


def _check_keyframes(text: str) -> str:
    if not re.match(_KEYFRAMES, text):
        raise ValueError("allowed: adaptive, codec, every:N with N of 1 or more")
    return text


def _check_analysis_side(value: Any) -> Any:
    if value is None or value == "auto":
        return "auto"
    allowed = f"allowed: auto, or {MIN_ANALYSIS_SIDE} to {MAX_ANALYSIS_SIDE}"
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.match(r"^[0-9]{1,9}$", str(value)):
        raise ValueError(allowed)
    if not MIN_ANALYSIS_SIDE <= int(value) <= MAX_ANALYSIS_SIDE:
        raise ValueError(allowed)
    return int(value)


class JobOptions(BaseModel):
    """Options of a job, over HTTP and elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        str | None,
        Field(
            max_length=64,
            description="Base network, one of `GET /v1/models`; the service's default by default.",
            examples=["compact", "cutie-base", "stcn"],
        ),
    ] = None
    keyframes: Annotated[
        str,
        AfterValidator(_check_keyframes),
        Field(
            description="Frames that the base network segments: `adaptive`, `codec` (I and P frames) or `every:N`.",
            examples=["adaptive", "codec", "every:8"],
            json_schema_extra={"pattern": _KEYFRAMES},
        ),
    ] = "adaptive"
    prompt_frame: Annotated[Index, Field(description="Frame that the mask belongs to, counted from 0.")] = 0
    mask_mode: Annotated[
        MaskMode,
        Field(
            description="How the mask is read: `ids` (values are object ids), `colors` (each color is an object), "
            "`binary` (one object), or `auto` to decide by the picture."
        ),
    ] = "auto"
    direction: Annotated[
        Literal["forward", "both"],
        Field(
            description="Where masks are propagated from prompts: `forward`, or `both` ways, so that frames before the "
            "first prompt have masks too, and those between two prompts the better one of both ways."
        ),
    ] = "forward"
    start: Annotated[
        Index | None,
        Field(description="First frame to return, counted from 0; by default the prompt frame, or 0 for `both` ways."),
    ] = None
    end: Annotated[Index | None, Field(description="Frame to stop before; the end of the video by default.")] = None
    analysis_side: Annotated[
        int | Literal["auto"],
        BeforeValidator(_check_analysis_side),
        Field(
            description="Shorter side in pixels at which frames are analyzed, 240 to 1080. `auto`: 480, or as much "
            "more, up to 1080, as the smallest object of the prompt needs to be 24 pixels large. Twice the side takes "
            "four times as long, and less where objects are small, as memory networks see a window around them.",
            examples=["auto", 720],
            json_schema_extra={
                "anyOf": [
                    {"type": "integer", "minimum": MIN_ANALYSIS_SIDE, "maximum": MAX_ANALYSIS_SIDE},
                    {"const": "auto", "type": "string"},
                    {"type": "null"},
                ]
            },
        ),
    ] = "auto"
    max_side: Annotated[
        int | None,
        Field(
            ge=MIN_SIDE,
            le=16384,
            description="Limit for the longer side in pixels at which frames are analyzed, beside analysis_side.",
        ),
    ] = None
    quality: Annotated[
        Literal["fast", "balanced", "best"],
        Field(description="How many key frames `adaptive` chooses, and how much of each frame the refiner refines."),
    ] = "balanced"
    max_key_share: Annotated[
        float,
        Field(gt=0, le=1, description="Largest share of key frames that `adaptive` chooses, above 0 and at most 1."),
    ] = 1.0
    labels: Annotated[
        dict[int, str] | None,
        BeforeValidator(parse_labels),
        Field(
            description="Names of objects in COCO and YouTube-VIS files; objects of one name share a category.",
            examples=[{"1": "dog", "2": "person"}],
        ),
    ] = None
    opacity: Annotated[
        float, Field(ge=0, le=1, description="Share of an object's color inside it in the overlay, 0 to 1.")
    ] = 0.5
    colors: Annotated[
        dict[int, str] | None,
        BeforeValidator(parse_colors),
        Field(
            description="Colors of objects in the overlay, each `#rrggbb` or a CSS name; by default a palette that "
            "color-blind people can tell apart.",
            examples=[{"1": "#e69f00", "2": "teal"}],
        ),
    ] = None
    polygon_tolerance: Annotated[
        float,
        Field(ge=0, le=50, description="Farthest distance in pixels of a polygon from the mask's outline, 0 to 50."),
    ] = 1.0
    edges: Annotated[
        Literal["refined", "raw"],
        Field(
            description="Edges of masks: `refined` follows the full-size picture, `raw` enlarges the networks' masks."
        ),
    ] = "refined"
    soft: Annotated[
        bool,
        Field(
            description="Keep the soft masks that masks are made from, for results in `npz`: stored masks take about "
            "four times as many bytes, and the command line writes `soft.npz`."
        ),
    ] = False

    @property
    def least_analysis_side(self) -> int:
        """Shorter side in pixels at which frames are analyzed; with `auto`, small objects may take more."""
        return DEFAULT_ANALYSIS_SIDE if self.analysis_side == "auto" else self.analysis_side

    @property
    def changes_overlay(self) -> bool:
        """Whether an option is set that only an overlay shows."""
        return bool(self.colors) or self.opacity != type(self).model_fields["opacity"].default

    @property
    def changes_polygons(self) -> bool:
        """Whether an option is set that only polygons show."""
        return bool(self.polygon_tolerance != type(self).model_fields["polygon_tolerance"].default)

    @property
    def first_frame(self) -> int:
        """Presentation index of the first mask."""
        if self.start is not None:
            return self.start
        return 0 if self.direction == "both" else self.prompt_frame

    def mask_count(self, frames: int | None) -> int | None:
        """Number of masks of a video with this many frames, at least 1; None where neither it nor `end` is known."""
        ends = [end for end in (self.end, frames) if end is not None]
        return max(1, min(ends) - self.first_frame) if ends else None

    def for_segmenter(self) -> Options:
        """Return the segmenter's part.

        Raises:
            OptionError: The range of frames is empty.
        """
        from vos.types import Options  # noqa: PLC0415 - imports av, which `keymask --help` does not need

        names = {field.name for field in fields(Options)}
        return Options(**{name: value for name, value in self if name in names})


class RunOptions(JobOptions):
    """Options of a run on this machine: those of a job, and those that only its owner may choose."""

    model: Annotated[
        str,
        Field(description="Base network, one that `keymask models list` shows.", examples=["compact", "cutie-base"]),
    ] = "compact"
    weights: Annotated[
        str | None,
        Field(description="Weights file of the base network; `seeded` for seeded values, which only measure speed."),
    ] = None
    refine: Annotated[bool, Field(description="Whether the refiner refines propagated masks.")] = True
    motion: Annotated[
        Literal["auto", "bitstream", "proxy"],
        Field(description="Where motion comes from; `proxy` is an H.264 re-encode."),
    ] = "auto"
    device: Annotated[
        str, Field(description="Device: auto, cpu, cuda or cuda:N.", examples=["auto", "cpu", "cuda", "cuda:0"])
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"], Field(description="Precision of the networks.")
    ] = "auto"

    @classmethod
    def checked(cls, **values: Any) -> RunOptions:
        """Make options from values that a user gave.

        Raises:
            UsageError: A value is not allowed; the message says which one and what is allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise UsageError(f"{name} is {first['input']!r}; {_allowed(first)}") from None


def on_marked_frame(options: Chosen, shapes: Shapes) -> Chosen:
    """Return the options with the first frame that shapes mark as prompt frame, and with their names of objects.

    Raises:
        UsageError: The option `prompt_frame` was set to another frame, or `mask_mode` was set.
    """
    if options.mask_mode != "auto":
        raise UsageError(f"mask_mode is {options.mask_mode}, but boxes and points have no mask to read")
    chosen = options.prompt_frame if "prompt_frame" in options.model_fields_set else None
    names = {shape.object: shape.label for shape in shapes if shape.label is not None}
    update: dict[str, Any] = {"prompt_frame": prompt_frame_of(shapes, chosen)}
    if names:
        update["labels"] = names | (options.labels or {})
    return options.model_copy(update=update)


def _allowed(error: ErrorDetails) -> str:
    """Say what is allowed, in the words of the other layers' errors."""
    given = error.get("ctx", {})
    match error["type"]:
        case "literal_error":
            return "allowed: " + str(given["expected"]).replace(" or ", ", ").replace("'", "")
        case "greater_than_equal":
            return "it must be 0 or more" if given["ge"] == 0 else f"it must be at least {given['ge']}"
        case "greater_than":
            return f"it must be above {given['gt']:g}"
        case "less_than_equal":
            return f"it must be at most {given['le']:g}"
        case _:
            message: str = error["msg"].removeprefix("Value error, ")
            return message[0].lower() + message[1:]
