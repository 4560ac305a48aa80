"""How long a video is: right for every container, and cheap for long ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.problems import ProblemError
from service.sandbox.video_length import Extent, measure
from tests.support.odd_streams import moov_first
from tests.support.synthetic import encode, x264

LONG = 1500
RATE = 25


@pytest.fixture(scope="module")
def film() -> Callable[..., bytes]:
    """Makes videos of noise that moves; each is made once."""
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
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        """As usual."""
        part = super().read(size)
        self.taken += len(part)
        return part


def allow(_frames: int, _seconds: float) -> None:
    """No limit."""


def at_most(frames: int) -> Callable[[int, float], None]:
    """A limit of frames."""

    def check(given: int, _seconds: float) -> None:
        if given > frames:
            raise ProblemError("too-many-frames", f"{given} frames")

    return check


def look(video: bytes, check: Callable[[int, float], None] = allow) -> Extent:
    """Measure a video."""
    return measure(io.BytesIO(video), check)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "h264", "avi"])
@pytest.mark.parametrize("frames", [20, LONG])
def test_frames_and_seconds_are_right(film: Callable[..., bytes], container: str, frames: int) -> None:
    """A short and a long video have the frames and the length that they were made with, in every container."""
    extent = look(film(container, frames))
    assert extent.frames == frames
    assert extent.exact is (frames < LONG or container != "matroska")
    if container != "h264":  # which has no times
        assert extent.seconds == pytest.approx(frames / RATE, abs=2.5 / RATE)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_long_video_is_not_read_to_its_end(film: Callable[..., bytes], container: str) -> None:
    """Of a file whose middle is large, no more than its ends are read."""
    middle = 4 * LONG
    file = Counting(film(container, middle))
    measure(file, allow)
    assert file.taken < 0.6 * len(file.getvalue())


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_long_video_that_is_cut_off_is_refused(film: Callable[..., bytes], container: str) -> None:
    """Also a video that is not read to its end is known to be cut off."""
    whole = film(container, LONG)
    if container == "mp4":  # an index at the front, as of files made for the web
        whole = moov_first(whole)
    assert look(whole).frames == LONG
    with pytest.raises(ProblemError, match="cut off") as caught:
        look(whole[: len(whole) * 8 // 10])
    assert caught.value.kind == "video-truncated"


def test_nothing_is_refused_by_an_estimate(film: Callable[..., bytes]) -> None:
    """A video whose header suggests twice as many frames as it has is counted before it is refused."""
    sparse = film("matroska", LONG, range(0, 2 * LONG, 2))
    assert (look(sparse).frames or 0) > 1.5 * LONG
    assert look(sparse, at_most(LONG)) == Extent(LONG, True, pytest.approx(2 * LONG / RATE, abs=0.2))
    with pytest.raises(ProblemError, match=f"{LONG} frames"):
        look(sparse, at_most(LONG - 1))


def test_a_trimmed_video_is_not_cut_off(film: Callable[..., bytes]) -> None:
    """An edit list that shows the first half, as phones write it, makes a video of half the frames."""
    whole = film("mp4", 60)
    place = whole.index(b"elst") + 12
    (duration,) = struct.unpack(">I", whole[place : place + 4])
    trimmed = whole[:place] + struct.pack(">I", duration // 2) + whole[place + 4 :]
    assert look(trimmed).frames == 30
