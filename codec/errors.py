"""Errors of the codec layer.

CodecError
├── SourceError            the bytes cannot be read as a video at all
│   ├── UnreadableError    no file, empty file, not a media container, no decoder
│   ├── NoVideoError       a media file without a video stream
│   ├── EncryptedError     the stream is encrypted (Common Encryption)
│   └── NoFramesError      a video stream that yields no picture
├── UnsupportedSizeError   more pixels than allowed, or none
├── BrokenStreamError      decoding stopped in the middle; `.frames` came before the break
├── MotionError            motion was asked from a bitstream that carries none
└── EncodingError          no such encoder, or it refuses its options or the pictures

Every message says what was given and what is allowed.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of every error that reading or making a compressed video raises."""


class SourceError(CodecError):
    """The source is not a video that can be read."""


class UnreadableError(SourceError):
    """The source is missing, empty, not a media container, or has no decoder here."""


class NoVideoError(SourceError):
    """The container holds no video stream."""


class EncryptedError(SourceError):
    """The video stream is encrypted."""


class NoFramesError(SourceError):
    """The video stream yields no picture."""


class UnsupportedSizeError(CodecError):
    """The picture size is outside what is allowed."""


class BrokenStreamError(CodecError):
    """Decoding stopped before the end of the stream.

    Attributes:
        frames: Number of frames that were decoded before the break.
    """

    def __init__(self, message: str, frames: int) -> None:
        super().__init__(message)
        self.frames = frames

    def __reduce__(self) -> tuple[type[BrokenStreamError], tuple[str, int]]:
        """Both arguments, so that the error can be sent from one process to another."""
        return type(self), (str(self), self.frames)


class MotionError(CodecError):
    """Motion was required from a bitstream that exports none."""


class EncodingError(CodecError):
    """There is no such encoder, or it refuses its options or the pictures."""
