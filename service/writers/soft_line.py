"""Soft masks as text: what a line of the mask log has after its masks, if the job keeps soft masks.

It is a JSON object without spaces, by object id:

    {"1":{"shape":[120,214],"extent":[120.0,213.5],"box":[80,30,52,61],"data":"eJztwQ..."}}

`shape` and `extent` are those of the soft mask, rows first, and `box` is its part that is not 0, [x, y, width, height]
in cells. The values in the box, each minus its neighbors (left + above - above left, modulo 256), are compressed by
zlib, to half the bytes of the plain values in key frames, and written in base64.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from codec.types import UInt8Array
from vos.types import SoftMask


def encode_soft(masks: Mapping[int, SoftMask]) -> bytes:
    """Return the text of a frame's soft masks; it has neither newlines nor tabs."""
    return json.dumps({i: _entry(mask) for i, mask in masks.items()}, separators=(",", ":")).encode()


def decode_soft(text: bytes) -> dict[int, SoftMask]:
    """Return the soft masks of a text.

    Raises:
        ValueError: The text is damaged.
    """
    try:
        return {int(i): _mask(entry) for i, entry in json.loads(text).items()}
    except (KeyError, TypeError, AttributeError, zlib.error) as error:
        raise ValueError(f"the soft masks are damaged: {error}") from error


def _entry(mask: SoftMask) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(mask.values.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if len(rows) else (0, 0, 0, 0)
    cut = mask.values[top:bottom, left:right]
    steps = np.diff(np.diff(cut, axis=0, prepend=np.uint8(0)), axis=1, prepend=np.uint8(0))
    return {
        "shape": mask.values.shape,
        "extent": mask.extent,
        "box": [int(n) for n in (left, top, right - left, bottom - top)],
        "data": b64encode(zlib.compress(steps.tobytes())).decode("ascii"),
    }


def _mask(entry: dict[str, Any]) -> SoftMask:
    left, top, width, height = entry["box"]
    steps: UInt8Array = np.frombuffer(zlib.decompress(b64decode(entry["data"])), np.uint8).reshape(height, width)
    values = np.zeros(entry["shape"], np.uint8)
    values[top : top + height, left : left + width] = steps.cumsum(0, np.uint8).cumsum(1, np.uint8)
    rows, columns = entry["extent"]
    return SoftMask(values, (rows, columns))
