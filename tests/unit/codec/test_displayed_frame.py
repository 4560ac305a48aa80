"""One frame as displayed: the right one, in the size of masks."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from codec.demux.picture_files import find_pictures
from codec.displayed_frame import pick_picture, read_displayed_frame
from codec.errors import BrokenStreamError, NoSuchFrameError, UnreadableError
from codec.reader import open_video
from tests.support.media import write_broken, write_clip
from tests.support.odd_streams import h264, stretched, two_sizes, with_stream


@pytest.mark.parametrize("index", [0, 5, 11])
def test_a_frame_is_the_one_with_its_presentation_index(tmp_path: Path, index: int) -> None:
    """The picture is the one that FFmpeg shows at this position, also in streams with B frames."""
    clip = write_clip(tmp_path / "clip.mp4")
    with av.open(clip) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frame = read_displayed_frame(clip, index)
    assert (frame.index, frame.time) == (index, pytest.approx(0.04 * index))
    distances = [np.abs(frame.rgb.astype(int) - picture).mean() for picture in shown]
    assert int(np.argmin(distances)) == index
    assert distances[index] < 5  # FFmpeg's own conversion assumes another color matrix where the stream names none


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_rotated_video_gives_upright_pictures(tmp_path: Path, rotation: int, turns: int) -> None:
    """The picture is turned as players turn it, and has the display size."""
    plain = read_displayed_frame(write_clip(tmp_path / "plain.mp4"), 3).rgb
    clip = write_clip(tmp_path / "turned.mp4", rotation=rotation)
    turned = read_displayed_frame(clip, 3).rgb
    with open_video(clip) as reader:
        assert turned.shape == (reader.info.display_height, reader.info.display_width, 3)
    assert np.array_equal(turned, np.rot90(plain, turns))


def test_pixels_that_are_not_square_stay_as_stored() -> None:
    """A sample aspect ratio is reported and not applied, as masks do not apply it."""
    frame = read_displayed_frame(with_stream("mp4", stretched), 0)
    assert frame.rgb.shape == (96, 160, 3)
    assert frame.sample_aspect_ratio == pytest.approx(16 / 11)


def test_deep_pixel_formats_become_eight_bit_rgb() -> None:
    """Ten bits per sample are converted."""
    frame = read_displayed_frame(h264(pixel_format="yuv422p10le"), 2)
    assert (frame.rgb.dtype, frame.rgb.shape) == (np.uint8, (96, 160, 3))


def test_a_later_size_is_scaled_to_the_first() -> None:
    """Masks have the size of the first picture, so all pictures do."""
    assert read_displayed_frame(two_sizes(), 30).rgb.shape == (96, 160, 3)


def test_a_frame_after_the_end_is_refused(tmp_path: Path) -> None:
    """The error says how many frames there are, in a video and in a folder."""
    with pytest.raises(NoSuchFrameError, match=r"frame 12 does not exist: the video has 12 frames, 0 to 11"):
        read_displayed_frame(write_clip(tmp_path / "clip.mp4"), 12)
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    with pytest.raises(NoSuchFrameError, match=r"frame 1 does not exist: the video has 1 frame, number 0"):
        pick_picture(find_pictures(tmp_path), 1)


def test_a_frame_after_a_break_is_refused(tmp_path: Path) -> None:
    """Frames before damage can be read; for one after it, the error says where decoding stopped."""
    clip = write_broken(tmp_path / "broken.mkv")
    assert read_displayed_frame(clip, 5).index == 5
    with pytest.raises(BrokenStreamError, match="decoding stopped after 12 frames"):
        read_displayed_frame(clip, 20)


def test_a_picture_of_a_folder_is_read_alone(tmp_path: Path) -> None:
    """Only the picture that is asked for is read, and a damaged one is named."""
    for number in range(3):
        Image.new("RGB", (8, 6), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.png").write_bytes(b"nothing")
    frame = pick_picture(find_pictures(tmp_path), 2)
    assert (frame.index, frame.time, frame.rgb[0, 0].tolist()) == (2, pytest.approx(2 / 24), [80, 0, 0])
    with pytest.raises(UnreadableError, match="is not a picture"):
        pick_picture(find_pictures(tmp_path), 0)
