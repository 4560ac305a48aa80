"""The probe reports the known structure of clips."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest

from codec import UnreadableError
from codec.types import FrameType
from tests.support.odd_streams import ODD_STREAMS, h264, with_stream
from tests.support.synthetic import alternating, encode, pan, x264
from vos.keyframes.policy import REFINED
from vos.probe.forecast import PROPAGATED_FRAME_COST, speedup
from vos.probe.probe import probe
from vos.probe.report import ProbeReport


def forecast(report: ProbeReport, policy: str) -> tuple[int, float]:
    """Return the key frames and the key share of one policy."""
    return next((entry.key_frames, entry.key_share) for entry in report.forecasts if entry.policy == policy)


def decoded_types(data: bytes) -> str:
    """Return the frame types in presentation order, decoded by PyAV."""
    with av.open(io.BytesIO(data)) as container:
        return "".join("?IPB"[int(frame.pict_type)] for frame in container.decode(video=0))


def test_the_report_shows_the_encoder_settings() -> None:
    """Frame types, GOP length and pattern follow the settings of x264, and so do the key frames per policy."""
    data = h264(bframes=2, b_adapt=0, keyint=12, min_keyint=12)
    report = probe(data)
    types = decoded_types(data)
    assert types == "IBBPBBPBBPBP" * 2
    assert report.first_gop == types[:12]
    assert report.mean_gop_length == 12
    assert report.open_gop is False
    assert report.types == {kind: types.count(kind) for kind in FrameType}
    assert (report.frames, report.complete, report.error) == (24, True, None)
    assert forecast(report, "codec") == (10, pytest.approx(10 / 24))
    assert forecast(report, "every:5") == (5, pytest.approx(5 / 24))
    assert forecast(report, "every:10") == (3, pytest.approx(3 / 24))


def test_open_and_closed_gops_are_distinguished() -> None:
    """A GOP is open if frames are shown before the I frame that precedes them; a single I frame leaves it unknown."""
    assert probe(ODD_STREAMS["open gop"].make()).open_gop is True
    assert probe(h264()).open_gop is None


def test_motion_coverage_is_the_share_of_area_with_vectors() -> None:
    """Motion coverage and intra share equal those of FFmpeg's exported blocks, painted one by one."""
    data = encode(alternating(10, (160, 96)).frames, "libx264", x264(ref=1, bframes=0))
    shares = []
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options, stream.codec_context.thread_count = {"flags2": "+export_mvs"}, 1
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            if int(frame.pict_type) == 1:
                continue
            painted = np.zeros((96, 160), bool)
            for block in [] if vectors is None else vectors.to_ndarray():
                x, y = block["dst_x"] - block["w"] // 2, block["dst_y"] - block["h"] // 2
                painted[max(y, 0) : y + block["h"], max(x, 0) : x + block["w"]] = True
            shares.append(painted.mean())
    assert len(shares) == 9
    assert 0 < np.mean(shares) < 1
    report = probe(data)
    assert report.motion_coverage == pytest.approx(np.mean(shares), abs=0.002)
    assert report.intra_share == pytest.approx(1 - np.mean(shares), abs=0.002)


def test_frame_rate_and_duration_are_measured() -> None:
    """They come from presentation times, and a variable rate is distinguished from a constant one."""
    constant = probe(h264())
    assert constant.constant_rate is True
    assert constant.fps == pytest.approx(25)
    assert constant.duration_seconds == pytest.approx(24 / 25)
    assert probe(ODD_STREAMS["variable rate"].make()).constant_rate is False
    timeless = probe(ODD_STREAMS["missing pts"].make())
    assert (timeless.fps, timeless.constant_rate, timeless.duration_seconds) == (None, None, None)


def test_a_still_scene_needs_fewer_key_frames_than_noise() -> None:
    """A still scene takes one key frame per longest gap, and noise takes more than every second frame."""
    still = probe(encode(np.repeat(pan(1).frames, 10, axis=0), "libx264", x264(bframes=0)))
    assert forecast(still, "adaptive")[0] == 1 + (still.frames - 1) // REFINED["balanced"].longest_gap
    noise = np.random.default_rng(0).integers(0, 256, (10, 96, 160, 3), dtype=np.uint8)
    assert forecast(probe(encode(noise, "libx264", x264(bframes=0))), "adaptive")[0] > 5


def test_the_speedup_follows_the_cost_model() -> None:
    """Segmenting every frame gains nothing; segmenting one in ten gains what the costs add up to."""
    assert speedup(1) == 1
    assert speedup(0.1) == pytest.approx(10 / (1 + 9 * PROPAGATED_FRAME_COST))


def test_the_number_of_frames_can_be_limited() -> None:
    """With `max_frames` no more frames are counted, and the report says that it is incomplete."""
    report = probe(h264(), max_frames=5)
    assert (report.frames, report.complete) == (5, False)
    assert "first 5 frames" in " ".join(report.advice)
    assert probe(h264(), max_frames=24).complete
    with pytest.raises(ValueError, match="max_frames is 0; it must be at least 1"):
        probe(h264(), max_frames=0)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hevc", "hevc stream gives no motion vectors"),
        ("mjpeg", "codec policy would segment every frame"),
        ("variable rate", "The frame rate varies"),
        ("missing pts", "no presentation times"),
        ("pixels not square", "Pixels are not square .16/11."),
        ("cut mp4", "breaks off.*The 5 frames before"),
        ("cut mkv", "breaks off.*The 7 frames before"),
        ("cut ts", "With adaptive keys expect"),
    ],
)
def test_the_advice_names_what_matters(name: str, sentence: str) -> None:
    """Each peculiarity of a video appears in the advice."""
    assert re.search(sentence, " ".join(probe(ODD_STREAMS[name].make()).advice))


def test_the_advice_names_the_orientation_of_masks() -> None:
    """For a rotated video it states the size of the masks."""
    data = with_stream("mp4", lambda stream: stream.set_display_rotation(90))
    assert "96x160 pixels" in " ".join(probe(data).advice)


@pytest.mark.parametrize("name", ["hevc", "cut mp4", "one frame", "missing pts"])
def test_the_report_survives_json(name: str) -> None:
    """A report can be written as JSON and read back unchanged, without NaN."""
    value = probe(ODD_STREAMS[name].make()).as_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == json.loads(json.dumps(value))
    assert value["types"].keys() == {"I", "P", "B"}
    assert [entry["policy"] for entry in value["forecasts"]] == ["adaptive", "codec", "every:5", "every:10"]
    assert value["cost_model"]["propagated_frame"] == PROPAGATED_FRAME_COST


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be opened raises the error of the reader."""
    with pytest.raises(UnreadableError, match="No such file"):
        probe(tmp_path / "absent.mp4")
