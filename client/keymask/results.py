"""The files that a job leaves: results in every format, and frames of its video; for both clients."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import httpx

from keymask.protocol import JobLike, frame_call, notes_call, notes_of, result_call
from keymask.sending.download import Download
from keymask.sending.retry import Retry
from keymask.sending.sender import AsyncSender, Sender


class Results(Sender):
    """Methods of `Client`."""

    def download(self, job: JobLike, format: str, path: str | os.PathLike[str]) -> Path:
        """Download a result of a job that succeeded. After a lost connection, only the missing part is requested.

        Args:
            job: The job.
            format: "png" (zip of indexed PNGs), "binary-png", "coco", "polygons", "ytvis", "labelstudio",
                "labelstudio-brush", "npz" (soft masks, with the option `soft`), "overlay" (mp4), "matte" (mp4),
                "prores4444" (mov) or "vp9-alpha" (webm).
            path: File to write; it appears only once it is complete.

        Raises:
            ConflictError: The job has not succeeded.
            ConnectionFailedError: Five times in a row, the connection broke before anything new arrived.
        """
        retry = Retry(self._retries)
        download = Download(Path(path))
        try:
            while True:
                try:
                    with self._open(result_call(job, format, download.headers()), retry) as response:
                        download.begin(response)
                        for block in response.iter_bytes():
                            if download.write(block):
                                retry.succeeded()
                        download.check_length(response)
                    return download.finish()
                except httpx.TransportError as error:
                    time.sleep(retry.after_failure(error))
        finally:
            download.close()

    def result_notes(self, job: JobLike, format: str) -> tuple[str, ...]:
        """Return what a video format has changed or lost, such as the sound, in plain words.

        Args:
            job: A job that succeeded.
            format: As for `download`. The result is made if it does not exist yet.
        """
        return notes_of(self._send(notes_call(job, format)))

    def frame(self, job: JobLike, index: int, *, width: int | None = None) -> bytes:
        """Return one frame of the job's video as a JPEG file, in display orientation.

        Args:
            job: The job.
            index: Presentation index of the frame, as in the masks.
            width: Width in pixels; without it, the picture has the display size. It is never scaled up.

        Raises:
            NotFoundError: The video has no such frame.
        """
        return self._send(frame_call(job, index, width)).content


class AsyncResults(AsyncSender):
    """Methods of `AsyncClient`."""

    async def download(self, job: JobLike, format: str, path: str | os.PathLike[str]) -> Path:
        """Download a result of a job that succeeded. After a lost connection, only the missing part is requested.

        Args:
            job: The job.
            format: "png" (zip of indexed PNGs), "binary-png", "coco", "polygons", "ytvis", "labelstudio",
                "labelstudio-brush", "npz" (soft masks, with the option `soft`), "overlay" (mp4), "matte" (mp4),
                "prores4444" (mov) or "vp9-alpha" (webm).
            path: File to write; it appears only once it is complete.

        Raises:
            ConflictError: The job has not succeeded.
            ConnectionFailedError: Five times in a row, the connection broke before anything new arrived.
        """
        retry = Retry(self._retries)
        download = Download(Path(path))
        try:
            while True:
                try:
                    async with self._open(result_call(job, format, download.headers()), retry) as response:
                        download.begin(response)
                        async for block in response.aiter_bytes():
                            if download.write(block):
                                retry.succeeded()
                        download.check_length(response)
                    return download.finish()
                except httpx.TransportError as error:
                    await asyncio.sleep(retry.after_failure(error))
        finally:
            download.close()

    async def result_notes(self, job: JobLike, format: str) -> tuple[str, ...]:
        """Return what a video format has changed or lost, such as the sound, in plain words.

        Args:
            job: A job that succeeded.
            format: As for `download`. The result is made if it does not exist yet.
        """
        return notes_of(await self._send(notes_call(job, format)))

    async def frame(self, job: JobLike, index: int, *, width: int | None = None) -> bytes:
        """Return one frame of the job's video as a JPEG file, in display orientation.

        Args:
            job: The job.
            index: Presentation index of the frame, as in the masks.
            width: Width in pixels; without it, the picture has the display size. It is never scaled up.

        Raises:
            NotFoundError: The video has no such frame.
        """
        return (await self._send(frame_call(job, index, width))).content
