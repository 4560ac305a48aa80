"""Inspection of uploads: what is accepted, for which reason a video is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.problems import ProblemError
from service.run.options import JobOptions
from service.sandbox.inspection import UploadLimits, inspect_job, probe_upload
from tests.support.media import broken, write_mask
from tests.support.odd_streams import ODD_STREAMS, cut_before, encrypted, h264, with_stated_seconds
from tests.support.synthetic import encode, pan, x264

LIMITS = UploadLimits(pixels=1_000_000, frames=1000, seconds=60.0, objects=3)


def test_a_header_that_overstates_the_duration_is_accepted(tmp_path: Path) -> None:
    """A job is not refused for a duration that only its header has, even beyond the limit of seconds."""
    mask = write_mask(tmp_path / "mask.png", 160, 96)
    (tmp_path / "video").write_bytes(with_stated_seconds(h264("matroska", bframes=2), "matroska", 5000.0))
    video = inspect_job(tmp_path / "video", mask, JobOptions(), LIMITS).video
    assert video.frames == 24
    assert video.duration == pytest.approx(24 / 25, abs=0.1)


@pytest.mark.parametrize("container", ["avi", "flv"])
def test_missing_bytes_are_refused(tmp_path: Path, container: str) -> None:
    """A file that ends in the middle of a frame is cut off."""
    whole = ODD_STREAMS["flv"].make() if container == "flv" else ODD_STREAMS["mpeg4 with B"].make()
    mask = write_mask(tmp_path / "mask.png", 160, 96)
    (tmp_path / "video").write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(ProblemError, match="the video is cut off: ") as caught:
        inspect_job(tmp_path / "video", mask, JobOptions(), LIMITS)
    assert caught.value.kind == "video-truncated"


def test_options_are_compared_with_the_frames_that_are_shown(tmp_path: Path) -> None:
    """In a stream cut between key frames, frames count from the first key frame."""
    whole = encode(pan(40, (64, 48)).frames, "libx264", x264(bframes=2, keyint=12), container="mpegts")
    (tmp_path / "video").write_bytes(cut_before(whole, 14, "mpegts"))
    mask = write_mask(tmp_path / "mask.png")
    assert inspect_job(tmp_path / "video", mask, JobOptions(prompt_frame=15), LIMITS).video.frames == 16
    with pytest.raises(ProblemError, match="prompt_frame is 16; it must be less than 16"):
        inspect_job(tmp_path / "video", mask, JobOptions(prompt_frame=16), LIMITS)


def test_a_probe_names_the_true_reason(tmp_path: Path) -> None:
    """Of an encrypted video and of a damaged one."""
    (tmp_path / "encrypted").write_bytes(encrypted())
    with pytest.raises(ProblemError, match="the video is encrypted"):
        probe_upload(tmp_path / "encrypted", LIMITS)
    (tmp_path / "broken").write_bytes(broken(h264("matroska", bframes=0), 12))
    report = probe_upload(tmp_path / "broken", LIMITS)
    assert report["frames"] == 12
    assert report["error"].startswith("the video is damaged: decoding stopped after 12 frames")
