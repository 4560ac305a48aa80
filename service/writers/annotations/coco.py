"""COCO instances: one image per frame, one annotation per object and frame.

Category ids stand for names (`service.writers.categories`), `track_id` for objects. Masks are run-length encoded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any, TextIO

from service.writers.categories import Categories
from service.writers.mask_line import frame_line
from service.writers.png import mask_name
from service.writers.writer import MakeTemporary, Target, as_text, opened, temporary_beside
from vos.types import FrameMask


class CocoWriter:
    """Writes annotations as frames come; images and categories follow at the end.

    Args:
        target: File to write.
        size: Width and height of the masks in pixels.
        categories: Names of the objects.
        info: The file's `info`.
        temporary: Makes temporary files; beside `target` by default.
    """

    def __init__(
        self,
        target: Target,
        size: tuple[int, int],
        categories: Categories,
        info: Mapping[str, Any],
        temporary: MakeTemporary | None = None,
    ) -> None:
        self._size = size
        self._categories = categories
        self._annotations = 0
        self._frames = 0
        self._object_ids: set[int] = set()
        self._out = as_text(opened(target))
        self._images = as_text((temporary or temporary_beside(target))())
        self._out.write('{"info": ' + json.dumps(dict(info)) + ', "licenses": [], "annotations": [')

    def write(self, frame: FrameMask) -> None:
        """Write the annotations of a frame."""
        self.write_line(frame_line(frame))

    def write_line(self, line: Mapping[str, Any]) -> None:
        """Write the annotations of a frame that is a line of masks (`service.writers.mask_line`)."""
        write_item(self._images, self._image(line), self._frames)
        self._frames += 1
        for entry in line["objects"]:
            self._object_ids.add(entry["id"])
            write_item(self._out, self._annotation(line, entry), self._annotations)
            self._annotations += 1

    def close(self) -> None:
        """Write the images and categories."""
        if self._out.closed:
            return
        with self._out, self._images:
            self._out.write('], "images": [')
            copy_text(self._images, self._out)
            self._out.write('], "categories": ' + json.dumps(self._categories.to_json(self._object_ids)) + "}\n")

    def _image(self, line: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": line["index"] + 1,
            "file_name": mask_name(line["index"]),
            "width": self._size[0],
            "height": self._size[1],
            "frame_index": line["index"],
            "pts": line["pts"],
            "time": line["time"],
        }

    def _annotation(self, line: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self._annotations + 1,
            "image_id": line["index"] + 1,
            "category_id": self._categories.id_of(entry["id"]),
            "track_id": entry["id"],
            "segmentation": entry["rle"],
            "bbox": entry["bbox"],
            "area": entry["area"],
            "iscrowd": 0,
            "score": entry["score"],
        }


def write_item(out: TextIO, value: Any, number: int) -> None:
    """Write item `number` of a list."""
    out.write((",\n" if number else "\n") + json.dumps(value, separators=(",", ":")))


def copy_text(source: TextIO, out: TextIO) -> None:
    """Copy a temporary file from its start."""
    source.seek(0)
    shutil.copyfileobj(source, out)
