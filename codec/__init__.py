"""Compressed video -> typed frames with their motion, references and residual."""

from codec.errors import (
    BrokenStreamError,
    CodecError,
    EncryptedError,
    MotionError,
    NoFramesError,
    NoVideoError,
    SourceError,
    UnreadableError,
    UnsupportedSizeError,
)
from codec.reader import VideoReader, open_pictures, open_video
from codec.types import STRIDE, CompressedFrame, FrameType, MotionField, MotionSource, VideoInfo

__all__ = [
    "STRIDE",
    "BrokenStreamError",
    "CodecError",
    "CompressedFrame",
    "EncryptedError",
    "FrameType",
    "MotionError",
    "MotionField",
    "MotionSource",
    "NoFramesError",
    "NoVideoError",
    "SourceError",
    "UnreadableError",
    "UnsupportedSizeError",
    "VideoInfo",
    "VideoReader",
    "open_pictures",
    "open_video",
]
