"""Open a video file and check that it can be read: one file with a video stream that has a decoder.

FFmpeg gets a file object without a name and may use no protocol. So nothing in the file (a playlist, a reference to
another file, a URL) can make it open anything else.
"""

from __future__ import annotations

import contextlib
import io
import os
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from codec.demux.clean_aperture import CleanAperture, read_clean_apertures
from codec.demux.limits import decode_limits
from codec.demux.packets import Packets
from codec.errors import NoVideoError, UnreadableError, UnsupportedSizeError

VideoSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or a seekable binary file object."""

MAX_PIXELS = 36_000_000
"""Most pixels per picture: slightly more than 8K (7680 x 4320)."""

_PLAYLIST_FORMATS = frozenset(
    ("hls", "concat", "dash", "imf", "sdp", "rtsp", "webm_dash_manifest", "vapoursynth", "tty", "lavfi")
)
_STILL_FORMATS = frozenset(("image2", "image2pipe", "ico", "fits", "dds_pipe", "mjpeg", "gif", "apng"))
"""Formats of pictures, which may also hold a film: several pictures of one size."""
_IO_BUFFER_BYTES = 1 << 18
_HEAD_BYTES = 256


class VideoFile:
    """An opened and checked video file.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.

    Attributes:
        name: Name of the source in messages.
        container: FFmpeg's demuxer.
        formats: FFmpeg's names of the container format, such as "mov" and "mp4".
        stream: The video stream that FFmpeg prefers, never cover art.
        clean_aperture: The part of the picture that players show; None if the container states none.
        packets: The stream's packets in decode order.
        size_bytes: Size of the file.
        head: The first 256 bytes of the file.

    Raises:
        UnreadableError: The file is missing, empty, not a video, or has no decoder.
        NoVideoError: The container has no video stream.
        UnsupportedSizeError: The pictures are too large.
        TypeError: The source is of another type.
    """

    def __init__(self, source: VideoSource) -> None:
        self._file, self.name, self._owns_file = _as_file(source)
        try:
            self._file.seek(0, os.SEEK_END)
            self.size_bytes = self._file.tell()
            self._file.seek(0)
            self.head = self._file.read(_HEAD_BYTES)
            # Before FFmpeg opens the file, because both use its position.
            clean_apertures = read_clean_apertures(self._file)
            self._file.seek(0)
            self.container = _open(self._file, self.name)
            self.formats = frozenset(self.container.format.name.split(","))
            try:
                self.stream = _video_stream(self.container, self.name)
                check_size(self.stream.codec_context.width, self.stream.codec_context.height, self.name)
                self.clean_aperture: CleanAperture | None = clean_apertures.get(self.stream.id)
                self.packets = Packets(self.container, self.stream)
            except BaseException:
                self.container.close()
                raise
        except BaseException:
            self._close_file()
            raise

    def close(self) -> None:
        """Close the demuxer, and the file unless the caller opened it."""
        self.container.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._owns_file:
            self._file.close()


def max_pixels() -> int:
    """Most pixels per picture in this process."""
    limit = decode_limits().max_pixels
    return MAX_PIXELS if limit is None else min(limit, MAX_PIXELS)


def check_size(width: int, height: int, name: str) -> None:
    """Check that a picture has at most `max_pixels`.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        name: Name of the video in the message.

    Raises:
        UnsupportedSizeError: The picture is larger.
    """
    if width * height > max_pixels():
        raise UnsupportedSizeError(
            f"{name} has pictures of {width}x{height}; at most {max_pixels() / 1e6:g} million pixels are allowed"
        )


class _NamelessFile:
    """A file object without `name`, from which FFmpeg would guess the format."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _as_file(source: VideoSource) -> tuple[BinaryIO, str, bool]:
    """The source as a file object, its name in messages, and whether `VideoFile` has to close it."""
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise UnreadableError("the video is empty: 0 bytes")
        return io.BytesIO(source), f"the video of {len(source)} bytes", True
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source)), f"'{os.fspath(source)}'", True
    if not all(hasattr(source, method) for method in ("read", "seek", "tell")):
        raise TypeError(
            f"a video must be a path, bytes or a seekable binary file object; given: {type(source).__name__}"
        )
    name = getattr(source, "name", None)
    return source, f"'{name}'" if isinstance(name, str) else "the given file object", False


def _open_path(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise UnreadableError(f"'{path}' is a folder; a video file is expected")
        if path.exists() and not path.is_file():
            raise UnreadableError(f"'{path}' is not a regular file; a video file is expected")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableError(f"'{path}' cannot be opened: {reason}") from error
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise UnreadableError(f"'{path}' is empty: 0 bytes")
    return file


def _open(file: BinaryIO, name: str) -> InputContainer:
    container = _open_container(file, name)
    formats = set(container.format.name.split(","))
    if formats & _PLAYLIST_FORMATS:
        container.close()
        raise UnreadableError(f"{name} is a text file or a playlist ({container.format.name}); give the video itself")
    if formats & _STILL_FORMATS or container.format.name.endswith("_pipe"):
        if not _is_film(container, name):
            raise UnreadableError(f"{name} is a still image ({container.format.name}); a video is expected")
        file.seek(0)
        return _open_container(file, name)
    return container


def _open_container(file: BinaryIO, name: str) -> InputContainer:
    limits = decode_limits()
    # FFmpeg decodes pictures while it opens a file, too.
    options = {"protocol_whitelist": "none", "max_pixels": str(max_pixels())}
    if limits.formats is not None:
        options["format_whitelist"] = ",".join(sorted(limits.formats))
    if limits.decoders is not None:
        options["codec_whitelist"] = ",".join(sorted(limits.decoders))
    try:
        return av.open(cast(BinaryIO, _NamelessFile(file)), "r", options=options, buffer_size=_IO_BUFFER_BYTES)
    except (av.error.FFmpegError, ValueError) as error:
        if limits.formats is not None and isinstance(error, av.error.ArgumentError):
            raise UnreadableError(
                f"{name} is in a format that is not read here; allowed: {', '.join(sorted(limits.formats))}"
            ) from error
        raise UnreadableError(f"{name} is not a video that FFmpeg can read: {reason_of(error)}") from error


def _is_film(container: InputContainer, name: str) -> bool:
    """Whether a second picture of the same size follows the first one; closes the container.

    A photo may have a second picture of another size: a thumbnail or a gain map.
    """
    sizes: list[tuple[int, int]] = []
    with container, contextlib.suppress(av.error.FFmpegError):
        stream = _video_stream(container, name)
        check_size(stream.codec_context.width, stream.codec_context.height, name)
        sizes += [(frame.width, frame.height) for frame in islice(container.decode(stream), 2)]
    return len(sizes) == 2 and sizes[0] == sizes[1]


def reason_of(error: Exception) -> str:
    """FFmpeg's message for an error, without its number and file name."""
    return getattr(error, "strerror", None) or str(error)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """The video stream that FFmpeg prefers, never cover art."""
    cover_art = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover_art]
    if not videos:
        kinds = ", ".join(sorted({stream.type or "data" for stream in container.streams})) or "none"
        raise NoVideoError(f"{name} has no video stream; its streams: {kinds}")
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in videos else videos[0]
    if stream.codec_context is None:
        raise UnreadableError(f"{name} has a video stream in a codec without a decoder")
    decoders = decode_limits().decoders
    if decoders is not None and stream.codec_context.name not in decoders:
        raise UnreadableError(
            f"{name} is encoded with {stream.codec_context.name}, which is not read here; allowed: "
            + ", ".join(sorted(decoders))
        )
    stream.codec_context.options = {"max_pixels": str(max_pixels())}
    return stream
