"""Masks as NDJSON with COCO run-length encoding: one line a frame, readable while the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from service.results.scores import rounded
from vos.types import FrameMask


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


class RleWriter:
    """Appends one line a frame to `path` and flushes it, so that a reader can follow the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def write(self, frame: FrameMask) -> None:
        """Append the frame's line."""
        self._file.write(json.dumps(frame_line(frame), separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
