"""Display orientation against the display matrix applied to each pixel."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import codec
from codec import MotionSource, VideoInfo
from tests.support import synthetic

MATRICES = {
    "upright": (1, 0, 0, 1),
    "clockwise 90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "clockwise 270": (0, -1, 1, 0),
    "left-right": (-1, 0, 0, 1),
    "top-bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "anti-transposed": (0, -1, -1, 0),
}


def shown(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The picture with each pixel (x, y) moved to (a x + c y, b x + d y), shifted to start at 0."""
    a, b, c, d = matrix
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.zeros((to_y.max() + 1, to_x.max() + 1, *picture.shape[2:]), picture.dtype)
    out[to_y, to_x] = picture
    return out


def with_matrix(matrix: tuple[int, int, int, int]) -> bytes:
    """A short MP4 with this display matrix."""
    a, b, c, d = matrix
    unit, file = 1 << 16, io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25, options=synthetic.x264(bframes=0))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix([a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30])
        for i, picture in enumerate(synthetic.pan(3, (64, 48)).frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("name", MATRICES)
def test_display_orientation_follows_the_matrix(name: str) -> None:
    """In all eight orientations, `to_display` moves pixels as the matrix does, and `to_coded` moves them back."""
    with codec.open_video(with_matrix(MATRICES[name])) as video:
        info = video.info
    picture = np.arange(48 * 64).reshape(48, 64)
    expected = shown(picture, MATRICES[name])
    assert np.array_equal(info.to_display(picture), expected)
    assert np.array_equal(info.to_coded(info.to_display(picture)), picture)
    assert (info.display_height, info.display_width) == expected.shape


@pytest.mark.shared
@pytest.mark.parametrize(
    ("clip", "matrix"),
    [
        ("decord/video_180.mov", (-1, 0, 0, -1)),
        ("decord/video_270.mov", (0, -1, 1, 0)),
        ("androidx_media/mp4__sample_rotate_and_reflect.mp4", (0, 1, 1, 0)),
        ("mp4parse_rust/video_rotation_90.mp4", (0, 1, -1, 0)),
    ],
)
def test_real_clips(shared_dir: Path, clip: str, matrix: tuple[int, int, int, int]) -> None:
    """Real rotated clips are turned by the matrix in their header, which was read by hand."""
    with codec.open_video(shared_dir / "data" / "clips" / clip) as video:
        picture = np.arange(video.info.coded_height * video.info.coded_width).reshape(video.info.coded_height, -1)
        assert np.array_equal(video.info.to_display(picture), shown(picture, matrix))


def test_other_rotations_are_rejected() -> None:
    """A rotation other than a quarter turn raises an error that names the allowed values."""
    with pytest.raises(ValueError, match="rotation is 45; allowed: 0, 90, 180, 270"):
        VideoInfo(
            codec="h264",
            pixel_format="yuv420p",
            coded_width=4,
            coded_height=4,
            analysis_width=4,
            analysis_height=4,
            rotation=45,
            mirrored=False,
            sample_aspect_ratio=Fraction(1),
            average_rate=None,
            frames_from_header=None,
            duration_seconds_from_header=None,
            motion_source=MotionSource.BITSTREAM,
        )
