"""Limits of a process hold for every picture of a stream, and for whatever opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from codec.decode.decoder import VideoDecoder
from codec.demux.limits import DecodeLimits, limit_decoding
from codec.demux.source import VideoFile
from codec.displayed_frame import read_displayed_frame
from codec.errors import UnreadableError, UnsupportedSizeError
from codec.reader import open_video
from tests.support.growing_videos import FIRST, KINDS, growing, read_in_a_process
from tests.support.odd_streams import h264

LARGE = (1024, 768)
LIMIT = 512 * 512


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Remove the limits of this process after each test."""
    yield
    limit_decoding(DecodeLimits())


@pytest.mark.parametrize("container", KINDS)
def test_a_larger_picture_in_mid_stream_is_refused(container: str) -> None:
    """The pictures before it are decoded, and the error names the limit; without the limit, all are decoded."""
    video = growing(container, LARGE)
    with closing(VideoDecoder(VideoFile(video), vectors=False)) as decoder:
        assert sum(1 for _ in decoder.pictures()) == FIRST + 2
    limit_decoding(DecodeLimits(max_pixels=LIMIT))
    seen = []
    with (
        closing(VideoDecoder(VideoFile(video), vectors=False)) as decoder,
        pytest.raises(UnsupportedSizeError, match=r"at most 0\.262144 million pixels"),
    ):
        seen.extend(decoder.pictures())
    assert FIRST - 4 <= len(seen) <= FIRST  # a decoder of HEVC drops those that it holds back
    with pytest.raises(UnsupportedSizeError), open_video(video) as reader:
        list(reader)
    with pytest.raises(UnsupportedSizeError):
        read_displayed_frame(video, FIRST + 1)


def test_a_larger_picture_takes_no_memory(tmp_path: Path) -> None:
    """A process that refuses the picture never holds one: its peak is lower by two pictures of 25 MB at least."""
    path = tmp_path / "growing.mkv"
    path.write_bytes(growing("matroska", (4080, 4080)))
    free, limited = read_in_a_process(path, None), read_in_a_process(path, LIMIT)
    assert (free["pictures"], free["error"]) == (FIRST + 2, None)
    assert limited["pictures"] == FIRST
    assert limited["error"].startswith("UnsupportedSizeError")
    assert free["peak"] - limited["peak"] > 2 * 4080 * 4080 * 3 // 2


def test_other_formats_and_codecs_are_named() -> None:
    """A file outside the lists is refused with what it is, or with what is allowed."""
    video = h264(bframes=0)
    limit_decoding(DecodeLimits(formats=frozenset({"avi", "matroska"})))
    with pytest.raises(UnreadableError, match="in a format that is not read here; allowed: avi, matroska"):
        VideoFile(video)
    limit_decoding(DecodeLimits(formats=frozenset({"mp4"}), decoders=frozenset({"vp9"})))
    with pytest.raises(UnreadableError, match="encoded with h264, which is not read here; allowed: vp9"):
        VideoFile(video)
    limit_decoding(DecodeLimits(formats=frozenset({"mp4"}), decoders=frozenset({"h264"})))
    VideoFile(video).close()
