"""Single frames anywhere in a video: the same as decoding all of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from codec import random_access
from codec.decode.decoder import VideoDecoder
from codec.demux.source import VideoFile
from codec.displayed_frame import displayed, full_size_info
from codec.errors import BrokenStreamError, NoSuchFrameError
from codec.random_access import list_timestamps, read_frame_at, read_frames_at
from tests.support.media import write_broken
from tests.support.odd_streams import ODD_STREAMS, cut_before
from tests.support.synthetic import encode, pan, x264

WHOLE = {name: stream for name, stream in ODD_STREAMS.items() if not stream.breaks}


def decoded(path: Path) -> list[tuple[float, bytes]]:
    """Return time and picture of every frame, decoded from front to back."""
    with closing(VideoDecoder(VideoFile(path), vectors=False)) as decoder:
        info = full_size_info(decoder)
        found = [displayed(picture.frame, info, picture.index, picture.time) for picture in decoder.pictures()]
    return [(frame.time, frame.rgb.tobytes()) for frame in found]


@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_of_odd_streams(name: str, tmp_path: Path) -> None:
    """Times and pictures equal those of a whole decode, in any order of access."""
    path = tmp_path / f"clip{WHOLE[name].suffix}"
    path.write_bytes(WHOLE[name].make())
    truth = decoded(path)
    timestamps = list_timestamps(path)
    assert timestamps is None or len(timestamps) == len(truth)
    for index in np.random.default_rng(0).permutation(len(truth))[:8]:
        frame = read_frame_at(path, int(index), timestamps)
        assert frame.time == pytest.approx(truth[index][0], abs=1e-6)
        assert frame.rgb.tobytes() == truth[index][1]


@pytest.mark.parametrize(
    "params",
    [{"keyint": 10, "bframes": 3}, {"keyint": 10, "open_gop": 1, "bframes": 3}, {"intra_refresh": 1, "keyint": 12}],
    ids=["closed", "open", "intra refresh"],
)
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_only_the_group_of_pictures_is_decoded(
    container: str, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of a long video come from a key frame nearby, not from the start."""
    video = encode(pan(60, (64, 48)).frames, "libx264", x264(**params), container=container)
    timestamps = list_timestamps(video)
    assert timestamps is not None
    assert len(timestamps) == 60
    truth = [read_frame_at(video, index, None).rgb for index in range(60)]
    monkeypatch.setattr(random_access, "read_displayed_frames", lambda *_: pytest.fail("decoded from the start"))
    for index in (59, 30, 31, 10, 9, 0):
        assert np.array_equal(read_frame_at(video, index, timestamps).rgb, truth[index])
        with closing(read_frames_at(video, index, 16, timestamps)) as frames:
            found = [(frame.index, frame.rgb.tobytes()) for frame in frames]
        assert found == [(i, truth[i].tobytes()) for i in range(index, min(index + 16, 60))]


def test_a_video_cut_between_key_frames_begins_with_the_first_one_shown() -> None:
    """Frames that cannot be decoded have no index."""
    whole = encode(pan(40, (64, 48)).frames, "libx264", x264(bframes=2, keyint=12), container="mpegts")
    video = cut_before(whole, 14, "mpegts")
    timestamps = list_timestamps(video)
    assert timestamps is not None
    assert len(timestamps) == 16
    assert np.array_equal(read_frame_at(video, 0, timestamps).rgb, read_frame_at(video, 0, None).rgb)
    with pytest.raises(NoSuchFrameError, match=r"frame 16 does not exist: the video has 16 frames, 0 to 15"):
        read_frame_at(video, 16, timestamps)


def test_a_clock_that_starts_anew_leaves_only_decoding_from_the_start() -> None:
    """Two files joined have two frames with each timestamp."""
    part = encode(pan(12, (64, 48)).frames, "libx264", x264(bframes=2), container="mpegts")
    assert list_timestamps(part) is not None
    assert list_timestamps(part + part) is None


def test_frames_up_to_a_break(tmp_path: Path) -> None:
    """Several frames end where the stream is damaged, wherever decoding begins; beyond it, one frame is an error."""
    video = write_broken(tmp_path / "broken.mkv")
    for timestamps in (None, list_timestamps(video)):
        with closing(read_frames_at(video, 9, 8, timestamps)) as frames:
            assert [frame.index for frame in frames] == [9, 10, 11]
        with pytest.raises(BrokenStreamError):
            read_frame_at(video, 12, timestamps)
