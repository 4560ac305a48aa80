"""Say back which objects a prompt marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array
from service.prompts.colors.names import Rgb, hex_of, name_of, parse_hex

_LARGE_SHARE = 0.6
_BORDER_SHARE = 0.5
_MANY_NOTES = 3


@dataclass(frozen=True, slots=True)
class PromptObject:
    """An object that a prompt marks.

    Attributes:
        object: Object id, 1 to 255.
        frame: Presentation index of the prompt frame.
        area: Number of pixels.
        bbox: Bounding box (x, y, width, height) in pixels.
        color: Color in the mask picture as #rrggbb; None if the mask is no picture.
    """

    object: int
    frame: int
    area: int
    bbox: tuple[int, int, int, int]
    color: str | None = None

    def to_json(self, labels: Mapping[int, str] | None = None) -> dict[str, Any]:
        """Return the object as in reports and over HTTP, with its name in `labels` (object id -> name)."""
        return {
            "object": self.object,
            "label": (labels or {}).get(self.object),
            "frame": self.frame,
            "color": self.color,
            "area": self.area,
            "bbox": list(self.bbox),
        }


def objects_of(labels: UInt8Array, frame: int, colors: Mapping[int, Rgb]) -> tuple[PromptObject, ...]:
    """Return the objects of labels uint8 [height, width], ascending by id."""
    counts = np.bincount(labels.ravel(), minlength=256)
    found = []
    for number in np.flatnonzero(counts):
        if number:
            color = colors.get(int(number))
            name = None if color is None else hex_of(color)
            found.append(PromptObject(int(number), frame, int(counts[number]), _bbox(labels == number), name))
    return tuple(found)


def objects_line(objects: Sequence[PromptObject], pixels: int) -> str:
    """Return a line such as "objects: 1 (12,345 px, 4.1 %, red)".

    Args:
        objects: The objects.
        pixels: Number of pixels of the picture.
    """
    parts = []
    for item in objects:
        details = [f"{item.area:,} px", f"{100 * item.area / pixels:.1f} %"]
        if item.color is not None:
            name = name_of(parse_hex(item.color))
            details += [] if name == "black" else [name]  # dark greys are ids, not colors
        parts.append(f"{item.object} ({', '.join(details)})")
    return "objects: " + ", ".join(parts)


def suspicious(labels: UInt8Array, objects: Sequence[PromptObject]) -> tuple[str, ...]:
    """Return notes on objects that may be the background, in plain words."""
    notes = []
    for item in objects:
        share, border = item.area / labels.size, border_share(labels == item.object)
        if share > _LARGE_SHARE or border > _BORDER_SHARE:
            notes.append(
                f"object {item.object} covers {share:.0%} of the picture and {border:.0%} of its border; if it is "
                "the background, make it black in the mask"
            )
    return tuple(notes[:_MANY_NOTES])


def border_share(area: npt.NDArray[np.bool_]) -> float:
    """Share of the pixels along the picture's border that lie in an area, bool [height, width]."""
    border = np.concatenate((area[0], area[-1], area[1:-1, 0], area[1:-1, -1]))
    return float(border.mean())


def _bbox(area: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )
