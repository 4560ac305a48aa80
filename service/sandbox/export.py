"""Makes result files of a finished job from its stored masks, frame by frame. Runs in a sandbox: `overlay` decodes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from codec.reader import open_video
from service.errors import RunError, StorageFullError
from service.jobs.types import Job
from service.storage.job_files import JobFiles
from service.storage.mask_log import iter_lines
from service.writers.mask_line import labels_of, mask_of
from service.writers.overlay import OverlayWriter
from service.writers.png import encode_mask, mask_name
from service.writers.stored_zip import StoredZip

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of result.

    Attributes:
        file: Name of the file, here and for the client.
        media_type: What it is.
        render: Writes it; takes the job, its files and the file to write.
        grows: Whether it is written from front to back, so that it can be sent while it is made.
    """

    file: str
    media_type: str
    render: Callable[[Job, JobFiles, Path], None]
    grows: bool = False


def render(job: Job, files: JobFiles, name: str, part: Path) -> None:
    """Write one result file; it appears whole or not at all.

    Args:
        job: A finished job.
        files: Its files.
        name: Key of `FORMATS`.
        part: Beside the result: the file to write before it is one.

    Raises:
        CodecError: The overlay's source cannot be read.
        RunError: It has fewer frames than there are masks, or the file cannot be written.
        StorageFullError: There is no room for the file.
    """
    form = FORMATS[name]
    try:
        part.parent.mkdir(exist_ok=True)
        form.render(job, files, part)
        part.replace(files.result(form.file))
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(f"there is no room for the {name} result; delete jobs or wait") from error
        raise RunError(f"the {name} result cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _render_png(job: Job, files: JobFiles, path: Path) -> None:
    with path.open("wb") as file:
        archive = StoredZip(file)
        for line in iter_lines(files.mask_log):
            picture = encode_mask(labels_of(line, job.video.width, job.video.height))
            archive.add(mask_name(line["index"]), picture)
        archive.close()


def _render_overlay(job: Job, files: JobFiles, path: Path) -> None:
    with open_video(files.video) as reader:
        info = reader.info
    writer = OverlayWriter(files.video, path, info)
    try:
        for line in iter_lines(files.mask_log):
            writer.write(mask_of(line, job.video.width, job.video.height))
    finally:
        writer.close()


def _render_coco(job: Job, files: JobFiles, path: Path) -> None:
    """COCO instances: an image a frame, an annotation an object in a frame; the object is category and track."""
    with path.open("w", encoding="utf-8") as out:
        out.write('{"info": ' + json.dumps(_info(job)) + ', "licenses": [], "images": [')
        _write_list(out, (_image(job, line) for line in iter_lines(files.mask_log)))
        out.write('], "annotations": [')
        found: set[int] = set()
        _write_list(out, _annotations(files, found))
        out.write('], "categories": ' + json.dumps(_categories(found)) + "}\n")


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


def _annotations(files: JobFiles, found: set[int]) -> Iterable[dict[str, Any]]:
    number = 0
    for line in iter_lines(files.mask_log):
        for entry in line["objects"]:
            number += 1
            found.add(entry["id"])
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


def _render_ytvis(job: Job, files: JobFiles, path: Path) -> None:
    """YouTube-VIS: one video, an annotation an object with one segmentation a frame, null where it is not seen.

    The format wants all frames of one object together, the masks are stored by frame: each object gets a file of its
    own first, so memory stays flat.
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
    """The lists of one object, each in a file of its own while they are gathered."""

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
            with suppress(OSError):  # on a full disk closing fails as writing did
                file.close()
            self._paths[name].unlink(missing_ok=True)

    def add(self, number: int, entry: Mapping[str, Any]) -> None:
        """The object is in the frame with this number."""
        self._skip_to(number)
        for name, key in self._LISTS.items():
            self._files[name].write(json.dumps(entry[key]) + "\n")
        self._count += 1

    def copy_to(self, out: TextIO, frames: int) -> None:
        """Write all three lists, each with one entry a frame."""
        self._skip_to(frames)
        for name, file in self._files.items():
            file.seek(0)
            out.write(f', "{name}": [')
            _write_lines(out, (line.rstrip("\n") for line in file))
            out.write("]")

    def _skip_to(self, number: int) -> None:
        missing = number - self._count
        for file in self._files.values():
            file.write("null\n" * missing)
        self._count = number


def _write_list(out: TextIO, values: Iterable[Any]) -> None:
    _write_lines(out, map(partial(json.dumps, separators=(",", ":")), values))


def _write_lines(out: TextIO, texts: Iterable[str]) -> None:
    for number, text in enumerate(texts):
        out.write((",\n" if number else "\n") + text)


def _categories(object_ids: Iterable[int]) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"object {i}", "supercategory": "object"} for i in sorted(object_ids)]


def _info(job: Job) -> dict[str, Any]:
    return {"description": "masks by keymask", "job": job.id, "date_created": job.created_at.isoformat()}


FORMATS: Mapping[str, Format] = {
    "png": Format("masks.zip", "application/zip", _render_png, grows=True),
    "coco": Format("coco.json", "application/json", _render_coco, grows=True),
    "ytvis": Format("ytvis.json", "application/json", _render_ytvis),
    "overlay": Format("overlay.mp4", "video/mp4", _render_overlay),
}
"""What `GET /v1/jobs/{id}/result` takes as `format`."""
