"""The pictures of the source a second time, in step with the masks, at full size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av

from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.decode.timeline import Timeline
from codec.demux.picture_files import find_pictures
from codec.demux.source import VideoFile
from codec.errors import CodecError
from codec.reader import presented_pictures
from service.errors import RunError


class SourcePictures(Protocol):
    """Pictures of a source from front to back.

    Attributes:
        time_base: Unit in which their times are whole numbers.
        timeline: Where they lie in time.
    """

    time_base: Fraction
    timeline: Timeline

    def first(self) -> av.VideoFrame:
        """Return the first picture without consuming it."""

    def picture(self, index: int) -> PresentedPicture:
        """Return the picture with this presentation index; indices must ascend.

        Raises:
            RunError: The source ended before it.
        """

    def next_time(self) -> float | None:
        """Return the seconds at which the picture after the latest one begins; None if there is none."""

    def close(self) -> None:
        """Close the source."""


def open_source(source: Path | BinaryIO, rate: Fraction | None) -> SourcePictures:
    """Open a video file, or a folder of pictures with a number of pictures per second."""
    if isinstance(source, Path) and source.is_dir():
        return FolderPictures(source, rate or Fraction(24))
    return FilePictures(source)


class FilePictures:
    """Decodes the video stream of a file."""

    def __init__(self, source: Path | BinaryIO) -> None:
        self._decoder = VideoDecoder(VideoFile(source), vectors=False)
        self._pictures = presented_pictures(self._decoder)
        self.timeline = self._decoder.timeline
        self.time_base = self.timeline.time_base

    def first(self) -> av.VideoFrame:
        """Decode the first picture; later calls of `picture` return it too."""
        return self._decoder.peek().frame

    def picture(self, index: int) -> PresentedPicture:
        """Decode up to the picture with this presentation index."""
        for picture in self._pictures:
            if picture.index == index:
                return picture
        raise RunError(f"frame {index} has a mask, but the overlay's own decode of the video ended before it")

    def next_time(self) -> float | None:
        """Decode one more picture and return its time."""
        try:
            following = next(self._pictures, None)
        except CodecError:
            return None
        return None if following is None else following.time

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()


class FolderPictures:
    """Reads the picture files of a folder."""

    def __init__(self, folder: Path, rate: Fraction) -> None:
        self._files = find_pictures(folder)
        self._pictures = enumerate(self._files)
        self._rate = rate
        self.time_base = 1 / rate
        self.timeline = Timeline(self.time_base, rate)

    def first(self) -> av.VideoFrame:
        """Read the first picture."""
        return av.VideoFrame.from_ndarray(next(iter(self._files)), format="rgb24")

    def picture(self, index: int) -> PresentedPicture:
        """Read up to the picture with this index."""
        for number, picture in self._pictures:
            if number == index:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                return PresentedPicture(frame, index, float(index / self._rate), None)
        raise RunError(f"frame {index} has a mask, but the folder has no further picture")

    def next_time(self) -> float | None:
        """None: there is no audio to end with the last picture."""
        return None

    def close(self) -> None:
        """Nothing is open between pictures."""
