"""Boxes, points and masks that mark objects in frames, as the service takes them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from keymask import rle
from keymask.errors import InvalidArgumentError
from keymask.mask_file import MaskLike, to_array
from keymask.options import LocalOptions, Options

Box: TypeAlias = tuple[float, float, float, float] | Sequence[float]
"""x, y, width and height in pixels of the frame as displayed."""
Point: TypeAlias = tuple[float, float, Literal[0, 1]] | Sequence[float]
"""x, y, and 1 for a point on the object or 0 beside it."""


class Mark(TypedDict, total=False):
    """Marks one object in one frame: with a box, with points, with both, with its mask, or as absent.

    Attributes:
        object: Id of the object in masks, 1 to 255.
        frame: Frame that is marked, counted from 0.
        label: Name of the object.
        box: Box around the object.
        points: Points on the object and beside it.
        rle: Mask in COCO's run-length encoding, with `size` [height, width] and `counts`.
        absent: Whether the object is not in the frame.
    """

    object: Required[int]
    frame: int
    label: str
    box: Box
    points: Sequence[Point]
    rle: Mapping[str, Any]
    absent: bool


class Marks(TypedDict, total=False):
    """Ways to mark the objects in place of a mask; exactly one is given.

    Attributes:
        prompt: Any number of objects, on any frames.
        prompts: Frame -> its mask, or a list of objects. Masks are as for `Client.correct`.
        box: A box around object 1.
        boxes: Boxes by object id, or around objects 1, 2, 3 and so on.
    """

    prompt: Sequence[Mark] | None
    prompts: Mapping[int, MaskLike | Sequence[Mark]] | None
    box: Box | None
    boxes: Mapping[int, Box] | Sequence[Box] | None


class JobOptions(Options, Marks, total=False):
    """Options of a job, and marks in place of its mask."""


class LocalJobOptions(LocalOptions, total=False):
    """Options of a run in this process, and marks in place of its mask.

    Attributes:
        prompts: Frame -> its mask, as `keymask.local.segment` takes one, or a list of objects.
        box: A box around object 1.
        boxes: Boxes by object id, or around objects 1, 2, 3 and so on.
    """

    prompts: Mapping[int, MaskLike | Sequence[Mark]] | None
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
        raise InvalidArgumentError(f"give one of prompt, prompts, box and boxes; given: {', '.join(marks) or 'none'}")
    ((name, value),) = marks.items()
    if name == "box":
        value = {1: value}
    if name == "prompts":
        value = [mark for frame, given in value.items() for mark in _on_frame(frame, given)]
    elif name != "prompt":
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
        value = [{"object": number, "box": box} for number, box in pairs]
    if not is_prompt(value):
        raise InvalidArgumentError('a prompt is a list of objects such as {"object": 1, "box": [x, y, width, height]}')
    return json.dumps(list(value), default=_plain)


def correction(
    prompt: Sequence[Mark] | None,
    *,
    frame: int | None,
    object: int | None,
    mask: MaskLike | None,
    **mark: Any,
) -> str:
    """Return the JSON of a correction; arguments as for `Client.correct`.

    Raises:
        InvalidArgumentError: Not exactly one way of marking is given, or the mask cannot be used.
    """
    mark = {name: value for name, value in mark.items() if value is not None and value is not False}
    ways = [name for name, given in (("prompt", prompt), ("mask", mask)) if given is not None]
    ways += [name for name in ("box", "points", "absent") if name in mark]
    if not ways or (len(ways) > 1 and ways != ["box", "points"]):
        raise InvalidArgumentError(
            f"give one of prompt, mask, box (and points), points and absent; given: {', '.join(ways) or 'none'}"
        )
    if prompt is None:
        if frame is None:
            raise InvalidArgumentError("frame is missing: the frame to correct, counted from 0")
        label = {name: value for name, value in mark.items() if name == "label"}
        if mask is not None:
            prompt = [{**entry, **label} for entry in _on_frame(frame, mask, object)]  # type: ignore[typeddict-item]
        else:
            prompt = [{"frame": frame, "object": object or 1, **mark}]  # type: ignore[typeddict-item]
    return f'{{"prompt":{to_json({"prompt": prompt})}}}'


def _on_frame(frame: int, given: Any, object: int | None = None) -> list[dict[str, Any]]:
    """Return the marks of one frame: those of a list, or one per object of a mask.

    Args:
        frame: The frame.
        given: The mask or the list.
        object: The object that any pixel of the mask belongs to, except 0; None if the values are object ids.
    """
    if is_prompt(given):
        return [{"frame": frame, **mark} for mark in given]
    labels = _labels(given, is_object=object is not None)
    masks = {object: labels != 0} if object is not None else {int(i): labels == i for i in np.unique(labels) if i}
    if not any(mask.any() for mask in masks.values()):
        raise InvalidArgumentError(f"the mask of frame {frame} has no pixel that is not 0; absent=True says so")
    return [
        {"frame": frame, "object": number, "rle": {"size": list(mask.shape), "counts": rle.encode(mask)}}
        for number, mask in masks.items()
    ]


def _labels(mask: Any, *, is_object: bool) -> npt.NDArray[Any]:
    """Return a mask as object ids [height, width]; if it is the mask of one object, as values that are not 0 on it.

    Raises:
        InvalidArgumentError: It has several channels or values that are no ids, or a file needs Pillow.
    """
    if isinstance(mask, (str, os.PathLike, bytes)):
        mask = _opened(mask)
    if is_object and getattr(mask, "mode", "") in ("RGB", "RGBA"):
        mask = mask.convert("L")
    if hasattr(mask, "convert") and mask.mode not in ("1", "L", "P", "I;16"):
        raise InvalidArgumentError(f"the picture has mode {mask.mode}; an indexed or grey one holds object ids")
    labels = to_array(mask)
    if labels.ndim != 2 or labels.dtype.kind not in "bui" or labels.min() < 0 or labels.max() > 255:
        raise InvalidArgumentError(
            f"a mask here is bool or object ids 0 to 255 [height, width]; given: {labels.dtype} {list(labels.shape)}"
        )
    return labels


def _opened(file: str | os.PathLike[str] | bytes) -> Any:
    try:
        from PIL import Image  # noqa: PLC0415 - the client itself does not need it
    except ImportError as error:
        raise InvalidArgumentError(
            "pictures as masks of single frames are read with Pillow (pip install pillow); or give an array"
        ) from error
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
        picture.load()
        return picture


def is_prompt(value: Any) -> bool:
    """Whether a value is a list of marks and no mask."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _plain(value: Any) -> Any:
    """Return an array or a number of another library as JSON can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InvalidArgumentError(f"{value!r} of type {type(value).__name__} is no coordinate")
