"""Builds the result files of a finished job from its mask log, frame by frame.

Runs in a sandbox, because drawing the overlay decodes the video.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from codec.reader import open_video
from service.errors import RunError, StorageFullError
from service.jobs.types import Job
from service.sandbox.annotations import render_coco, render_ytvis
from service.storage.job_files import JobFiles
from service.storage.mask_log import iter_lines
from service.writers.mask_line import labels_of, mask_of
from service.writers.overlay import OverlayWriter
from service.writers.png import encode_mask, mask_name
from service.writers.stored_zip import StoredZip

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """A format of result files.

    Attributes:
        file: Name of the file, for the client too.
        media_type: Media type of the file.
        render: Writes the file, given the job, its files and the path to write.
        grows: Whether the file is written from front to back, so it can be sent while it is built.
    """

    file: str
    media_type: str
    render: Callable[[Job, JobFiles, Path], None]
    grows: bool = False


def render(job: Job, files: JobFiles, name: str, part: Path) -> None:
    """Build one result file. It appears complete or not at all.

    Args:
        job: A finished job.
        files: Files of the job.
        name: Key of `FORMATS`.
        part: Temporary path of the file, in the folder of the result.

    Raises:
        CodecError: The video cannot be read for the overlay.
        RunError: The video has fewer frames than the mask log, or the file cannot be written.
        StorageFullError: The disk is full.
    """
    result_format = FORMATS[name]
    try:
        part.parent.mkdir(exist_ok=True)
        result_format.render(job, files, part)
        part.replace(files.result(result_format.file))
    except OSError as error:
        if error.errno in _DISK_FULL:
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


FORMATS: Mapping[str, ResultFormat] = {
    "png": ResultFormat("masks.zip", "application/zip", _render_png, grows=True),
    "coco": ResultFormat("coco.json", "application/json", render_coco, grows=True),
    "ytvis": ResultFormat("ytvis.json", "application/json", render_ytvis),
    "overlay": ResultFormat("overlay.mp4", "video/mp4", _render_overlay),
}
"""Values of `format` in `GET /v1/jobs/{id}/result`."""
