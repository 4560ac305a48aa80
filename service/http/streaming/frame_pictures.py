"""Reads frames of stored videos as pictures: from memory, or sixteen at a time in a sandbox.

Most of the time goes into decoding from the key frame before the wanted one, and whoever looks at a frame looks at its
neighbors next.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.http.context import Services
from service.http.streaming.frame_cache import SharedWork
from service.problems import ProblemError
from service.runtime.threads import in_large_thread
from service.sandbox.frames import (
    PictureFormat,
    WantedFrames,
    count_frames,
    encode_frames,
    frame_not_found,
    list_frames,
)
from service.sandbox.handles import Output

_GROUP = 16


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video that never changes.

    Attributes:
        id: Id of its job or upload.
        path: The file.
    """

    id: str
    path: Path


@dataclass(frozen=True, slots=True)
class WantedPicture:
    """A frame as a picture.

    Attributes:
        video: The video.
        index: Presentation index of the frame.
        width: Width in pixels; None for the display width.
        form: Format of the picture.
    """

    video: StoredVideo
    index: int
    width: int | None
    form: PictureFormat

    @property
    def key(self) -> Hashable:
        """What the picture is kept under."""
        return self.video.id, self.index, self.width, self.form

    @property
    def etag(self) -> str:
        """The picture's entity tag."""
        return f'"{self.video.id}-{self.index}-{self.width or "full"}-{self.form}"'


async def make_picture(services: Services, wanted: WantedPicture) -> bytes:
    """Make a picture that is not in memory, and those of its group.

    Raises:
        ProblemError: The frame cannot be read.
    """
    listed = await read_listed_frames(services, wanted.video)
    count = count_frames(listed)
    if count is not None and wanted.index >= count:
        raise frame_not_found(wanted.index, count)
    # The group may be damaged, or too large, before it reaches the frame; an error then is about the frame alone.
    with suppress(ProblemError):
        first = wanted.index - wanted.index % _GROUP
        made = await _make(services, wanted.video, listed, WantedFrames(first, _GROUP, wanted.width, wanted.form))
        if wanted.index in made:
            return made[wanted.index]
    alone = WantedFrames(wanted.index, 1, wanted.width, wanted.form)
    return (await _make(services, wanted.video, listed, alone))[wanted.index]


async def read_listed_frames(services: Services, video: StoredVideo) -> bytes:
    """Return the timestamps of all frames, as `list_frames` does.

    Raises:
        ProblemError: The video cannot be read.
    """
    key = "timestamps", video.id
    found = services.frame_cache.get(key)
    if found is None:
        found = await services.frame_cache.share(key, partial(_list, services, video))
        services.frame_cache.put(key, found)
    return found


async def _list(services: Services, video: StoredVideo, work: SharedWork) -> bytes:
    async with services.frame_pool.turn() as call:
        work.begun = True
        listed: bytes = await call(list_frames, video.path, services.limits)
        return listed


async def _make(services: Services, video: StoredVideo, listed: bytes, frames: WantedFrames) -> dict[int, bytes]:
    return await services.frame_cache.share((video.id, frames), partial(_encode, services, video, listed, frames))


async def _encode(
    services: Services, video: StoredVideo, listed: bytes, frames: WantedFrames, work: SharedWork
) -> dict[int, bytes]:
    async with services.frame_pool.turn() as call:
        work.begun = True
        with services.storage.upload() as files:
            encoded = await call(encode_frames, video.path, Output(files.pictures), listed, frames)
            content = await in_large_thread(files.pictures.read_bytes)
    made, start = {}, 0
    for picture in encoded:
        made[picture.index] = content[start : start + picture.size]
        services.frame_cache.put((video.id, picture.index, frames.width, frames.form), made[picture.index])
        start += picture.size
    return made
