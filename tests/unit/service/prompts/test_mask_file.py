"""Mask files: formats, orientation, and files that are damaged or hostile."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.types import UInt8Array
from service.errors import MaskFileError, MaskSizeError
from service.prompts.mask_file import open_mask
from service.prompts.read_prompt import read_prompt
from tests.support.mask_pictures import DAVIS, discs, file_of, indexed, npy, video_info
from tests.support.media import header_only

WIDTH, HEIGHT = 160, 96
INFO = video_info(WIDTH, HEIGHT)
WHITE = Image.fromarray(np.where(discs(count=1) > 0, np.uint8(255), np.uint8(0)))


def labels_of(data: bytes) -> UInt8Array:
    """Read the labels of a file for the video."""
    return read_prompt(data, INFO, 0).prompt.labels


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_keep_every_pixel(kind: str, options: dict[str, object]) -> None:
    """White on black is object 1."""
    assert np.array_equal(labels_of(file_of(WHITE.convert("RGB"), kind, **options)), discs(count=1))


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 95), ("JPEG", 50), ("JPEG", 20), ("WEBP", 80), ("WEBP", 20)])
def test_noise_of_lossy_formats_makes_no_object(kind: str, quality: int) -> None:
    """One disc stays one object, apart from pixels along its edge, and a note says what was done."""
    read = read_prompt(file_of(WHITE.convert("RGB"), kind, quality=quality), INFO, 0)
    assert read.prompt.object_ids == (1,)
    assert (read.prompt.labels != discs(count=1)).sum() < 0.1 * discs(count=1).sum()
    assert any("merged into 2 plain ones" in note for note in read.notes)


@pytest.mark.parametrize("quality", [95, 50])
def test_a_jpeg_of_palette_colors_keeps_their_ids(quality: int) -> None:
    """JPEG moves colors a little; they are still those of the DAVIS palette."""
    read = read_prompt(file_of(Image.fromarray(DAVIS[discs()]), "JPEG", quality=quality, subsampling=0), INFO, 0)
    assert (read.prompt.labels != discs()).mean() < 0.02


def test_an_npy_file_holds_object_ids() -> None:
    """The values are ids, also if there is only one."""
    assert np.array_equal(labels_of(npy(discs() * 5)), discs() * 5)
    assert np.array_equal(labels_of(npy(discs(count=1).astype(np.int64) * 7)), discs(count=1) * 7)


def test_a_pickle_in_an_npy_file_is_not_loaded(tmp_path: Path) -> None:
    """Loading a pickle would run its code."""
    np.save(tmp_path / "mask.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(MaskFileError, match="array of object"):
        open_mask(tmp_path / "mask.npy", lambda _size: None)
    with pytest.raises(MaskFileError, match="not a picture that can be read"):
        labels_of(pickle.dumps(discs()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_is_heeded(orientation: int, kind: str) -> None:
    """The stored picture is the upright one turned back, as cameras and phones store it."""
    upright = discs(count=2)
    upright[4:20, 4:60] = 1
    back = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.T, 6: np.rot90,
            7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1)}  # fmt: skip
    stored = back.get(orientation, np.asarray)(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[stored])
    read = read_prompt(file_of(picture, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})), INFO, 0)
    expected = np.array([0, 2, 1], np.uint8)[upright]  # numbered by color: blue is #0000ff
    assert (read.prompt.labels != expected).mean() < (0.02 if kind == "JPEG" else 1e-9)


def test_only_the_first_picture_of_a_file_is_read() -> None:
    """A TIFF of several pages says so."""
    pages = [indexed(discs(count=n)) for n in (1, 2)]
    read = read_prompt(file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:]), INFO, 0)
    assert read.prompt.object_ids == (1,)
    assert read.notes == ("the mask file has 2 pictures; the first is read",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture that can be read; allowed: PNG, JPEG, BMP, WebP, TIFF or NPY"),
        (b"not a picture", "not a picture that can be read"),
        (file_of(Image.new("L", (8, 8)), "GIF"), "not a picture that can be read"),
        (file_of(WHITE)[:80], "is damaged"),
        (header_only(WIDTH, HEIGHT), "is damaged"),
        (file_of(WHITE, "TIFF")[:200], "is damaged|not a picture"),
        (npy(discs())[:300], "is damaged"),
        (npy(discs())[:20], "is damaged"),
        (npy(discs()).replace(b"}", b"("), "is damaged"),
        (npy(np.zeros((HEIGHT, WIDTH, 5), np.uint8)), r"array of uint8 \[96, 160, 5\]"),
        (npy(np.zeros(HEIGHT, np.uint8)), r"array of uint8 \[96\]"),
        (npy(np.full((HEIGHT, WIDTH), -1)), "values from -1; allowed: 0 or more"),
        (npy(np.full((HEIGHT, WIDTH), np.nan)), "from nan to nan"),
        (npy(np.full((HEIGHT, WIDTH), "x")), "array of <U1"),
    ],
)
def test_a_file_that_is_no_mask_is_refused(data: bytes, message: str) -> None:
    """The message says what is wrong and what is allowed."""
    with pytest.raises(MaskFileError, match=message):
        labels_of(data)


@pytest.mark.parametrize("size", [(60_000, 60_000), (12_000, 9_000), (161, 96)])
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    """A picture or array that claims more pixels than the video is refused by its header alone."""
    array = npy(discs()).replace(b"(96, 160), }      ", f"({size[1]}, {size[0]}), }}".ljust(18).encode())
    for data in (header_only(*size), array):
        with pytest.raises(MaskSizeError, match=f"is {size[0]}x{size[1]}; the video is displayed at 160x96"):
            labels_of(data)


def test_reading_in_threads_restores_the_pixel_limit() -> None:
    """Pillow's pixel limit is global; threads that lift it to read a header restore it."""
    before = Image.MAX_IMAGE_PIXELS
    assert before

    def refused(_: int) -> bool:
        with pytest.raises(MaskSizeError):
            labels_of(header_only(60_000, 60_000))
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(400)))
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_file_is_named(tmp_path: Path) -> None:
    """Errors name the file, and say whether it is missing or a folder."""
    with pytest.raises(MaskFileError, match=r"absent\.png does not exist"):
        read_prompt(tmp_path / "absent.png", INFO, 0)
    with pytest.raises(MaskFileError, match="is not a file; a picture is expected"):
        read_prompt(tmp_path, INFO, 0)
    (tmp_path / "small.png").write_bytes(file_of(Image.new("L", (8, 8))))
    with pytest.raises(MaskSizeError, match=r"small\.png is 8x8; the video is displayed at 160x96; both must be equal"):
        read_prompt(tmp_path / "small.png", INFO, 0)
