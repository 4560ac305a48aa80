"""A video with the settings by which its frames are read, so that every walk through it sees the same frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from codec.decode.seeking import Timestamps
from codec.reader import VideoReader
from codec.types import CompressedFrame, VideoInfo
from service.run.source.video_input import Video, is_file, open_backwards_input, open_input

FrameCallback: TypeAlias = Callable[[CompressedFrame], None]
"""Called with each frame before it is segmented; it may raise to stop the run."""


@dataclass(frozen=True, slots=True, eq=False)
class AnalyzedVideo:
    """A video and how it is read.

    Attributes:
        video: The video.
        timestamps: Timestamps of all frames; None if only decoding tells.
        short_side: Limit for the shorter side of the analysis size in pixels.
        max_side: Limit for the longer side in pixels, None for no limit.
        motion: Where motion comes from, see `codec.reader.open_video`.
    """

    video: Video
    timestamps: Timestamps | None
    short_side: int
    max_side: int | None
    motion: str

    @property
    def is_shared(self) -> bool:
        """Whether several readers can be open at a time, as of all videos but open files."""
        return isinstance(self.video, str | os.PathLike | bytes) or not is_file(self.video)

    def open(self, first: int = 0) -> tuple[VideoReader, list[str]]:
        """Open the video to be read forwards from a frame on; return the reader and notes for the user.

        Raises:
            CodecError: The video cannot be read.
        """
        return open_input(
            self.video,
            short_side=self.short_side,
            max_side=self.max_side,
            motion=self.motion,
            first=first,
            timestamps=self.timestamps,
        )

    def open_backwards(self, first: int, last: int) -> VideoReader:
        """Open the video to be read from one frame back to another.

        Raises:
            CodecError: The video cannot be read.
        """
        return open_backwards_input(
            self.video,
            first,
            last,
            timestamps=self.timestamps,
            short_side=self.short_side,
            max_side=self.max_side,
        )

    def info(self) -> VideoInfo:
        """Return the properties of the video."""
        with closing(self.open()[0]) as reader:
            return reader.info

    def frame(self, index: int) -> CompressedFrame:
        """Read one frame."""
        with closing(self.open(index)[0]) as reader:
            return next(frame for frame in reader if frame.index == index)
