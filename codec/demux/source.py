"""Open a source and make sure that it is a video which may be read: one file, one video stream, one decoder.

FFmpeg is given a file object without a name and no protocol, so that nothing a file contains (a playlist, a reference
to another file, an address) makes it open anything else.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from codec.demux.packets import Packets
from codec.errors import NoVideoError, UnreadableError, UnsupportedSizeError

VideoSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO

MAX_PIXELS = 36_000_000
"""Largest picture in pixels: 8K (7680 x 4320) and a little."""

_LISTS = frozenset(("hls", "concat", "dash", "imf", "sdp", "rtsp", "webm_dash_manifest", "vapoursynth", "tty", "lavfi"))
_STILLS = frozenset(("image2", "image2pipe", "ico", "fits", "dds_pipe"))
_BUFFER = 1 << 18
_HEAD = 256


class VideoFile:
    """A video file, opened and checked.

    Attributes:
        name: What messages call the source.
        container: FFmpeg's demuxer.
        formats: Its names, such as "mov" and "mp4".
        stream: The video stream: FFmpeg's choice, never a cover picture.
        packets: The stream's packets in decode order, each once.
        size: Bytes of the file.
        head: The first 256 of them.
    """

    def __init__(self, source: VideoSource) -> None:
        self._file, self.name, self._owned = _as_file(source)
        try:
            self._file.seek(0, os.SEEK_END)
            self.size = self._file.tell()
            self._file.seek(0)
            self.head = self._file.read(_HEAD)
            self._file.seek(0)
            self.container = _open(self._file, self.name)
            self.formats = frozenset(self.container.format.name.split(","))
            try:
                self.stream = _video_stream(self.container, self.name)
                check_size(self.stream.codec_context.width, self.stream.codec_context.height, self.name)
                self.packets = Packets(self.container, self.stream)
            except BaseException:
                self.container.close()
                raise
        except BaseException:
            self._close_file()
            raise

    def close(self) -> None:
        """Close the demuxer, and the file if it was opened here."""
        self.container.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._owned:
            self._file.close()


def check_size(width: int, height: int, name: str) -> None:
    """Refuse pictures of more than `MAX_PIXELS`.

    Raises:
        UnsupportedSizeError: The picture is too large.
    """
    if width * height > MAX_PIXELS:
        raise UnsupportedSizeError(
            f"{name} has pictures of {width}x{height}; at most {MAX_PIXELS / 1e6:g} million pixels are allowed"
        )


class _Nameless:
    """The reading half of a file object and nothing else: from a `name` FFmpeg would guess formats."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _as_file(source: VideoSource) -> tuple[BinaryIO, str, bool]:
    """The source as a file object, its name for messages, and whether it has to be closed here."""
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise UnreadableError("the video is empty: 0 bytes")
        return io.BytesIO(source), f"the video of {len(source)} bytes", True
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source)), f"'{os.fspath(source)}'", True
    if not all(hasattr(source, method) for method in ("read", "seek", "tell")):
        raise TypeError(
            f"a video is given as a path, as bytes or as a seekable binary file object; given: {type(source).__name__}"
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
    try:
        options = {"protocol_whitelist": "none"}
        container = av.open(cast(BinaryIO, _Nameless(file)), "r", options=options, buffer_size=_BUFFER)
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableError(f"{name} is not a video that FFmpeg can read: {reason_of(error)}") from error
    formats = set(container.format.name.split(","))
    if formats & _LISTS:
        container.close()
        raise UnreadableError(
            f"{name} is a text or a list of other files ({container.format.name}); give the video itself"
        )
    if formats & _STILLS or container.format.name.endswith("_pipe"):
        container.close()
        raise UnreadableError(f"{name} is a still picture ({container.format.name}); a video is expected")
    return container


def reason_of(error: Exception) -> str:
    """FFmpeg's words for an error, without its number and file name."""
    return getattr(error, "strerror", None) or str(error)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """FFmpeg's choice of video stream, never a cover picture."""
    pictures = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not videos:
        kinds = ", ".join(sorted({stream.type or "data" for stream in container.streams})) or "none"
        raise NoVideoError(f"{name} has no video stream; its streams: {kinds}")
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in videos else videos[0]
    if stream.codec_context is None:
        raise UnreadableError(f"{name} has a video stream in a codec that no decoder here reads")
    return stream
