"""Errors of the codec layer.

CodecError
├── SourceError            the source is not a readable video
│   ├── UnreadableError    no file, empty file, not a media container, or no decoder
│   ├── NoVideoError       no video stream
│   ├── EncryptedError     encrypted video stream (Common Encryption)
│   └── NoFramesError      no picture in the video stream
├── UnsupportedSizeError   picture size not allowed
├── BrokenStreamError      decoding stopped early, after `.frames` frames
├── NoSuchFrameError       the video has fewer frames
├── MotionError            unknown motion source, or a bitstream without motion vectors
└── EncodingError          unknown encoder, or it rejects its options or the pictures

Every message says what was given and what is allowed.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base class of all errors in reading and encoding video."""


class SourceError(CodecError):
    """The source is not a readable video."""


class UnreadableError(SourceError):
    """The source is missing, empty, not a media container, or has no decoder."""


class NoVideoError(SourceError):
    """The container has no video stream."""


class EncryptedError(SourceError):
    """The video stream is encrypted."""


class NoFramesError(SourceError):
    """The video stream has no picture that can be decoded."""


class UnsupportedSizeError(CodecError):
    """The picture size is not allowed."""


class BrokenStreamError(CodecError):
    """Decoding stopped before the end of the stream.

    Attributes:
        frames: Number of frames decoded before the break.
    """

    def __init__(self, message: str, frames: int) -> None:
        super().__init__(message)
        self.frames = frames

    def __reduce__(self) -> tuple[type[BrokenStreamError], tuple[str, int]]:
        """Pickle both arguments, so that the error can cross processes."""
        return type(self), (str(self), self.frames)


class NoSuchFrameError(CodecError):
    """The video ends before the frame that was asked for.

    Attributes:
        frames: Number of frames of the video.
    """

    def __init__(self, message: str, frames: int = 0) -> None:
        super().__init__(message)
        self.frames = frames


class MotionError(CodecError):
    """The motion source is unknown, or the bitstream exports no motion vectors."""


class EncodingError(CodecError):
    """The encoder is unknown, or it rejects its options or the pictures."""
