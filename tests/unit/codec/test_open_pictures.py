"""Pictures without a bitstream: arrays and numbered files in a folder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from codec import open_pictures, open_video
from codec.demux.picture_files import find_pictures, spans
from codec.errors import BrokenStreamError, UnreadableError
from codec.types import MotionSource, UInt8Array
from tests.support.synthetic import pan


def moving(count: int = 5) -> UInt8Array:
    """A pan over a texture, uint8 [count, 64, 96, 3]."""
    luma = np.stack(pan(count, (96, 64), velocity=(2.0, 1.0)).frames)
    return np.asarray(np.repeat(luma[..., None], 3, axis=3) if luma.ndim == 3 else luma, np.uint8)


def lossless(pictures: UInt8Array, path: Path) -> Path:
    """Write the pictures as a lossless RGB video at 24 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_an_array_matches_a_lossless_video(tmp_path: Path) -> None:
    """An array and a lossless video of the same pictures yield equal frames."""
    pictures = moving()
    with open_pictures(pictures) as array, open_video(lossless(pictures, tmp_path / "v.mkv")) as video:
        assert array.info.motion_source is video.info.motion_source is MotionSource.PROXY
        assert (array.info.frames_from_header, array.info.average_rate) == (5, Fraction(24))
        for ours, theirs in zip(array, video, strict=True):
            assert (ours.index, ours.type) == (theirs.index, theirs.type)
            assert ours.time == pytest.approx(theirs.time, abs=1e-3)
            for name in ("luma", "residual"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name))
            assert np.array_equal(ours.motion.vectors, theirs.motion.vectors)
            assert np.array_equal(ours.motion.reference, theirs.motion.reference)
            assert np.array_equal(ours.to_rgb(), theirs.to_rgb())
        assert ours.motion.coverage > 0.5


def test_files_are_read_by_number(tmp_path: Path) -> None:
    """Files are sorted by number, other files are ignored, and gaps are listed."""
    for number in (9, 10, 12, 15):
        Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    found = find_pictures(tmp_path)
    assert [int(picture[0, 0, 0]) for picture in found] == [9, 10, 12, 15]
    assert (len(found), found.missing, found.codec) == (4, (11, 13, 14), "png")
    assert spans(found.missing) == "11, 13 to 14"


def test_names_without_numbers_are_sorted(tmp_path: Path) -> None:
    """If any name has no number, the files are sorted by name and have no gaps."""
    for name in ("b.jpg", "a.JPG", "c7.jpeg"):
        Image.new("RGB", (20, 16)).save(tmp_path / name, "JPEG")
    found = find_pictures(tmp_path)
    assert [file.name for file in found.files] == ["a.JPG", "b.jpg", "c7.jpeg"]
    assert (found.missing, found.codec) == ((), "mjpeg")


def test_folders_without_usable_pictures_are_rejected(tmp_path: Path) -> None:
    """The error names the problem: no picture, two pictures with one number, or an unreadable first file."""
    with pytest.raises(UnreadableError, match="has no JPEG or PNG picture"):
        find_pictures(tmp_path)
    (tmp_path / "7.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match=r"7.jpg' is not a picture"):
        open_pictures(find_pictures(tmp_path))
    Image.new("RGB", (20, 16)).save(tmp_path / "007.png")
    with pytest.raises(UnreadableError, match=r"two pictures with number 7: 007.png and 7.jpg|7.jpg and 007.png"):
        find_pictures(tmp_path)


def test_an_unusable_picture_ends_the_video(tmp_path: Path) -> None:
    """The frames before a picture of another size or an unreadable one are yielded, then an error is raised."""
    pictures = list(moving(4))
    with open_pictures([*pictures[:2], pictures[2][:32]]) as reader:
        frames = iter(reader)
        assert [next(frames).index, next(frames).index] == [0, 1]
        with pytest.raises(BrokenStreamError, match=r"picture 2 is uint8 \[32, 96, 3\]; allowed: uint8 \[64, 96, 3\]"):
            next(frames)
    Image.fromarray(pictures[0]).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    with open_pictures(find_pictures(tmp_path)) as reader, pytest.raises(BrokenStreamError, match="it is picture 1"):
        list(reader)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [([], "there are no pictures"), (np.zeros((2, 8, 8)), "given: float64"), (np.zeros((0, 8, 8, 3)), "no pictures")],
)
def test_other_inputs_are_rejected(pictures: UInt8Array, message: str) -> None:
    """The error for anything but RGB pictures describes what was given."""
    with pytest.raises(UnreadableError, match=message):
        open_pictures(pictures)
