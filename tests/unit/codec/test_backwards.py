"""Frames read backwards, or from the middle of a video, are those that a whole decode yields."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from codec import backwards, random_access
from codec.backwards import open_backwards
from codec.picture_sequence import open_pictures
from codec.random_access import list_timestamps
from codec.reader import open_video
from codec.types import CompressedFrame, FrameType, MotionSource
from tests.support.odd_streams import ODD_STREAMS
from tests.support.synthetic import encode, pan, x264

WHOLE = {name: stream for name, stream in ODD_STREAMS.items() if not stream.breaks}


def seen(frame: CompressedFrame) -> tuple[int | None, float, bytes]:
    """What a frame shows, and when."""
    return frame.pts, round(frame.time, 6), frame.rgb().tobytes()


def forwards(video: Path | bytes) -> list[tuple[int | None, float, bytes]]:
    """All frames in presentation order, from one decode of the whole video."""
    with open_video(video, motion="proxy") as reader:
        return [seen(frame) for frame in sorted(reader, key=lambda frame: frame.index)]


@pytest.mark.parametrize("name", WHOLE)
def test_odd_streams_backwards_and_from_the_middle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and times are those of the whole decode, across the borders of passes and behind a seek."""
    monkeypatch.setattr(backwards, "_LONGEST_PASS", 7)
    path = tmp_path / f"clip{WHOLE[name].suffix}"
    path.write_bytes(WHOLE[name].make())
    truth = forwards(path)
    timestamps, first = list_timestamps(path), len(truth) * 2 // 3
    with open_backwards(path, len(truth) - 1, timestamps=timestamps) as reader:
        frames = sorted(reader, key=lambda frame: frame.index)
    assert [frame.index for frame in frames] == list(range(len(truth)))
    assert [seen(frame) for frame in frames] == truth[::-1]
    with open_video(path, first=first, skip_earlier=True, timestamps=timestamps) as reader:
        rest = {frame.index: frame for frame in reader}
    assert min(rest) == first
    assert not rest[first].motion.references
    assert [seen(rest[index]) for index in range(first, len(truth))] == truth[first:]


def test_motion_behind_a_seek_is_that_of_the_whole_stream() -> None:
    """Vectors and residuals from a key frame on do not depend on where reading began, and nothing before is read."""
    video = encode(pan(60, (64, 48)).frames, "libx264", x264(keyint=10, bframes=3), container="mp4")
    with open_video(video) as reader:
        truth = {frame.index: frame for frame in reader}
    with open_video(video, first=35, timestamps=list_timestamps(video)) as reader:
        frames = {frame.index: frame for frame in reader}
    assert 25 <= min(frames) <= 30
    for index in range(35, 60):
        assert np.array_equal(frames[index].motion.vectors, truth[index].motion.vectors)
        assert np.array_equal(frames[index].residual, truth[index].residual)
        assert frames[index].type is truth[index].type
    with open_video(video, first=35, skip_earlier=True, timestamps=list_timestamps(video)) as reader:
        rest = {frame.index: frame for frame in reader}
    assert sorted(rest) == list(range(35, 60))
    assert all(np.array_equal(rest[i].motion.vectors, truth[i].motion.vectors) for i in range(36, 60))


def test_motion_points_to_the_frame_shown_after() -> None:
    """A pan that moves 3 pixels per frame moves as much the other way when it runs backwards."""
    video = encode(pan(12, (128, 96), (3.0, 0.0)).frames, "libx264", x264(bframes=0), container="mp4")
    with open_backwards(video, 11, 2, timestamps=list_timestamps(video)) as reader:
        frames = list(reader)
        assert reader.info.motion_source is MotionSource.PROXY
    assert len(frames) == 10
    with open_video(video, motion="proxy") as reader:
        ahead = [np.median(frame.motion.vectors[0, 4:-4, 8:-8, 0]) for frame in reader][1:]
    back = [np.median(frame.motion.vectors[0, 4:-4, 8:-8, 0]) for frame in frames][1:]
    assert abs(np.median(ahead)) == pytest.approx(3, abs=0.5)
    assert np.median(back) == pytest.approx(-np.median(ahead), abs=0.5)


def test_b_frames_refer_to_both_sides_and_no_frame_refers_to_them() -> None:
    """Those of the stream, up to three in a row. References come first, and vectors span their distance."""
    video = encode(pan(24, (128, 96), (2.0, 0.0)).frames, "libx264", x264(bframes=3), container="mp4")
    with open_video(video) as reader:
        types = {23 - frame.index: frame.type for frame in reader}
    with open_backwards(video, 23, timestamps=list_timestamps(video)) as reader:
        frames = list(reader)
    assert {frame.index: frame.type for frame in frames} == types
    assert {frame.index for frame in frames if not frame.is_reference} <= {
        index for index, kind in types.items() if kind is FrameType.B
    }
    assert sum(frame.is_reference for frame in frames) < len(frames) / 2
    seen: dict[int, CompressedFrame] = {}
    for frame in frames:
        near = [seen[number] for number in frame.motion.references]
        assert all(other.is_reference for other in near)
        for other in near:
            assert abs(other.index - frame.index) <= 4
            for which in (0, 1):
                inside = frame.motion.reference[which, 4:-4, 12:-12] == other.decode_index
                if inside.mean() > 0.5:
                    moved = np.median(frame.motion.vectors[which, 4:-4, 12:-12, 0][inside])
                    assert moved == pytest.approx(2 * (other.index - frame.index), abs=0.6)
        if not frame.is_reference:
            sides = {other.index > frame.index for other in near}
            assert sides == {False, True}
        seen[frame.decode_index] = frame


def test_memory_does_not_grow_with_the_group_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One group of 150 frames is decoded in passes; no pass holds more frames than allowed."""
    video = encode(pan(150, (64, 48)).frames, "libx264", x264(keyint=1000, bframes=3), container="mp4")
    held: list[int] = []
    whole = random_access.read_range

    def read(*arguments: object) -> list[object]:
        found = whole(*arguments)  # type: ignore[arg-type]
        held.append(len(found))
        return list(found)

    monkeypatch.setattr(backwards, "read_range", read)
    with open_backwards(video, 149, timestamps=list_timestamps(video)) as reader:
        assert sum(1 for _ in reader) == 150
    gc.collect()
    assert held == [48, 48, 48, 6]


def test_pictures_backwards_keep_their_times() -> None:
    """A part of a sequence that runs backwards has the times of the whole, and positions from 0."""
    pictures = pan(6, (32, 16)).frames
    with open_pictures(pictures[4:1:-1], rate=Fraction(10), first=4, backwards=True) as reader:
        frames = list(reader)
    assert [(frame.index, frame.time) for frame in frames] == [(0, 0.4), (1, 0.3), (2, 0.2)]
    assert np.array_equal(frames[2].rgb(), pictures[2])
