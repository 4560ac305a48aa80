"""YouTube-VIS: one video, one annotation per object with one segmentation per frame (null where it is not visible)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, TextIO

from service.writers.categories import Categories
from service.writers.mask_line import frame_line
from service.writers.png import mask_name
from service.writers.writer import MakeTemporary, Target, as_text, opened, temporary_beside
from vos.types import FrameMask


class YtvisWriter:
    """Collects the masks of each object in a file of its own, since the format groups them by object.

    Args:
        target: File to write.
        size: Width and height of the masks in pixels.
        categories: Names of the objects.
        info: The file's `info`.
        temporary: Makes temporary files, one per object; beside `target` by default.
    """

    def __init__(
        self,
        target: Target,
        size: tuple[int, int],
        categories: Categories,
        info: Mapping[str, Any],
        temporary: MakeTemporary | None = None,
    ) -> None:
        self._temporary = temporary or temporary_beside(target)
        self._size = {"height": size[1], "width": size[0]}
        self._categories = categories
        self._info = dict(info)
        self._names: list[str] = []
        self._parts: dict[int, _ObjectPart] = {}
        self._files = ExitStack()
        self._out = as_text(opened(target))

    def write(self, frame: FrameMask) -> None:
        """Collect the masks of a frame."""
        self.write_line(frame_line(frame))

    def write_line(self, line: Mapping[str, Any]) -> None:
        """Collect the masks of a frame that is a line of masks (`service.writers.mask_line`)."""
        number = len(self._names)
        self._names.append(mask_name(line["index"]))
        for entry in line["objects"]:
            if entry["id"] not in self._parts:
                file = self._files.enter_context(as_text(self._temporary()))
                self._parts[entry["id"]] = _ObjectPart(file)
            self._parts[entry["id"]].add(number, entry)

    def close(self) -> None:
        """Write the file."""
        if self._out.closed:
            return
        with self._out as out, self._files:
            video = {"id": 1, **self._size, "length": len(self._names), "file_names": self._names}
            out.write('{"info": ' + json.dumps(self._info) + ', "videos": [' + json.dumps(video) + "]")
            out.write(', "categories": ' + json.dumps(self._categories.to_json(self._parts)) + ', "annotations": [')
            for number, (object_id, part) in enumerate(sorted(self._parts.items())):
                category = self._categories.id_of(object_id)
                head = {"id": object_id, "video_id": 1, "category_id": category, "iscrowd": 0, **self._size}
                out.write((", " if number else "") + json.dumps(head)[:-1])
                part.copy_to(out, len(self._names))
                out.write("}")
            out.write("]}\n")


class _ObjectPart:
    """The lists of one object, in a temporary file with one line per frame: mask, box and area, tabs between them."""

    _LISTS = ("segmentations", "bboxes", "areas")

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._count = 0

    def add(self, number: int, entry: Mapping[str, Any]) -> None:
        """Add the object's entry of frame `number`; frames come in order."""
        self._fill_to(number)
        self._file.write("\t".join(json.dumps(entry[key]) for key in ("rle", "bbox", "area")) + "\n")
        self._count += 1

    def copy_to(self, out: TextIO, frames: int) -> None:
        """Write the three lists with one entry per frame."""
        self._fill_to(frames)
        for column, name in enumerate(self._LISTS):
            self._file.seek(0)
            out.write(f', "{name}": [')
            for number, line in enumerate(self._file):
                out.write((",\n" if number else "\n") + line.rstrip("\n").split("\t")[column])
            out.write("]")

    def _fill_to(self, number: int) -> None:
        """Add null for each frame before `number` that has no entry."""
        self._file.write("null\tnull\tnull\n" * (number - self._count))
        self._count = number
