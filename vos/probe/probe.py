"""Probe a video: decode it once and report what its bitstream offers. No network is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import mean

from codec.demux.source import VideoSource
from codec.errors import BrokenStreamError
from codec.reader import open_video
from codec.types import CompressedFrame, FrameType, MotionSource, VideoInfo
from vos.probe.forecast import KeyframeForecast
from vos.probe.report import ProbeReport

_SAME_INTERVAL_SECONDS = 0.002
"""Frame intervals that differ by less count as equal, since containers round times to milliseconds."""
_PATTERN_LENGTH = 60


def probe(
    source: VideoSource,
    *,
    motion: str = "auto",
    max_frames: int | None = None,
    on_progress: Callable[[int], None] = lambda _frames: None,
) -> ProbeReport:
    """Decode a video and report what its bitstream offers.

    Args:
        source: As for `open_video`.
        motion: As for `open_video`.
        max_frames: Stop after this many frames; None reads the whole stream.
        on_progress: Called with the number of frames read so far.

    Raises:
        CodecError: As `open_video`. A stream that breaks off in the middle is reported instead.
        ValueError: `max_frames` is below 1.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames is {max_frames}; it must be at least 1")
    error, complete = None, True
    with open_video(source, motion=motion) as reader:
        tally = _Tally(reader.info.motion_source)
        try:
            for frame in reader:
                if tally.frames == max_frames:
                    complete = False
                    break
                tally.add(frame)
                on_progress(tally.frames)
        except BrokenStreamError as broken:
            error, complete = str(broken), False
        return tally.report(reader.info, error=error, complete=complete)


class _Tally:
    """Collects a few numbers per frame, in decode order, for the report."""

    def __init__(self, motion_source: MotionSource) -> None:
        self._source = motion_source
        self.frames = 0
        self._types: list[tuple[int, FrameType]] = []
        self._times: list[float] = []
        self._coverage: list[float] = []
        self._last_intra = -1
        self._leading = False
        self._forecast = KeyframeForecast()

    def add(self, frame: CompressedFrame) -> None:
        self.frames += 1
        self._types.append((frame.index, frame.type))
        if frame.pts is not None:
            self._times.append(frame.time)
        if frame.type is FrameType.I:
            self._last_intra = frame.index
        self._leading |= frame.index < self._last_intra
        if frame.is_predicted(self._source):
            self._coverage.append(frame.motion.coverage)
        self._forecast.add(frame)

    def report(self, info: VideoInfo, *, error: str | None, complete: bool) -> ProbeReport:
        kinds = [kind for _, kind in sorted(self._types)]
        counts = Counter(kinds)
        coverage = mean(self._coverage) if self._coverage else None
        intervals = list(_intervals(sorted(self._times)))
        span = sum(intervals)
        sees_order = self._source is MotionSource.BITSTREAM and counts[FrameType.I] > 1
        return ProbeReport(
            video=info,
            frames=self.frames,
            complete=complete,
            error=error,
            fps=len(intervals) / span if span > 0 else None,
            constant_rate=max(intervals) - min(intervals) < _SAME_INTERVAL_SECONDS if span > 0 else None,
            duration_seconds=span * (1 + 1 / len(intervals)) if span > 0 else None,
            types={kind: counts[kind] for kind in FrameType},
            mean_gop_length=self.frames / max(1, counts[FrameType.I]),
            first_gop=_first_gop(kinds),
            open_gop=self._leading if sees_order else None,
            motion_coverage=coverage,
            intra_share=None if coverage is None else 1 - coverage,
            forecasts=self._forecast.result(),
        )


def _intervals(times: list[float]) -> Iterator[float]:
    return (after - before for before, after in pairwise(times))


def _first_gop(kinds: list[FrameType]) -> str:
    text = "".join(kinds)
    second = text.find(FrameType.I, 1)
    return text[: min(second if second > 0 else len(text), _PATTERN_LENGTH)]
