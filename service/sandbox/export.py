"""Builds the result files of a finished job from its mask log, frame by frame.

Runs in a sandbox, because drawing the overlay decodes the video.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from codec.reader import open_video
from service.errors import RunError, StorageFullError
from service.jobs.types import Job
from service.run.outputs import look_of
from service.sandbox.handles import (
    Input,
    Output,
    OutputFile,
    Temporary,
    TemporaryHandle,
    opened_input,
    opened_output,
    opened_temporary,
)
from service.storage.job_files import JobFiles
from service.storage.mask_log_view import MaskLogView, iter_lines
from service.writers.categories import Categories
from service.writers.coco import CocoWriter
from service.writers.mask_line import mask_of
from service.writers.png import ZipWriter
from service.writers.video.overlay import OverlayWriter
from service.writers.writer import ResultWriter
from service.writers.ytvis import YtvisWriter

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAX_OBJECTS = 255


@dataclass(frozen=True, slots=True)
class RenderFiles:
    """The files of a result that is built.

    Attributes:
        video: The video of the job.
        sound: The video once more, because its sound is read at another place.
        mask_log: The files of the mask log of the job, and how many bytes of each count.
        out: The file to write.
        temporary: Temporary files, as many as the format needs.
    """

    video: Input
    sound: Input
    mask_log: tuple[tuple[Input, int], ...]
    out: OutputFile
    temporary: tuple[TemporaryHandle, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """A format of result files.

    Attributes:
        file: Name of the file, for the client too.
        media_type: Media type of the file.
        render: Writes the file, given the job and the open files.
        grows: Whether the file is written from front to back, so it can be sent while it is built.
        temporary_files: Number of temporary files that it needs, given the number of objects.
    """

    file: str
    media_type: str
    render: Callable[[Job, _OpenFiles], None]
    grows: bool = False
    temporary_files: Callable[[int], int] = lambda _objects: 0


@dataclass(frozen=True, slots=True)
class _OpenFiles:
    """`RenderFiles`, all of them open."""

    video: BinaryIO
    sound: BinaryIO
    mask_log: tuple[tuple[BinaryIO, int], ...]
    out: BinaryIO
    temporary: Iterator[BinaryIO]

    def make_temporary(self) -> BinaryIO:
        """Return the next temporary file."""
        return next(self.temporary)


def render_files(job: Job, files: JobFiles, name: str, part: Path) -> RenderFiles:
    """Return the files that building a result needs.

    Args:
        job: A finished job.
        files: Files of the job.
        name: Key of `FORMATS`.
        part: Temporary path of the result, in a folder that exists.
    """
    count = FORMATS[name].temporary_files(len(job.prompt) or _MAX_OBJECTS)
    log = MaskLogView(files, job.segments).files_and_sizes()
    return RenderFiles(files.video, files.video, log, Output(part), (Temporary(part.parent),) * count)


def render(job: Job, name: str, files: RenderFiles) -> None:
    """Build one result file. Deleting the file stops the build at the next frame.

    Args:
        job: A finished job.
        name: Key of `FORMATS`.
        files: What `render_files` returns.

    Raises:
        CodecError: The video cannot be read for the overlay.
        RunError: The video has fewer frames than the mask log, or the file cannot be written or was deleted.
        StorageFullError: The disk is full.
    """
    try:
        with (
            ExitStack() as stack,
            opened_input(files.video) as video,
            opened_input(files.sound) as sound,
            opened_output(files.out) as out,
        ):
            mask_log = tuple((stack.enter_context(opened_input(log)), size) for log, size in files.mask_log)
            temporary = map(opened_temporary, files.temporary)
            FORMATS[name].render(job, _OpenFiles(video, sound, mask_log, out, temporary))
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise StorageFullError(f"there is no room for the {name} result; delete jobs or wait") from error
        raise RunError(f"the {name} result cannot be written: {error.strerror}") from error


def _lines(files: _OpenFiles) -> Iterator[dict[str, Any]]:
    for line in chain.from_iterable(iter_lines(log, size) for log, size in files.mask_log):
        if not os.fstat(files.out.fileno()).st_nlink:
            raise RunError("the file was deleted while it was made")
        yield line


def _write(job: Job, files: _OpenFiles, writer: ResultWriter) -> None:
    with closing(writer):
        for line in _lines(files):
            writer.write(mask_of(line, job.video.width, job.video.height))


def _write_lines(files: _OpenFiles, writer: CocoWriter | YtvisWriter) -> None:
    """Write a format that holds masks as the log does, without decoding them."""
    with closing(writer):
        for line in _lines(files):
            writer.write_line(line)


def _annotations(job: Job) -> tuple[tuple[int, int], Categories, dict[str, Any]]:
    """Return what writers of annotations need: size, categories and info."""
    info = {"description": "masks by keymask", "job": job.id, "date_created": job.created_at.isoformat()}
    return (job.video.width, job.video.height), Categories(job.options.labels), info


def _render_png(job: Job, files: _OpenFiles) -> None:
    _write(job, files, ZipWriter(files.out))


def _render_coco(job: Job, files: _OpenFiles) -> None:
    _write_lines(files, CocoWriter(files.out, *_annotations(job), files.make_temporary))


def _render_ytvis(job: Job, files: _OpenFiles) -> None:
    _write_lines(files, YtvisWriter(files.out, *_annotations(job), files.make_temporary))


def _render_overlay(job: Job, files: _OpenFiles) -> None:
    with open_video(files.video) as reader:
        info = reader.info
    _write(job, files, OverlayWriter(files.video, files.out, info, look_of(job.options), files.sound))


FORMATS: Mapping[str, ResultFormat] = {
    "png": ResultFormat("masks.zip", "application/zip", _render_png, grows=True),
    "coco": ResultFormat("coco.json", "application/json", _render_coco, grows=True, temporary_files=lambda _: 1),
    "ytvis": ResultFormat("ytvis.json", "application/json", _render_ytvis, temporary_files=lambda objects: objects),
    "overlay": ResultFormat("overlay.mp4", "video/mp4", _render_overlay),
}
"""Values of `format` in `GET /v1/jobs/{id}/result`."""
