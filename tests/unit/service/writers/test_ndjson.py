"""Masks as run-length encoded NDJSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from codec.types import FrameType, UInt8Array
from service.writers.mask_line import frame_line
from service.writers.ndjson import RleWriter
from vos.types import FrameMask, MaskSource


def decode_coco(counts: str, size: list[int]) -> UInt8Array:
    """Decode COCO's compressed RLE, slowly: 5 bits per character, sign in the last, differences to two runs before."""
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(counts[at]) - 48
            at += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            more = bool(bits & 0x20)
            if not more and bits & 0x10:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = [which % 2 for which, run in enumerate(runs) for _ in range(run)]
    return np.array(flat, np.uint8).reshape(size[1], size[0]).T


def frame_of(labels: UInt8Array, index: int = 3) -> FrameMask:
    """A frame with these labels."""
    return FrameMask(index, 1536, 0.12, FrameType.B, MaskSource.PROPAGATED, labels, {1: 0.25, 2: 0.123456, 9: 0.0})


def blobs() -> UInt8Array:
    """Two ragged objects and background."""
    labels = np.zeros((23, 31), np.uint8)
    labels[2:9, 4:20] = np.random.default_rng(1).integers(0, 2, (7, 16))
    labels[12:20, 25:31] = 2
    return labels


def test_a_line_restores_every_object() -> None:
    """Each object's RLE decodes to its pixels; area and box are those of the pixels."""
    labels = blobs()
    line = frame_line(frame_of(labels))
    assert [o["id"] for o in line["objects"]] == [1, 2]
    for entry in line["objects"]:
        wanted = (labels == entry["id"]).astype(np.uint8)
        assert np.array_equal(decode_coco(entry["rle"]["counts"], entry["rle"]["size"]), wanted)
        rows, columns = np.nonzero(wanted)
        x, y, width, height = entry["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert entry["area"] == len(rows)


def test_a_line_has_the_contract_s_keys() -> None:
    """A line has index, pts, time, type, source and objects, and each object id, rle, bbox, area and score."""
    line = frame_line(frame_of(blobs()))
    assert {key: line[key] for key in line if key != "objects"} == {
        "index": 3, "pts": 1536, "time": 0.12, "type": "B", "source": "propagated",
    }  # fmt: skip
    assert [list(o) for o in line["objects"]] == [["id", "rle", "bbox", "area", "score"]] * 2
    assert [o["score"] for o in line["objects"]] == [0.25, 0.1235]


def test_a_frame_without_objects_has_an_empty_list() -> None:
    """An object without a pixel is left out, so an empty frame has no objects but still a line."""
    assert frame_line(frame_of(np.zeros((4, 5), np.uint8)))["objects"] == []


def test_a_line_can_be_read_before_the_next_is_written(tmp_path: Path) -> None:
    """Each frame is one complete line in the file as soon as it is written."""
    path = tmp_path / "new" / "masks.ndjson"
    writer = RleWriter(path)
    for index in range(3):
        writer.write(frame_of(blobs(), index))
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(index + 1))
    writer.close()
