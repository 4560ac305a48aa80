"""Uploads in chunks that survive lost connections (tus 1.0), without any I/O but reading the video."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import httpx

from keymask.errors import ConflictError, reading
from keymask.protocol import Call, UploadedVideo, VideoFile

CHUNK_BYTES = 8 << 20
_TUS = {"Tus-Resumable": "1.0.0"}


class ChunkedUpload:
    """The state of one upload: builds its calls, and reads their answers.

    Args:
        video: Path, bytes, or seekable binary file object.
    """

    def __init__(self, video: VideoFile) -> None:
        self._owns_file = isinstance(video, bytes | str | os.PathLike)
        self._file = _opened(video)
        self.length = self._file.seek(0, io.SEEK_END)
        self.offset = 0
        self._path = ""

    @property
    def is_complete(self) -> bool:
        """Whether the service has all bytes."""
        return self.offset >= self.length

    def begin_call(self) -> Call:
        """Build POST /v1/uploads."""
        return Call("POST", "/v1/uploads", headers=_TUS | {"Upload-Length": str(self.length)})

    def chunk_call(self) -> Call:
        """Build the call that sends the next bytes."""
        self._file.seek(self.offset)
        headers = {"Upload-Offset": str(self.offset), "Content-Type": "application/offset+octet-stream"}
        return Call("PATCH", self._path, headers=_TUS | headers, content=self._file.read(CHUNK_BYTES))

    def state_call(self) -> Call:
        """Build the call that asks how many bytes the service has."""
        return Call("GET", self._path)

    def begun(self, response: httpx.Response) -> None:
        """Read the answer of `begin_call`."""
        with reading(response):
            self._path = f"/v1/uploads/{response.json()['id']}"

    def sent(self, response: httpx.Response) -> None:
        """Read the answer of `chunk_call` or `state_call`."""
        with reading(response):
            self.offset = int(response.headers["upload-offset"])

    def resumed(self, response: httpx.Response, conflict: ConflictError) -> None:
        """Read the answer of `state_call` after a chunk was refused, as when a first attempt had arrived in part.

        Raises:
            ConflictError: The service is where the chunk began, so the refusal had another reason.
        """
        before = self.offset
        self.sent(response)
        if self.offset == before:
            raise conflict

    def finish(self) -> UploadedVideo:
        """Return what names the upload."""
        return UploadedVideo(self._path.rpartition("/")[2])

    def close(self) -> None:
        """Close the video unless the caller opened it."""
        if self._owns_file:
            with suppress(OSError):
                self._file.close()


def _opened(video: VideoFile) -> BinaryIO:
    if isinstance(video, bytes):
        return io.BytesIO(video)
    return Path(video).open("rb") if isinstance(video, str | os.PathLike) else video
