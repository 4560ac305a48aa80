"""Options of a job, and of a run in this process."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # typing.TypedDict needs Python 3.12 here

from keymask.errors import InvalidArgumentError


class Options(TypedDict, total=False):
    """How to segment. The service chooses for every option that is left out or None.

    Attributes:
        model: Name of a base network that `Client.models` lists.
        keyframes: "adaptive", "codec" or "every:N".
        prompt_frame: Frame that the mask belongs to, counted from 0.
        mask_mode: How the mask is read: "ids" (values are object ids), "colors" (each color is an object), "binary"
            (one object), or "auto" to decide by the picture.
        direction: "forward" from the prompt, or "both" ways, so that frames before it have masks too.
        start: First frame to return, counted from 0.
        end: Frame to stop before.
        analysis_side: Shorter side in pixels at which frames are analyzed, 240 to 1080, or "auto", the default: 480, or
            as much more as the smallest object of the prompt needs.
        max_side: Largest longer side in pixels at which frames are analyzed.
        quality: How many key frames "adaptive" chooses, and how much of each frame the refiner refines.
        max_key_share: Largest share of key frames that "adaptive" chooses, above 0 and at most 1.
        edges: "refined" lets edges follow the full-size picture, "raw" enlarges the networks' masks.
        labels: Object id -> name, for COCO and YouTube-VIS files.
        opacity: Share of an object's color inside it in the overlay, 0 to 1.
        colors: Object id -> color in the overlay, "#rrggbb" or a CSS name.
        polygon_tolerance: Farthest distance in pixels of a polygon from the mask's outline, 0 to 50.
        soft: Whether to keep soft masks, for "npz" of `Client.download` and for `LocalFrame.soft`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    model: str | None
    keyframes: str | None
    prompt_frame: int | None
    mask_mode: Literal["auto", "ids", "colors", "binary"] | None
    direction: Literal["forward", "both"] | None
    start: int | None
    end: int | None
    analysis_side: int | Literal["auto"] | None
    max_side: int | None
    quality: Literal["fast", "balanced", "best"] | None
    max_key_share: float | None
    edges: Literal["refined", "raw"] | None
    labels: dict[int, str] | dict[str, str] | None
    opacity: float | None
    colors: dict[int, str] | dict[str, str] | None
    polygon_tolerance: float | None
    soft: bool | None


class LocalOptions(Options, total=False):
    """How to segment in this process: the options of a job, and those of the machine.

    Attributes:
        weights: Weights file of the base network.
        refine: Whether the refiner refines propagated masks.
        motion: Where motion comes from; "proxy" is an H.264 re-encode.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: Precision of the networks.
    """

    weights: str | None
    refine: bool
    motion: Literal["auto", "bitstream", "proxy"]
    device: str
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"]


_OPTIONS: TypeAdapter[Options] = TypeAdapter(Options)


def checked(options: Options) -> dict[str, Any]:
    """Check names and types, and return the options that are set.

    Raises:
        InvalidArgumentError: A name is unknown or a value has another type; the service checks ranges.
    """
    try:
        return {name: value for name, value in _OPTIONS.validate_python(options).items() if value is not None}
    except ValidationError as error:
        raise InvalidArgumentError("; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from error
