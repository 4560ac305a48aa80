"""What a probe found, for programs and in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from codec.types import FrameType, MotionSource, VideoInfo
from vos.probe.forecast import KEY_FRAME_COST, PROPAGATED_FRAME_COST, PolicyForecast

MUCH_INTRA = 0.15
"""Intra share of P and B frames from which masks are expected to drift soon."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a video's bitstream offers.

    Attributes:
        video: What is known before the first frame.
        frames: Frames that decoding gave.
        complete: Whether the stream was read to its end; False after `max_frames` or a break.
        error: Why decoding stopped in the middle, None if it did not.
        fps: Frames per second, measured from presentation times; None where there are none to measure.
        constant_rate: Whether all frame intervals are equal; None where there are no presentation times.
        duration_seconds: From the first frame to the end of the last, measured; None as for `fps`.
        types: Number of frames of each type.
        mean_gop_length: Frames an I frame, on average.
        first_gop: Types in presentation order from the first frame to before the second I frame, at most 60.
        open_gop: Whether frames are shown before the I frame that precedes them in decode order; None where it cannot
            be seen: with a single I frame, or with motion from a proxy, which reads in presentation order.
        motion_coverage: Mean share of a predicted frame's cells with a vector; None without such frames. Predicted are
            P and B frames, and in a proxy all but the first.
        intra_share: The rest: mean share without a vector.
        forecasts: Expected key frames and speed-up, one entry a policy.
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
        """What the numbers mean for whoever needs_refinement masks, one sentence an entry."""
        parts = (_on_damage, _on_motion, _on_policies, _on_times, _on_geometry)
        return tuple(sentence for part in parts for sentence in part(self))

    def as_json(self) -> dict[str, Any]:
        """The report in JSON's types."""
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
        yield f"The stream breaks off: {report.error}. Masks can be had for the {report.frames} frames before."
    elif not report.complete:
        yield f"Only the first {report.frames} frames were read; shares and rates are theirs."
    header = report.video.frames_from_header
    if report.complete and header is not None and header != report.frames:
        yield f"The header promises {header} frames, decoding gives {report.frames}; masks follow what is decoded."


def _on_motion(report: ProbeReport) -> Iterator[str]:
    if report.video.motion_source is MotionSource.PROXY:
        yield (
            f"This {report.video.codec} stream gives no motion vectors: they are taken from an H.264 copy that is made "
            "on the fly."
        )
    if report.frames > 1 and report.motion_coverage is None and report.video.motion_source is MotionSource.BITSTREAM:
        yield "All frames are intra coded, so there is no motion to propagate masks along; motion 'proxy' makes some."
    if report.intra_share is not None and report.intra_share >= MUCH_INTRA:
        yield (
            f"{report.intra_share:.0%} of the area of predicted frames has no motion vector: fast or noisy motion or "
            "fades, where masks drift sooner."
        )


def _on_policies(report: ProbeReport) -> Iterator[str]:
    if report.frames > 1 and not report.types[FrameType.B]:
        yield "There are no B frames: the codec policy would run the network on every frame and save nothing."
    best = max(report.forecasts, key=lambda forecast: forecast.speedup)
    adaptive = next(forecast for forecast in report.forecasts if forecast.policy == "adaptive")
    yield (
        f"With adaptive keys expect the network to run on about {adaptive.key_share:.0%} of the frames, and the whole "
        f"to be about {adaptive.speedup:.1f} times as fast as with the network on every frame."
    )
    if best.speedup > 1.5 * adaptive.speedup:
        yield f"{best.policy} would be faster still ({best.speedup:.1f} times), at a loss of accuracy in such motion."


def _on_times(report: ProbeReport) -> Iterator[str]:
    if report.constant_rate is False:
        yield "The frame rate varies: match masks to frames by index or presentation time, not by number over rate."
    if report.frames > 1 and report.constant_rate is None:
        yield "The stream propagates no presentation times: frames are told apart by their index alone."


def _on_geometry(report: ProbeReport) -> Iterator[str]:
    video = report.video
    if video.rotation or video.mirrored:
        turned = f"turned by {video.rotation} degrees" if video.rotation else ""
        how = " and ".join(part for part in (turned, "mirrored" if video.mirrored else "") if part)
        yield (
            f"Players show the picture {how}: masks go in and come out like that, in {video.display_width}x"
            f"{video.display_height} pixels."
        )
    if video.sample_aspect_ratio != 1:
        yield f"Pixels are not square ({video.sample_aspect_ratio}): masks are in pixels and are not stretched."
