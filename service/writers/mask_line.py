"""Scores as they are written: enough digits to compare, few enough to read."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from codec.types import FrameType, UInt8Array
from vos.types import FrameMask, MaskSource


def rounded(score: float) -> float:
    """A score with four digits."""
    return round(float(score), 4)


def frame_line(frame: FrameMask) -> dict[str, Any]:
    """What one line holds; objects without a pixel in the frame are left out."""
    present = [int(i) for i in np.flatnonzero(np.bincount(frame.labels.ravel(), minlength=256)) if i]
    return {
        "index": frame.index,
        "pts": frame.pts,
        "time": frame.time,
        "type": str(frame.type),
        "source": str(frame.source),
        "objects": [_object(frame, i) for i in present],
    }


def _object(frame: FrameMask, object_id: int) -> dict[str, Any]:
    """One object as COCO has it: rle with size [height, width], bbox [x, y, width, height] and area in pixels."""
    rle = coco.encode(np.asfortranarray(frame.labels == object_id).view(np.uint8))
    return {
        "id": object_id,
        "rle": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")},
        "bbox": [int(n) for n in coco.toBbox(rle)],
        "area": int(coco.area(rle)),
        "score": rounded(frame.scores.get(object_id, 0.0)),
    }


def labels_of(line: dict[str, Any], width: int, height: int) -> UInt8Array:
    """Labels uint8 [height, width] of a parsed line; 0 is the background."""
    labels = np.zeros((height, width), np.uint8)
    for entry in line["objects"]:
        rle = {"size": entry["rle"]["size"], "counts": entry["rle"]["counts"].encode("ascii")}
        labels[coco.decode(rle) > 0] = entry["id"]
    return labels


def mask_of(line: dict[str, Any], width: int, height: int) -> FrameMask:
    """A parsed line as the record that result writers take."""
    return FrameMask(
        index=line["index"],
        pts=line["pts"],
        time=line["time"],
        type=FrameType(line["type"]),
        source=MaskSource(line["source"]),
        labels=labels_of(line, width, height),
        scores={entry["id"]: entry["score"] for entry in line["objects"]},
    )
