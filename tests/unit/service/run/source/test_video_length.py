"""Video length: correct for every container, and cheap for long videos."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from codec import open_video
from codec.errors import BrokenStreamError
from service.errors import error_mapping
from service.problems import ProblemError
from service.run.source.video_length import VideoLength, measure_length
from tests.support.media import write_clip
from tests.support.odd_streams import ODD_STREAMS, cut_before, moov_first, pictures, with_stated_seconds
from tests.support.synthetic import encode, x264

LONG = 1500
RATE = 25


@pytest.fixture(scope="module")
def film() -> Callable[..., bytes]:
    """Function that encodes moving noise; each video is encoded once."""
    made: dict[Any, bytes] = {}
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)

    def make(container: str, frames: int, pts: range | None = None) -> bytes:
        key = container, frames, pts
        if key not in made:
            drawn = np.stack([np.roll(noise, i, axis=1) for i in range(frames)])
            made[key] = encode(drawn, "libx264", x264(bframes=2, keyint=50), container=container, pts=pts)
        return made[key]

    return make


class Counting(io.BytesIO):
    """A file that counts the bytes read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read and count."""
        part = super().read(size)
        self.taken += len(part)
        return part


def allow(_frames: int, _seconds: float) -> None:
    """Accept every length."""


def at_most(frames: int) -> Callable[[int, float], None]:
    """Return a check with a limit of frames."""

    def check(given: int, _seconds: float) -> None:
        if given > frames:
            raise ProblemError("too-many-frames", f"{given} frames")

    return check


def measured(video: bytes, check: Callable[[int, float], None] = allow) -> VideoLength:
    """Measure a video in memory."""
    return measure_length(io.BytesIO(video), check)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "h264", "avi"])
@pytest.mark.parametrize("frames", [20, LONG])
def test_frames_and_seconds_are_right(film: Callable[..., bytes], container: str, frames: int) -> None:
    """Frames and seconds of a short and a long video are correct in every container."""
    length = measured(film(container, frames))
    assert length.frames == frames
    assert length.exact is (frames < LONG or container != "matroska")
    if container != "h264":  # which has no timestamps
        assert length.seconds == pytest.approx(frames / RATE, abs=2.5 / RATE)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_long_video_is_not_read_to_its_end(film: Callable[..., bytes], container: str) -> None:
    """Only the ends of a large file are read."""
    middle = 4 * LONG
    file = Counting(film(container, middle))
    measure_length(file, allow)
    assert file.taken < 0.6 * len(file.getvalue())


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_long_video_that_is_cut_off_is_refused(film: Callable[..., bytes], container: str) -> None:
    """Truncation is detected without reading the whole video."""
    whole = film(container, LONG)
    if container == "mp4":  # with the index at the front, as in files for the web
        whole = moov_first(whole)
    assert measured(whole).frames == LONG
    with pytest.raises(BrokenStreamError, match="cut off") as caught:
        measured(whole[: len(whole) * 8 // 10])
    assert error_mapping(caught.value).problem == "video-truncated"


def test_no_video_is_refused_because_of_an_estimate(film: Callable[..., bytes]) -> None:
    """A video whose header suggests twice its number of frames is counted before it is refused."""
    sparse = film("matroska", LONG, range(0, 2 * LONG, 2))
    assert (measured(sparse).frames or 0) > 1.5 * LONG
    assert measured(sparse, at_most(LONG)) == VideoLength(LONG, True, pytest.approx(2 * LONG / RATE, abs=0.2))
    with pytest.raises(ProblemError, match=f"{LONG} frames"):
        measured(sparse, at_most(LONG - 1))


def test_a_trimmed_video_is_not_cut_off(film: Callable[..., bytes]) -> None:
    """An edit list that shows only the first half, as phones write it, halves the number of frames."""
    whole = film("mp4", 60)
    place = whole.index(b"elst") + 12
    (duration,) = struct.unpack(">I", whole[place : place + 4])
    trimmed = whole[:place] + struct.pack(">I", duration // 2) + whole[place + 4 :]
    assert measured(trimmed).frames == 30


@pytest.mark.parametrize("container", ["matroska", "flv"])
@pytest.mark.parametrize("frames", [20, LONG])
def test_a_duration_in_the_header_is_not_believed(film: Callable[..., bytes], container: str, frames: int) -> None:
    """A header that overstates the duration changes nothing."""
    video = with_stated_seconds(film(container, frames), container, 5000.0)
    with av.open(io.BytesIO(video)) as file:
        assert file.duration == pytest.approx(5000e6, abs=1e5)
    length = measured(video, at_most(frames))
    assert length.frames == frames
    if frames < LONG:
        assert length.seconds == pytest.approx(frames / RATE, abs=2.5 / RATE)


def test_a_duration_in_a_fragmented_mp4_is_not_believed() -> None:
    """Only the fragments say how many frames there are."""
    video = with_stated_seconds(ODD_STREAMS["fragmented"].make(), "mp4", 5000.0)
    with av.open(io.BytesIO(video)) as file:
        assert file.duration == pytest.approx(5000e6, abs=1e5)
    assert measured(video) == VideoLength(24, True, pytest.approx(24 / RATE, abs=0.1))


@pytest.mark.parametrize("name", [name for name, stream in ODD_STREAMS.items() if not stream.breaks])
def test_frames_are_those_that_a_decoder_shows(name: str) -> None:
    """The number of frames of every odd stream is the number of its decoded pictures."""
    video = ODD_STREAMS[name].make()
    with av.open(io.BytesIO(video)) as file:
        shown = sum(1 for _ in file.decode(video=0))
    assert measured(video).frames == shown


@pytest.mark.parametrize(
    ("encoder", "options", "container"),
    [
        ("libx264", x264(bframes=2, keyint=12), "mpegts"),
        ("libx264", x264(bframes=2, keyint=12, open_gop=1), "mpegts"),
        ("libx264", x264(bframes=0, keyint=12), "h264"),
        ("libx265", {"x265-params": "log-level=none:pools=1:frame-threads=1:keyint=12:min-keyint=12"}, "hevc"),
        ("libvpx-vp9", {"g": "12"}, "matroska"),
        ("mpeg2video", {"g": "12", "bf": "2"}, "mpegts"),
        ("mpeg4", {"g": "12", "bf": "2"}, "avi"),
    ],
)
@pytest.mark.parametrize("first", [3, 14])
def test_packets_before_the_first_key_frame_are_no_frames(
    encoder: str, options: dict[str, str], container: str, first: int
) -> None:
    """A stream cut between key frames has as many frames as the reader yields, and lasts as long as they do."""
    whole = encode(pictures(40, 64, 48), encoder, options, container="mpegts" if container == "h264" else container)
    cut = cut_before(whole, first, container)
    with open_video(cut) as reader:
        frames = list(reader)
    length = measured(cut)
    assert 0 < len(frames) == length.frames
    if length.seconds is not None and container != "avi":
        times = [frame.time for frame in frames]
        assert length.seconds == pytest.approx(max(times) - min(times) + 1 / RATE, abs=1.5 / RATE)
    if encoder not in ("mpeg4", "mpeg2video"):  # whose decoders conceal what is missing
        assert len(frames) < 40 - first
        assert reader.info.lost_packets > 0


@pytest.mark.parametrize("starts", [(0, 0), (0, 90_000_000), (90_000_000, 0)])
def test_a_jump_of_the_clock_adds_no_time(tmp_path: Path, starts: tuple[int, int]) -> None:
    """Two transport streams that are joined last as long as both, whatever their clocks say."""
    parts = [write_clip(tmp_path / f"{i}.ts", range(start, start + 480, 40)) for i, start in enumerate(starts)]
    length = measure_length(b"".join(part.read_bytes() for part in parts))
    assert (length.frames, length.exact) == (24, True)
    assert length.seconds == pytest.approx(0.94, abs=0.03)
