"""The result of a probe, as values and as advice in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from codec.types import FrameType, MotionSource, VideoInfo
from vos.probe.forecast import KEY_FRAME_COST, PROPAGATED_FRAME_COST, PolicyForecast

MUCH_INTRA = 0.15
"""Intra share of predicted frames at which masks are expected to drift soon."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Properties of a video's bitstream.

    Attributes:
        video: Properties known before the first frame.
        frames: Decoded frames.
        complete: Whether the stream was read to its end; False after `max_frames` or a decoding error.
        error: Why decoding stopped early; None if it did not.
        fps: Frames per second, measured from presentation times; None without such times.
        constant_rate: Whether all frame intervals are equal; None without presentation times.
        duration_seconds: From the first frame to the end of the last, measured; None as for `fps`.
        types: Number of frames of each type.
        mean_gop_length: Mean number of frames per I frame.
        first_gop: Frame types in presentation order up to the second I frame, at most 60.
        open_gop: Whether frames are shown before the I frame that precedes them in decode order. None if it cannot be
            determined: with a single I frame, or with a motion proxy, which reads in presentation order.
        motion_coverage: Mean share of cells with a motion vector in predicted frames; None without such frames.
            Predicted frames are P and B frames, and all but the first in a motion proxy.
        intra_share: Mean share of cells without a motion vector in predicted frames; None as for `motion_coverage`.
        forecasts: Expected key frames and speed-up, one entry per policy.
    """

    video: VideoInfo
    frames: int
    complete: bool
    error: str | None
    fps: float | None
    constant_rate: bool | None
    duration_seconds: float | None
    types: dict[FrameType, int]
    mean_gop_length: float
    first_gop: str
    open_gop: bool | None
    motion_coverage: float | None
    intra_share: float | None
    forecasts: tuple[PolicyForecast, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """Consequences of the numbers for segmentation, one sentence per entry."""
        parts = (_on_damage, _on_motion, _on_policies, _on_times, _on_geometry)
        return tuple(sentence for part in parts for sentence in part(self))

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-compatible types."""
        video = asdict(self.video) | {
            "display_width": self.video.display_width,
            "display_height": self.video.display_height,
            "sample_aspect_ratio": str(self.video.sample_aspect_ratio),
            "average_rate": float(self.video.average_rate) if self.video.average_rate else None,
            "motion_source": str(self.video.motion_source),
        }
        rest = asdict(self)
        rest |= {
            "video": video,
            "types": {str(kind): count for kind, count in self.types.items()},
            "advice": list(self.advice),
            "cost_model": {"key_frame": KEY_FRAME_COST, "propagated_frame": PROPAGATED_FRAME_COST},
        }
        return rest


def _on_damage(report: ProbeReport) -> Iterator[str]:
    if report.error is not None:
        yield f"The stream breaks off: {report.error}. The {report.frames} frames before the break can be segmented."
    elif not report.complete:
        yield f"Only the first {report.frames} frames were read, and all shares and rates refer to them."
    header = report.video.frames_from_header
    if report.complete and header is not None and header != report.frames:
        yield f"The header promises {header} frames, but {report.frames} were decoded; each of them gets a mask."


def _on_motion(report: ProbeReport) -> Iterator[str]:
    if report.video.motion_source is MotionSource.PROXY:
        yield (
            f"This {report.video.codec} stream gives no motion vectors. They are taken from a motion proxy, an H.264 "
            "copy made during decoding."
        )
    if report.frames > 1 and report.motion_coverage is None and report.video.motion_source is MotionSource.BITSTREAM:
        yield "All frames are intra coded, so masks cannot be propagated; motion 'proxy' makes motion vectors."
    if report.intra_share is not None and report.intra_share >= MUCH_INTRA:
        yield (
            f"{report.intra_share:.0%} of the area of predicted frames has no motion vector, because of fast motion, "
            "noise or fades. Masks drift sooner there."
        )


def _on_policies(report: ProbeReport) -> Iterator[str]:
    if report.frames > 1 and not report.types[FrameType.B]:
        yield "There are no B frames: the codec policy would segment every frame and save nothing."
    best = max(report.forecasts, key=lambda forecast: forecast.speedup)
    adaptive = next(forecast for forecast in report.forecasts if forecast.policy == "adaptive")
    yield (
        f"With adaptive keys expect about {adaptive.key_share:.0%} key frames, and a run about {adaptive.speedup:.1f} "
        "times as fast as with the base network on every frame."
    )
    if best.speedup > 1.5 * adaptive.speedup:
        yield f"{best.policy} would be faster still ({best.speedup:.1f} times), but less accurate with this motion."


def _on_times(report: ProbeReport) -> Iterator[str]:
    if report.constant_rate is False:
        yield "The frame rate varies: match masks to frames by index or presentation time, not by rate."
    if report.frames > 1 and report.constant_rate is None:
        yield "The stream has no presentation times: only the index identifies a frame."


def _on_geometry(report: ProbeReport) -> Iterator[str]:
    video = report.video
    if video.rotation or video.mirrored:
        rotated = f"rotated by {video.rotation} degrees" if video.rotation else ""
        how = " and ".join(part for part in (rotated, "mirrored" if video.mirrored else "") if part)
        yield (
            f"Players show the picture {how}. Masks are read and written in this orientation, in "
            f"{video.display_width}x{video.display_height} pixels."
        )
    if video.sample_aspect_ratio != 1:
        yield (
            f"Pixels are not square ({video.sample_aspect_ratio}): masks are in pixels and are not stretched. A prompt "
            "mask of the size that players show is scaled."
        )
    if video.clean_aperture is not None:
        x, y, width, height = video.display_clean_aperture
        yield (
            f"Players show {width}x{height} pixels from {x},{y} (clean aperture); masks cover the whole picture. A "
            "prompt mask of the size that players show is placed there."
        )
