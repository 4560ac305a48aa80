"""Count what the bitstream offers while its frames pass on their way to the segmenter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from codec.types import CompressedFrame, FrameType, MotionSource, VideoInfo


class BitstreamStats:
    """Frame types and motion coverage of the frames so far."""

    def __init__(self) -> None:
        self._types: Counter[FrameType] = Counter()
        # A frame does not say where its motion comes from, so each source is counted.
        self._predicted: Counter[MotionSource] = Counter()
        self._coverage = dict.fromkeys(MotionSource, 0.0)
        self._first_time, self._last_time = math.inf, -math.inf

    def count(self, frames: Iterable[CompressedFrame]) -> Iterator[CompressedFrame]:
        """Count frames and pass them on."""
        for frame in frames:
            self._types[frame.type] += 1
            self._first_time, self._last_time = min(self._first_time, frame.time), max(self._last_time, frame.time)
            sources = [source for source in MotionSource if frame.is_predicted(source)]
            coverage = frame.motion.coverage if sources else 0.0
            for source in sources:
                self._predicted[source] += 1
                self._coverage[source] += coverage
            yield frame

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self._types.total()

    def seconds(self, rate: Fraction | None) -> float | None:
        """Return the time from the first frame to the end of the last one, given the rate; None without frames."""
        return self._last_time - self._first_time + (float(1 / rate) if rate else 0.0) if self.frames else None

    def to_json(self, info: VideoInfo) -> dict[str, Any]:
        """Return the report's part on the bitstream.

        `motion_coverage` is the mean share of a predicted frame that has vectors, `intra_share` the rest; both are None
        without predicted frames. P and B frames are predicted, and with the proxy every frame but the first.
        """
        predicted = self._predicted[info.motion_source]
        coverage = self._coverage[info.motion_source] / predicted if predicted else None
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
