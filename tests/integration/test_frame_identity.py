"""The reader yields exactly the frames of a plain full decode, with their indices and times."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from codec import BrokenStreamError, CodecError, CompressedFrame, open_video
from tests.support.odd_streams import FRAMES, ODD_STREAMS
from tests.support.paths import ROOT

MOST_FRAMES = 2000
"""Most frames compared per clip; two clips of 1080p have 20,000."""
LONG_CLIPS = {"androidx_media/mp4__long_1080p_av1.mp4": 60, "androidx_media/mp4__long_1080p_lowbitrate.mp4": 60}


@dataclass(frozen=True)
class Decoded:
    """A plain decode: times and mean luma in presentation order, and whether it ended in an error."""

    pts: list[int | None]
    means: list[float | None]
    failed: bool


def plain_decode(path: Path, limit: int) -> Decoded:
    """Decode with PyAV alone: no options, one thread, FFmpeg's choice of stream."""
    pts: list[int | None] = []
    means: list[float | None] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if stream is None:
                return Decoded(pts, means, failed=True)
            stream.codec_context.thread_count = 1
            for frame in islice(container.decode(stream), limit):
                pts.append(frame.pts)
                means.append(mean_luma(frame))
    except (av.error.FFmpegError, ValueError, AttributeError):
        return Decoded(pts, means, failed=True)
    return Decoded(pts, means, failed=not pts)


def mean_luma(frame: av.VideoFrame) -> float | None:
    """Return the mean of the first plane, 0 to 255; None for formats without a luma plane."""
    if not frame.format.name.startswith(("yuv", "gray")):
        return None
    depth = frame.format.components[0].bits
    plane = frame.planes[0]
    samples = np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16)
    rows = samples.reshape(-1, plane.line_size // samples.itemsize)[: frame.height, : frame.width]
    return float(rows.mean()) / 2 ** (depth - 8)


def read(path: Path, limit: int, motion: str = "auto") -> tuple[list[CompressedFrame], CodecError | None]:
    """Return all frames of the reader in its order, and its error."""
    frames: list[CompressedFrame] = []
    try:
        with open_video(path, motion=motion) as reader:
            frames.extend(islice(reader, limit))
    except CodecError as error:
        return frames, error
    return frames, None


def assert_same_frames(path: Path, limit: int = MOST_FRAMES, motion: str = "auto") -> list[CompressedFrame]:
    """Check that number, order, times, pictures and end of the reader's frames are those of a plain decode."""
    expected = plain_decode(path, limit)
    frames, error = read(path, limit, motion)
    assert [frame.decode_index for frame in frames] == list(range(len(frames)))
    shown = sorted(frames, key=lambda frame: frame.index)
    assert [frame.index for frame in shown] == list(range(len(expected.pts)))
    assert [frame.pts for frame in shown] == expected.pts
    for frame, mean in zip(shown, expected.means, strict=True):
        assert mean is None or float(frame.luma.mean()) == pytest.approx(mean, abs=1)
    assert (error is not None) == expected.failed
    if isinstance(error, BrokenStreamError):
        assert error.frames == len(frames) > 0
    return frames


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per clip of the manifest."""
    if "clip" in metafunc.fixturenames:
        metafunc.parametrize("clip", clip_names())


def clip_names() -> list[str]:
    """Return the names in the manifest; without one, a placeholder for which the fixture skips the test."""
    manifest = ROOT.parent / "shared/data/clips/MANIFEST.tsv"
    if not manifest.is_file():
        return ["absent"]
    return [line.split("\t")[0] for line in manifest.read_text().splitlines()[1:]]


@pytest.mark.shared
def test_every_clip_yields_the_frames_of_a_full_decode(clip: str, shared_dir: Path) -> None:
    """Number, order, times and pictures equal those of a plain decode, or both fail after the same frame."""
    path = shared_dir / "data/clips" / clip
    if clip in LONG_CLIPS:
        limit = LONG_CLIPS[clip]
        frames, error = read(path, limit)
        assert error is None
        assert [frame.pts for frame in frames] == plain_decode(path, limit).pts
        return
    assert_same_frames(path)


@pytest.mark.parametrize("motion", ["auto", "proxy"])
@pytest.mark.parametrize("name", [name for name, odd in ODD_STREAMS.items() if not odd.breaks])
def test_odd_streams_yield_the_frames_of_a_full_decode(name: str, motion: str, tmp_path: Path) -> None:
    """The same holds for streams of cameras, recorders and broken transfers, with any motion source."""
    odd = ODD_STREAMS[name]
    path = tmp_path / f"odd{odd.suffix}"
    path.write_bytes(odd.make())
    frames = assert_same_frames(path, motion=motion)
    assert len(frames) >= odd.frames


def test_time_is_seconds_of_pts(tmp_path: Path) -> None:
    """A frame's time is seconds of pts after the first, also at a variable rate; without pts, index over rate."""
    path = tmp_path / "vfr.mkv"
    path.write_bytes(ODD_STREAMS["variable rate"].make())
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len({round(b - a, 3) for a, b in pairwise(times)}) > 3
    assert sorted(frame.time for frame in read(path, FRAMES)[0]) == pytest.approx([t - times[0] for t in times])

    path = tmp_path / "raw.h264"
    path.write_bytes(ODD_STREAMS["missing pts"].make())
    assert sorted(frame.time for frame in read(path, FRAMES)[0]) == pytest.approx([i / 25 for i in range(FRAMES)])


def test_the_default_one_of_two_tracks_is_read(tmp_path: Path) -> None:
    """Of several video tracks, the one marked as default is read, as players do, even if it is not the first."""
    path = tmp_path / "tracks.mp4"
    path.write_bytes(ODD_STREAMS["two video tracks"].make())
    with open_video(path) as reader:
        assert (reader.info.coded_width, reader.info.coded_height) == (160, 96)
