"""Read compressed video as typed frames with motion vectors, references and residual.

Frames come in decode order:

    with codec.open_video("clip.mp4") as video:
        for frame in video:
            print(frame.index, frame.type, frame.motion.coverage)
"""

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
from codec.picture_sequence import open_pictures
from codec.reader import VideoReader, open_video
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
