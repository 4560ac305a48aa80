"""`keymask probe`: describe what a video's bitstream offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, json_path, progress_bar, text_console, write_json
from service.cli.options import run_options
from service.run.options import RunOptions
from service.run.output_paths import check_paths

if TYPE_CHECKING:
    from vos.probe.forecast import PolicyForecast
    from vos.probe.report import ProbeReport


@run_options("motion")
def probe_command(
    video: Annotated[Path, typer.Argument(help="Any video that FFmpeg reads.", show_default=False)],
    *,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many frames; all by default.")
    ] = None,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Say what a video's bitstream offers: frame types, motion, and what each key-frame policy would save."""
    from codec.errors import BrokenStreamError  # noqa: PLC0415 - av and cv2 are not needed for --help
    from vos.probe.probe import probe  # noqa: PLC0415

    motion = RunOptions.checked(**values).motion
    check_paths((video,), {"--json": json_path(json_file)})
    with progress_bar("reading") as update:
        report = probe(video, motion=motion, max_frames=max_frames, on_progress=lambda done: update(done, max_frames))
    console = text_console(json_file)
    for line in lines(report):
        console.print(line, markup=False)
    write_json(report.as_json(), json_file)
    if report.error is not None:
        raise BrokenStreamError(report.error, report.frames)


def lines(report: ProbeReport) -> Iterator[str]:
    """Yield the lines of the report for people."""
    for name, value in (
        ("video", _video(report)),
        ("time", _time(report)),
        ("frames", _frames(report)),
        ("motion", _motion(report)),
    ):
        yield f"{name:9}{value}"
    yield ""
    yield f"{'policy':9} {'key frames':>10} {'share':>6} {'speed-up':>9}"
    yield from map(_policy, report.forecasts)
    yield ""
    yield from (f"- {sentence}" for sentence in report.advice)


def _video(report: ProbeReport) -> str:
    video = report.video
    profile = f" {video.profile}" if video.profile else ""
    parts = [f"{video.codec}{profile}", video.pixel_format, f"{video.coded_width}x{video.coded_height}"]
    if video.rotation or video.mirrored:
        mirrored = ", mirrored" if video.mirrored else ""
        parts.append(f"shown as {video.display_width}x{video.display_height} (turned {video.rotation}°{mirrored})")
    if video.sample_aspect_ratio != 1:
        parts.append(f"pixel aspect {video.sample_aspect_ratio}")
    if video.clean_aperture is not None:
        parts.append("clean aperture {2}x{3} at {0},{1}".format(*video.display_clean_aperture))
    return ", ".join(parts)


def _time(report: ProbeReport) -> str:
    if report.fps is None or report.duration_seconds is None:
        return "no presentation times"
    rate = "constant" if report.constant_rate else "variable"
    return f"{report.duration_seconds:.2f} s, {report.fps:.3f} frames per second, {rate} rate"


def _frames(report: ProbeReport) -> str:
    shares = ", ".join(f"{kind} {count / report.frames:.0%}" for kind, count in report.types.items())
    header = report.video.frames_from_header
    said = f" ({header} by the header)" if header not in (None, report.frames) else ""
    gops = {True: "open", False: "closed", None: ""}[report.open_gop]
    return (
        f"{report.frames}{said}: {shares}; an I frame every {report.mean_gop_length:.1f} frames, "
        f"{f'{gops} GOPs, ' if gops else ''}first {report.first_gop}"
    )


def _motion(report: ProbeReport) -> str:
    if report.motion_coverage is None:
        return f"from {report.video.motion_source}: none"
    return (
        f"from {report.video.motion_source}: {report.motion_coverage:.1%} of predicted frames' area has vectors, "
        f"{report.intra_share:.1%} is intra coded"
    )


def _policy(forecast: PolicyForecast) -> str:
    about = "~" if forecast.estimated else ""
    keys, times = f"{about}{forecast.key_frames}", f"{about}{forecast.speedup:.1f}x"
    return f"{forecast.policy:9} {keys:>10} {forecast.key_share:>6.0%} {times:>9}"
