"""Annotation files of a finished job in the formats of COCO and YouTube-VIS.

Both use the id of an object as category and track id, and store masks as COCO run-length encodings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from service.jobs.types import Job
from service.storage.job_files import JobFiles
from service.storage.mask_log import iter_lines
from service.writers.png import mask_name


def render_coco(job: Job, files: JobFiles, path: Path) -> None:
    """Write COCO instances: one image per frame, one annotation per object and frame."""
    with path.open("w", encoding="utf-8") as out:
        out.write('{"info": ' + json.dumps(_info(job)) + ', "licenses": [], "images": [')
        _write_list(out, (_image(job, line) for line in iter_lines(files.mask_log)))
        out.write('], "annotations": [')
        object_ids: set[int] = set()
        _write_list(out, _annotations(files, object_ids))
        out.write('], "categories": ' + json.dumps(_categories(object_ids)) + "}\n")


def _image(job: Job, line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": line["index"] + 1,
        "file_name": mask_name(line["index"]),
        "width": job.video.width,
        "height": job.video.height,
        "frame_index": line["index"],
        "pts": line["pts"],
        "time": line["time"],
    }


def _annotations(files: JobFiles, object_ids: set[int]) -> Iterable[dict[str, Any]]:
    """Yield all annotations and add their objects to `object_ids`."""
    number = 0
    for line in iter_lines(files.mask_log):
        for entry in line["objects"]:
            number += 1
            object_ids.add(entry["id"])
            yield {
                "id": number,
                "image_id": line["index"] + 1,
                "category_id": entry["id"],
                "track_id": entry["id"],
                "segmentation": entry["rle"],
                "bbox": entry["bbox"],
                "area": entry["area"],
                "iscrowd": 0,
                "score": entry["score"],
            }


def render_ytvis(job: Job, files: JobFiles, path: Path) -> None:
    """Write YouTube-VIS: one video, one annotation per object with one segmentation per frame (null if not visible).

    The format groups masks by object, the mask log by frame. Each object is first collected in files of its own, so
    memory does not grow with the video.
    """
    names: list[str] = []
    parts: dict[int, _ObjectParts] = {}
    with ExitStack() as stack:
        for number, line in enumerate(iter_lines(files.mask_log)):
            names.append(mask_name(line["index"]))
            for entry in line["objects"]:
                if entry["id"] not in parts:
                    parts[entry["id"]] = stack.enter_context(_ObjectParts(path, entry["id"]))
                parts[entry["id"]].add(number, entry)
        size = {"height": job.video.height, "width": job.video.width}
        with path.open("w", encoding="utf-8") as out:
            video = {"id": 1, **size, "length": len(names), "file_names": names}
            out.write('{"info": ' + json.dumps(_info(job)) + ', "videos": [' + json.dumps(video) + "]")
            out.write(', "categories": ' + json.dumps(_categories(set(parts))) + ', "annotations": [')
            for number, (object_id, part) in enumerate(sorted(parts.items())):
                head = {"id": object_id, "video_id": 1, "category_id": object_id, "iscrowd": 0, **size}
                out.write((", " if number else "") + json.dumps(head)[:-1])
                part.copy_to(out, len(names))
                out.write("}")
            out.write("]}\n")


class _ObjectParts:
    """The YouTube-VIS lists of one object, each in a temporary file with one line per frame."""

    _LISTS: Mapping[str, str] = {"segmentations": "rle", "bboxes": "bbox", "areas": "area"}

    def __init__(self, path: Path, object_id: int) -> None:
        self._paths = {name: path.with_name(f"part-{object_id}-{name}") for name in self._LISTS}
        self._files: dict[str, TextIO] = {}
        self._count = 0

    def __enter__(self) -> _ObjectParts:
        self._files = {name: path.open("w+", encoding="utf-8") for name, path in self._paths.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for name, file in self._files.items():
            with suppress(OSError):  # on a full disk, closing fails just as writing did
                file.close()
            self._paths[name].unlink(missing_ok=True)

    def add(self, number: int, entry: Mapping[str, Any]) -> None:
        """Add the object's entry of frame `number`; frames come in order."""
        self._fill_to(number)
        for name, key in self._LISTS.items():
            self._files[name].write(json.dumps(entry[key]) + "\n")
        self._count += 1

    def copy_to(self, out: TextIO, frames: int) -> None:
        """Write the three lists with one entry per frame."""
        self._fill_to(frames)
        for name, file in self._files.items():
            file.seek(0)
            out.write(f', "{name}": [')
            _write_items(out, (line.rstrip("\n") for line in file))
            out.write("]")

    def _fill_to(self, number: int) -> None:
        """Add null for each frame before `number` that has no entry."""
        missing = number - self._count
        for file in self._files.values():
            file.write("null\n" * missing)
        self._count = number


def _write_list(out: TextIO, values: Iterable[Any]) -> None:
    _write_items(out, map(partial(json.dumps, separators=(",", ":")), values))


def _write_items(out: TextIO, items: Iterable[str]) -> None:
    for number, item in enumerate(items):
        out.write((",\n" if number else "\n") + item)


def _categories(object_ids: Iterable[int]) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"object {i}", "supercategory": "object"} for i in sorted(object_ids)]


def _info(job: Job) -> dict[str, Any]:
    return {"description": "masks by keymask", "job": job.id, "date_created": job.created_at.isoformat()}
