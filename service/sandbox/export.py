"""Builds the result files of a finished job from its mask log, frame by frame.

Runs in a sandbox, because drawing the overlay decodes the video.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.reader import open_video
from service.errors import RunError, StorageFullError
from service.jobs.types import Job
from service.run.outputs import look_of
from service.storage.job_files import JobFiles
from service.storage.mask_log import iter_lines
from service.writers.categories import Categories
from service.writers.coco import CocoWriter
from service.writers.mask_line import mask_of
from service.writers.png import ZipWriter
from service.writers.video.overlay import OverlayWriter
from service.writers.writer import ResultWriter
from service.writers.ytvis import YtvisWriter

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


def _write(job: Job, files: JobFiles, writer: ResultWriter) -> None:
    with closing(writer):
        for line in iter_lines(files.mask_log):
            writer.write(mask_of(line, job.video.width, job.video.height))


def _write_lines(files: JobFiles, writer: CocoWriter | YtvisWriter) -> None:
    """Write a format that holds masks as the log does, without decoding them."""
    with closing(writer):
        for line in iter_lines(files.mask_log):
            writer.write_line(line)


def _annotations(job: Job) -> tuple[tuple[int, int], Categories, dict[str, Any]]:
    """Return what writers of annotations need: size, categories and info."""
    info = {"description": "masks by keymask", "job": job.id, "date_created": job.created_at.isoformat()}
    return (job.video.width, job.video.height), Categories(job.options.labels), info


def _render_png(job: Job, files: JobFiles, path: Path) -> None:
    _write(job, files, ZipWriter(path))


def _render_coco(job: Job, files: JobFiles, path: Path) -> None:
    _write_lines(files, CocoWriter(path, *_annotations(job)))


def _render_ytvis(job: Job, files: JobFiles, path: Path) -> None:
    _write_lines(files, YtvisWriter(path, *_annotations(job)))


def _render_overlay(job: Job, files: JobFiles, path: Path) -> None:
    with open_video(files.video) as reader:
        info = reader.info
    _write(job, files, OverlayWriter(files.video, path, info, look_of(job.options)))


FORMATS: Mapping[str, ResultFormat] = {
    "png": ResultFormat("masks.zip", "application/zip", _render_png, grows=True),
    "coco": ResultFormat("coco.json", "application/json", _render_coco, grows=True),
    "ytvis": ResultFormat("ytvis.json", "application/json", _render_ytvis),
    "overlay": ResultFormat("overlay.mp4", "video/mp4", _render_overlay),
}
"""Values of `format` in `GET /v1/jobs/{id}/result`."""
