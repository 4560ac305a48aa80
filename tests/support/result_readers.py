"""Reads exported files with other programs' readers: what each says is the mask of a frame, all objects together."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

Mask: TypeAlias = npt.NDArray[np.bool_]


def _pictures(path: Path, frame: int) -> Mask:
    """Pillow: what any picture of the frame marks."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"{frame:05d}.png")]
        pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) > 0 for name in names]
    return np.logical_or.reduce(pictures)


def _coco(path: Path, frame: int) -> Mask:
    """pycocotools: run lengths or polygons."""
    data = json.loads(path.read_text())
    (image,) = (one for one in data["images"] if one["id"] == frame + 1)
    found = [one["segmentation"] for one in data["annotations"] if one["image_id"] == frame + 1]
    size = image["height"], image["width"]
    return _union([coco.frPyObjects(one, *size) if isinstance(one, list) else [one] for one in found])


def _ytvis(path: Path, frame: int) -> Mask:
    """pycocotools: the run lengths of each object at the frame's place."""
    data = json.loads(path.read_text())
    return _union([[one["segmentations"][frame]] for one in data["annotations"] if one["segmentations"][frame]])


def _soft(path: Path, frame: int) -> Mask:
    """NumPy: where an object is likelier than not."""
    with np.load(path) as arrays:
        return np.logical_or.reduce([arrays[name] > 127 for name in arrays.files if name.endswith(f"/{frame:05d}")])


def _union(runs: list[Any]) -> Mask:
    return np.logical_or.reduce([np.asarray(coco.decode(coco.merge(one)) > 0) for one in runs])


def boxes_at(path: Path, frame: int) -> Mask:
    """Return the boxes of Label Studio, filled, on 64x48 pixels."""
    mask = np.zeros((48, 64), np.bool_)
    for result in json.loads(path.read_text())[0]["predictions"][0]["result"]:
        for at in (one for one in result["value"]["sequence"] if one["frame"] == frame + 1):
            left, top = round(at["x"] * 0.64), round(at["y"] * 0.48)
            mask[top : top + round(at["height"] * 0.48), left : left + round(at["width"] * 0.64)] = True
    return mask


def _brush(path: Path, frame: int) -> Mask:
    """The bits of Label Studio's run lengths, one by one, as its documentation describes them."""
    found = []
    for result in json.loads(path.read_text())[frame]["predictions"][0]["result"]:
        bits = "".join(f"{byte:08b}" for byte in result["value"]["rle"])
        place = 0

        def take(count: int) -> int:
            nonlocal place
            place += count
            return int(bits[place - count : place], 2)  # noqa: B023 - called before the next one

        count, word = take(32), take(5) + 1
        sizes = [take(4) + 1 for _ in range(4)]
        values: list[int] = []
        while len(values) < count:
            repeats = take(1)
            length = take(sizes[take(2)]) + 1
            values += [take(word)] * length if repeats else [take(word) for _ in range(length)]
        found.append(np.reshape(values, (result["original_height"], result["original_width"], 4))[..., 3] > 0)
    return np.logical_or.reduce(found)


def _film(path: Path, frame: int, *, decoder: str | None = None, plane: int = 0) -> Mask:
    """PyAV: where a plane, luma or alpha, is in the upper half of its range."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r") if decoder else None
        packets = (context.decode(packet) if context else packet.decode() for packet in container.demux(stream))
        picture: Any = [one for decoded in packets for one in decoded][frame]
    found = picture.planes[plane]
    rows = np.frombuffer(bytes(found), np.uint16 if "12le" in picture.format.name else np.uint8)
    rows = rows.reshape(found.height, -1)[:, : found.width]
    return np.asarray(rows > (2047 if rows.dtype == np.uint16 else 127))


READERS: dict[str, tuple[Callable[[Path, int], Mask], float]] = {
    "png": (_pictures, 1.0),
    "binary-png": (_pictures, 1.0),
    "coco": (_coco, 1.0),
    "polygons": (_coco, 0.85),
    "ytvis": (_ytvis, 1.0),
    "labelstudio-brush": (_brush, 1.0),
    "npz": (_soft, 1.0),
    "prores4444": (partial(_film, plane=3), 1.0),
    "vp9-alpha": (partial(_film, decoder="libvpx-vp9", plane=3), 0.85),
    "matte": (_film, 0.85),
}
"""Format -> its reader, and the least IoU with the mask: 1 where nothing is lost. Others are read in other ways."""
