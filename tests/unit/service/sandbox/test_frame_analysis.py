"""Motion and residual of one frame, against the drawn motion and a whole read."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.reader import open_video
from codec.types import UInt8Array
from service.problems import ProblemError
from service.sandbox.frame_analysis import analyze_frame
from service.sandbox.frames import list_frames
from service.sandbox.inspection import UploadLimits
from tests.support.synthetic import encode, pan, x264

LIMITS = UploadLimits(pixels=1 << 24, frames=1000, seconds=1000.0, objects=255)
SIZE = (96, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that moves evenly, with a key frame every ten frames."""
    path = tmp_path_factory.mktemp("pan") / "pan.mp4"
    path.write_bytes(encode(pan(40, SIZE).frames, "libx264", x264(keyint=10, bframes=2), container="mp4"))
    return path


def residual_of(found: dict[str, Any]) -> UInt8Array:
    """The residual's pixels."""
    with Image.open(io.BytesIO(b64decode(found["residual"]["png"]))) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("index", [0, 5, 27, 39])
def test_it_is_that_of_a_whole_read(video: Path, index: int) -> None:
    """Type, vectors, references and residual are the same as when the video is read from its start."""
    found = analyze_frame(video, list_frames(video, LIMITS), index)
    with open_video(video) as reader:
        frames = {frame.index: frame for frame in reader}
    truth, shown = frames[index], {frame.decode_index: frame.index for frame in frames.values()}
    assert (found["frame"], found["type"], found["source"]) == (index, truth.type, "bitstream")
    motion = found["motion"]
    rows, columns = truth.motion.shape
    assert (motion["rows"], motion["columns"]) == (rows, columns)
    for place, (dx, dy, reference) in enumerate(zip(motion["dx"], motion["dy"], motion["reference"], strict=True)):
        cell = divmod(place, columns)
        used = 0 if truth.motion.reference[0][cell] >= 0 else 1
        decode_index = int(truth.motion.reference[used][cell])
        assert reference == shown.get(decode_index)
        if reference is None:
            assert (dx, dy) == (None, None)
        else:
            assert (dx, dy) == pytest.approx(truth.motion.vectors[used][cell], abs=0.01)
    assert np.array_equal(residual_of(found), np.minimum(np.abs(truth.residual.astype(int)) * 4, 255))


def test_it_turns_with_the_display(tmp_path: Path) -> None:
    """Of the same stream turned by 90 degrees, vectors and pictures are turned clockwise."""
    frames = pan(12, SIZE).frames
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    plain.write_bytes(encode(frames, "libx264", x264(), container="mp4"))
    turned.write_bytes(_rotated(plain.read_bytes()))
    one, two = (analyze_frame(path, list_frames(path, LIMITS), 5) for path in (plain, turned))
    assert (two["width"], two["height"]) == (one["height"], one["width"])
    assert np.array_equal(residual_of(two), np.rot90(residual_of(one), -1))
    shape = one["motion"]["rows"], one["motion"]["columns"]
    x, y = (np.array(one["motion"][name], float).reshape(shape) for name in ("dx", "dy"))
    assert np.isfinite(x).any()
    turned_x = np.array(two["motion"]["dx"], float).reshape(shape[::-1])
    turned_y = np.array(two["motion"]["dy"], float).reshape(shape[::-1])
    assert np.allclose(turned_x, np.rot90(-y, -1), equal_nan=True)
    assert np.allclose(turned_y, np.rot90(x, -1), equal_nan=True)


def test_a_frame_beyond_the_end(video: Path) -> None:
    """Also where only decoding tells the number of frames."""
    with pytest.raises(ProblemError, match="the video has 40 frames") as caught:
        analyze_frame(video, b"", 40)
    assert caught.value.members == {"frames": 40}


def _rotated(video: bytes) -> bytes:
    """Write the matrix of a clockwise quarter turn into the track header of an MP4 file (ISO 14496-12, 8.3.2)."""
    place = video.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    matrix = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]
    return video[:place] + b"".join(value.to_bytes(4, "big") for value in matrix) + video[place + 36 :]
