"""Counts what the bitstream offered while its frames pass by on their way to the segmenter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from codec.types import CompressedFrame, FrameType, VideoInfo


class CodecTally:
    """Adds up frame types and motion coverage."""

    def __init__(self) -> None:
        self._types: Counter[FrameType] = Counter()
        self._coverage = 0.0

    def watch(self, frames: Iterable[CompressedFrame]) -> Iterator[CompressedFrame]:
        """Pass frames on, counting them."""
        for frame in frames:
            self._types[frame.type] += 1
            if frame.type is not FrameType.I:
                self._coverage += frame.motion.coverage
            yield frame

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self._types.total()

    def report(self, info: VideoInfo) -> dict[str, Any]:
        """The part of a report that describes the bitstream.

        `motion_coverage` is the mean share of a P or B frame that has vectors, `intra_share` the rest; None without
        such frames.
        """
        predicted = self._types[FrameType.P] + self._types[FrameType.B]
        coverage = self._coverage / predicted if predicted else None
        return {
            "codec": info.codec,
            "pixel_format": info.pixel_format,
            "width": info.display_width,
            "height": info.display_height,
            "rotation": info.rotation,
            "mirrored": info.mirrored,
            "sample_aspect_ratio": str(info.sample_aspect_ratio),
            "fps": float(info.average_rate) if info.average_rate else None,
            "analysis_width": info.analysis_width,
            "analysis_height": info.analysis_height,
            "motion_source": str(info.motion_source),
            "frames_read": self.frames,
            "frame_types": {str(kind): self._types[kind] for kind in FrameType},
            "motion_coverage": None if coverage is None else round(coverage, 4),
            "intra_share": None if coverage is None else round(1 - coverage, 4),
        }
