"""Label Studio: one task whose prediction has one `videorectangle` per object, with a keyframe per mask.

https://labelstud.io/tags/videorectangle: positions are percentages, frames count from 1, and a keyframe that is not
`enabled` ends the object until the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, TextIO

from service.writers.annotations.coco import copy_text, write_item
from service.writers.categories import Categories
from service.writers.mask_line import frame_line
from service.writers.writer import MakeTemporary, Target, as_text, opened, temporary_beside
from vos.types import FrameMask


class LabelStudioWriter:
    """Collects the keyframes of each object in a file of its own, since the format groups them by object.

    Args:
        target: File to write.
        size: Width and height of the masks in pixels.
        categories: Names of the objects.
        video: Name of the video, which the task refers to.
        temporary: Makes temporary files, one per object; beside `target` by default.
    """

    def __init__(
        self,
        target: Target,
        size: tuple[int, int],
        categories: Categories,
        video: str,
        temporary: MakeTemporary | None = None,
    ) -> None:
        self._temporary = temporary or temporary_beside(target)
        self._size = size
        self._categories = categories
        self._video = video
        self._frames, self._end = 0, 0.0
        self._parts: dict[int, _Keyframes] = {}
        self._files = ExitStack()
        self._out = as_text(opened(target))

    def write(self, frame: FrameMask) -> None:
        """Collect the boxes of a frame."""
        self.write_line(frame_line(frame))

    def write_line(self, line: Mapping[str, Any]) -> None:
        """Collect the boxes of a frame that is a line of masks (`service.writers.mask_line`)."""
        self._frames, self._end = line["index"] + 1, line["time"]
        present = set()
        for entry in line["objects"]:
            present.add(entry["id"])
            if entry["id"] not in self._parts:
                self._parts[entry["id"]] = _Keyframes(self._files.enter_context(as_text(self._temporary())))
            self._parts[entry["id"]].add(self._keyframe(line, entry["bbox"]))
        for object_id in self._parts.keys() - present:
            self._parts[object_id].end()

    def close(self) -> None:
        """Write the file."""
        if self._out.closed:
            return
        with self._out as out, self._files:
            out.write('[{"data": ' + json.dumps({"video": self._video}))
            out.write(', "predictions": [{"model_version": "keymask", "result": [')
            for number, (object_id, part) in enumerate(sorted(self._parts.items())):
                head = {"id": f"object{object_id}", "type": "videorectangle", "from_name": "box", "to_name": "video"}
                labels = [self._categories.name_of(object_id)]
                value = {"framesCount": self._frames, "duration": self._end, "labels": labels}
                out.write((",\n" if number else "\n") + json.dumps(head)[:-1] + ', "value": ' + json.dumps(value)[:-1])
                out.write(', "sequence": [')
                part.copy_to(out)
                out.write("]}}")
            out.write("]}]}]\n")

    def _keyframe(self, line: Mapping[str, Any], bbox: list[int]) -> dict[str, Any]:
        width, height = self._size
        scale = (100 / width, 100 / height, 100 / width, 100 / height)
        place = {name: round(n * s, 4) for name, n, s in zip(("x", "y", "width", "height"), bbox, scale, strict=True)}
        return {"frame": line["index"] + 1, "time": line["time"], "enabled": True, "rotation": 0, **place}


class _Keyframes:
    """The keyframes of one object in a temporary file. The latest waits: the frame after it decides whether it ends."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._count = 0
        self._latest: dict[str, Any] | None = None

    def add(self, keyframe: dict[str, Any]) -> None:
        """Add a keyframe."""
        self._flush()
        self._latest = keyframe

    def end(self) -> None:
        """Let the object end with its latest keyframe."""
        if self._latest is not None:
            self._latest["enabled"] = False
            self._flush()

    def copy_to(self, out: TextIO) -> None:
        """Write all keyframes."""
        self._flush()
        copy_text(self._file, out)

    def _flush(self) -> None:
        if self._latest is not None:
            write_item(self._file, self._latest, self._count)
            self._count += 1
            self._latest = None
