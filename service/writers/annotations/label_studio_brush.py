"""Label Studio: one task per frame, whose prediction has a brush mask per object.

https://labelstud.io/tags/brushlabels: Label Studio's brush works on pictures only, so each frame is a task of its own.
Masks are RGBA pictures in the run-length encoding of thi.ng/rle-pack, a stream of bits (`packed`).
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from service.writers.categories import Categories
from service.writers.mask_line import rounded
from service.writers.writer import Target, as_text, opened
from vos.types import FrameMask

_CHANNELS = 4
_RUN_BITS = (3, 4, 8, 16)
"""Bits of the four kinds of run lengths; a run is at most 65536 values long."""


class LabelStudioBrushWriter:
    """Writes tasks from front to back, and holds the masks of one frame.

    Args:
        target: File to write.
        size: Width and height of the masks in pixels.
        categories: Names of the objects.
        video: Name of the video. The picture of frame 7 is called VIDEO/00007.jpg in its task.
    """

    def __init__(self, target: Target, size: tuple[int, int], categories: Categories, video: str) -> None:
        self._size = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
        self._categories = categories
        self._video = video
        self._count = 0
        self._out = as_text(opened(target))

    def write(self, frame: FrameMask) -> None:
        """Add the task of a frame."""
        present = [int(i) for i in np.flatnonzero(np.bincount(frame.labels.ravel(), minlength=256)) if i]
        data = {"image": f"{self._video}/{frame.index:05d}.jpg", "frame": frame.index, "time": frame.time}
        results = [self._result(frame, object_id) for object_id in present]
        task = {"data": data, "predictions": [{"model_version": "keymask", "result": results}]}
        self._out.write((",\n" if self._count else "[\n") + json.dumps(task, separators=(",", ":")))
        self._count += 1

    def close(self) -> None:
        """Complete the file."""
        if not self._out.closed:
            with self._out as out:
                out.write("\n]\n" if self._count else "[]\n")

    def _result(self, frame: FrameMask, object_id: int) -> dict[str, object]:
        labels = [self._categories.name_of(object_id)]
        rle = list(packed(frame.labels == object_id))
        return {
            "id": f"frame{frame.index}object{object_id}",
            "type": "brushlabels",
            "from_name": "brush",
            "to_name": "image",
            **self._size,
            "score": rounded(frame.scores.get(object_id, 0.0)),
            "value": {"format": "rle", "rle": rle, "brushlabels": labels},
        }


def packed(mask: npt.NDArray[np.bool_]) -> bytes:
    """Return a mask bool [height, width] as Label Studio's run lengths of an RGBA picture, 255 inside and 0 outside.

    The stream has the number of values (32 bits), the bits per value less one (5), those of each kind of run length
    less one (4 each), and then the runs: 1 for a repeated value, the kind (2 bits), the length less one, the value.
    """
    pixels = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = np.diff(starts, append=pixels.size) * _CHANNELS
    bits = [f"{pixels.size * _CHANNELS:032b}", f"{8 - 1:05b}", *(f"{n - 1:04b}" for n in _RUN_BITS)]
    for inside, length in zip(pixels[starts].tolist(), lengths.tolist(), strict=True):
        bits += _run("11111111" if inside else "00000000", length)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _run(value: str, length: int) -> list[str]:
    """Return the bits of a run, in several parts if it is longer than the longest kind."""
    longest = 1 << _RUN_BITS[-1]
    full, rest = divmod(length, longest)
    parts = [f"111{longest - 1:b}{value}"] * full
    if rest:
        kind = next(k for k, bits in enumerate(_RUN_BITS) if rest <= 1 << bits)
        parts.append(f"1{kind:02b}{rest - 1:0{_RUN_BITS[kind]}b}{value}")
    return parts
