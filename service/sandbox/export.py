"""Builds the result files of a finished job from its mask log, frame by frame.

Runs in a sandbox, because drawing the overlay decodes the video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeAlias

from pydantic import Field

from codec.reader import read_info
from codec.types import VideoInfo
from service.errors import DISK_FULL, RunError, StorageFullError
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
from service.writers.formats import FORMATS, Material
from service.writers.mask_line import mask_of
from service.writers.video.film import FilmWriter
from service.writers.writer import LineWriter

_MAX_OBJECTS = 255
Notes: TypeAlias = Annotated[tuple[Annotated[str, Field(max_length=500)], ...], Field(max_length=20)]
"""What was changed or lost in a result, in plain words. The bounds hold for what a hostile process may answer."""


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
        name: Key of `service.writers.formats.FORMATS`.
        part: Temporary path of the result, in a folder that exists.
    """
    count = FORMATS[name].temporary_files(len(job.prompt) or _MAX_OBJECTS)
    log = MaskLogView(files, job.segments).files_and_sizes()
    return RenderFiles(files.video, files.video, log, Output(part), (Temporary(part.parent),) * count)


def render(job: Job, name: str, files: RenderFiles) -> Notes:
    """Build one result file, and return the notes on it. Deleting the file stops the build at the next frame.

    Args:
        job: A finished job.
        name: Key of `service.writers.formats.FORMATS`.
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
            return _write(job, name, _OpenFiles(video, sound, mask_log, out, temporary))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFullError(f"there is no room for the {name} result; delete jobs or wait") from error
        raise RunError(f"the {name} result cannot be written: {error.strerror}") from error


def _lines(files: _OpenFiles) -> Iterator[dict[str, Any]]:
    for line in chain.from_iterable(iter_lines(log, size) for log, size in files.mask_log):
        if not os.fstat(files.out.fileno()).st_nlink:
            raise RunError("the file was deleted while it was made")
        yield line


def _write(job: Job, name: str, files: _OpenFiles) -> Notes:
    """Write a format; one that holds masks as the log does gets them undecoded."""
    writer = FORMATS[name].open(files.out, _material(job, files))
    with closing(writer):
        for line in _lines(files):
            if isinstance(writer, LineWriter):
                writer.write_line(line)
            else:
                writer.write(mask_of(line, job.video.width, job.video.height))
    return tuple(writer.notes) if isinstance(writer, FilmWriter) else ()


def _material(job: Job, files: _OpenFiles) -> Material:
    return Material(
        source=files.video,
        sound=files.sound,
        name=job.id,
        size=(job.video.width, job.video.height),
        read_info=lambda: _info_of(files.video),
        objects=tuple(sorted({item.object for item in job.prompt})),  # a corrected one is marked in several frames
        categories=Categories(job.options.labels),
        about={"description": "masks by keymask", "job": job.id, "date_created": job.created_at.isoformat()},
        look=look_of(job.options),
        tolerance=job.options.polygon_tolerance,
        temporary=files.make_temporary,
    )


def _info_of(video: BinaryIO) -> VideoInfo:
    return read_info(video)
