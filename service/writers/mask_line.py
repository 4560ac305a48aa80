"""One line of masks: the format of the mask log, of `--rle` files and of `GET /v1/jobs/{id}/masks`.

A line is a JSON object without spaces, UTF-8, and describes one frame:

    {"index":0,"pts":0,"time":0.0,"type":"I","source":"prompt","objects":[
     {"id":1,"rle":{"size":[480,854],"counts":"`Xk16h>3N2N..."},"bbox":[290,160,64,96],"area":4410,"score":1.0}]}

`index` comes first, so that `index_of` need not parse the line. `pts` is null where the stream has none, `time` is in
seconds from the start of the file, `type` is I, P or B and `source` a `vos.types.MaskSource`. `objects` holds the
objects with at least one pixel: `rle` is COCO's compressed run-length encoding with `size` [height, width], `bbox` is
[x, y, width, height] and `area` a count, all in pixels; `score` is the confidence, 0 to 1.

In files that only the program itself reads, such as the mask log, a line may go on after a tab with the frame's soft
masks (`service.writers.soft_line`): `encode_record` writes them, `parse_line` and `mask_of` read both.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from codec.types import FrameType, UInt8Array
from service.writers.soft_line import decode_soft, encode_soft
from vos.types import FrameMask, MaskSource

EXAMPLE = (
    '{"index":0,"pts":0,"time":0.0,"type":"I","source":"prompt","objects":[{"id":1,"rle":{"size":[480,854],'
    '"counts":"`Xk16h>3N2N2N2N2O1N..."},"bbox":[290,160,64,96],"area":4410,"score":1.0}]}'
)
"""A line, for documentation; its `counts` are cut short."""
_RLE, _RLE_END = b'"rle":{', b'"},'
_INDEX = re.compile(rb'\{"index":\s*(\d+)')
_TAB = b"\t"
"""Stands between masks and soft masks; in JSON, strings have it as an escape sequence only."""


def rounded(score: float) -> float:
    """Round a score to four digits."""
    return round(float(score), 4)


def encode_line(frame: FrameMask) -> bytes:
    """Return the frame's line, without a newline."""
    return json.dumps(frame_line(frame), separators=(",", ":")).encode()


def encode_record(frame: FrameMask) -> bytes:
    """Return the frame's line with its soft masks, if it has some, without a newline."""
    line = encode_line(frame)
    return line if frame.soft is None else line + _TAB + encode_soft(frame.soft)


def without_soft(line: bytes) -> bytes:
    """Return a line without soft masks and without its newline."""
    return line.partition(_TAB)[0].rstrip(b"\n")


def frame_line(frame: FrameMask) -> dict[str, Any]:
    """Return the values of the frame's line."""
    present = [int(i) for i in np.flatnonzero(np.bincount(frame.labels.ravel(), minlength=256)) if i]
    return {**frame_head(frame), "objects": [_object(frame, i) for i in present]}


def frame_head(frame: FrameMask) -> dict[str, Any]:
    """Return which frame it is and where its mask comes from; the report's entries begin with the same values."""
    return {
        "index": frame.index,
        "pts": frame.pts,
        "time": frame.time,
        "type": str(frame.type),
        "source": str(frame.source),
    }


def _object(frame: FrameMask, object_id: int) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(frame.labels == object_id).view(np.uint8))
    return {
        "id": object_id,
        "rle": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")},
        "bbox": [int(n) for n in coco.toBbox(rle)],
        "area": int(coco.area(rle)),
        "score": rounded(frame.scores.get(object_id, 0.0)),
    }


def index_of(line: bytes) -> int:
    """Return the presentation index of the frame that a line describes.

    Raises:
        ValueError: It is not a line of masks.
    """
    match = _INDEX.match(line)
    if match is None:
        raise ValueError(f"a line of masks begins with {line[:40]!r}")
    return int(match[1])


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the values of a line. With soft masks, `soft` has their text.

    Raises:
        ValueError: It is not a line of masks.
    """
    index_of(line)
    masks, tab, soft = line.partition(_TAB)
    values: dict[str, Any] = json.loads(masks)
    return values | {"soft": soft} if tab else values


def is_valid(line: bytes) -> bool:
    """Return whether a line is whole, including its soft masks."""
    try:
        if (soft := parse_line(line).get("soft")) is not None:
            decode_soft(soft)
    except ValueError:
        return False
    return True


def without_masks(line: bytes) -> bytes:
    """Return a line without the run-length encodings, as events carry it, without parsing it.

    In a line as `encode_line` writes it, the counts of an encoding contain no quotation mark.
    """
    kept, position = [], 0
    while (start := line.find(_RLE, position)) >= 0:
        kept.append(line[position:start])
        position = line.index(_RLE_END, start) + len(_RLE_END)
    return b"".join([*kept, line[position:]])


def labels_of(line: dict[str, Any], width: int, height: int) -> UInt8Array:
    """Return the labels uint8 [height, width] of a parsed line; 0 is the background."""
    labels = np.zeros((height, width), np.uint8)
    for entry in line["objects"]:
        labels[decode_rle(entry["rle"])] = entry["id"]
    return labels


def decode_rle(rle: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Return the mask bool [height, width] of a parsed run-length encoding."""
    return np.asarray(coco.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")}) > 0)


def mask_of(line: dict[str, Any], width: int, height: int) -> FrameMask:
    """Return a parsed line as the record that result writers take."""
    return FrameMask(
        index=line["index"],
        pts=line["pts"],
        time=line["time"],
        type=FrameType(line["type"]),
        source=MaskSource(line["source"]),
        labels=labels_of(line, width, height),
        scores={entry["id"]: entry["score"] for entry in line["objects"]},
        soft=decode_soft(line["soft"]) if "soft" in line else None,
    )
