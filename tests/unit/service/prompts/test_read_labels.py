"""What each kind of mask picture is read as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.types import UInt8Array
from service.errors import AmbiguousMaskError
from service.prompts.read_prompt import ReadPrompt, read_prompt
from tests.support.mask_pictures import DAVIS, VOID, discs, file_of, indexed, npy, smooth, video_info
from vos.errors import PromptError

THREE = discs()
ONE = discs(count=1)


def read(picture: Image.Image | UInt8Array | bytes, mode: Any = "auto", **options: Any) -> ReadPrompt:
    """Read a picture through its file, or an array as it is."""
    mask = file_of(picture, **options) if isinstance(picture, Image.Image) else picture
    size = picture.size if isinstance(picture, Image.Image) else (160, 96)
    return read_prompt(mask, video_info(*size), 0, mode)


def painted(labels: UInt8Array, *colors: tuple[int, ...]) -> Image.Image:
    """Return a picture in which label i has the i-th color."""
    return Image.fromarray(np.array(colors, np.uint8)[labels])


def bordered(labels: UInt8Array) -> UInt8Array:
    """Return labels with VOC's border, 255, around each object."""
    padded = np.pad(labels, 2, mode="edge")
    around = [padded[y : y + labels.shape[0], x : x + labels.shape[1]] for y in range(5) for x in range(5)]
    return np.where(np.ptp(around, axis=0) > 0, np.uint8(255), labels)


WHITE = Image.fromarray(ONE * 255)
HALVES = np.where(discs(count=1, radius=30) > 0, 1 + (np.arange(160) > 80), 0).astype(np.uint8)
VOC_PALETTE = np.zeros((256, 3), np.uint8)
VOC_PALETTE[: len(DAVIS)] = DAVIS
VOC_PALETTE[255] = VOID
SWAPPED = np.array([(255, 255, 255), (0, 0, 0)], np.uint8)

EXACT: dict[str, tuple[Any, UInt8Array]] = {
    "indexed": (indexed(THREE), THREE),
    "indexed, other ids": (indexed(THREE * 2), THREE * 2),
    "indexed, black palette": (indexed(THREE, DAVIS * 0), THREE),
    "RGB in the DAVIS palette": (painted(THREE, *DAVIS.tolist()), THREE),
    "RGB, one object of the DAVIS palette": (painted(ONE, (0, 0, 0), (0, 128, 0)), ONE * 2),
    "RGB in other colors": (painted(THREE, (0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0)), THREE),
    "RGB, numbered by color": (painted(THREE, (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
                               np.array([0, 3, 2, 1], np.uint8)[THREE]),
    "RGB white": (painted(ONE, (0, 0, 0), (255, 255, 255)), ONE),
    "RGB faint": (painted(ONE, (0, 0, 0), (0, 0, 1)), ONE),
    "RGBA": (painted(THREE, (0, 0, 0, 0), (128, 0, 0, 255), (0, 128, 0, 255), (128, 128, 0, 255)), THREE),
    "RGBA, half transparent objects": (painted(ONE, (9, 9, 9, 0), (255, 0, 0, 120)), ONE),
    "RGBA, transparent white": (painted(ONE, (255, 255, 255, 0), (255, 255, 255, 255)), ONE),
    "grey 255": (Image.fromarray(ONE * 255), ONE),
    "grey 1": (Image.fromarray(ONE), ONE),
    "grey 3": (Image.fromarray(ONE * 3), ONE),
    "grey ids": (Image.fromarray(THREE), THREE),
    "grey ids in RGB": (Image.fromarray(np.repeat(THREE[..., None], 3, axis=2)), THREE),
    "grey levels": (Image.fromarray(THREE * 80), THREE * 80),
    "grey and alpha": (painted(ONE, (200, 0), (200, 255)), ONE),
    "1 bit": (Image.fromarray(ONE > 0), ONE),
    "16 bit, one value": (Image.fromarray(ONE.astype(np.uint16) * 65535), ONE),
    "16 bit, ids": (Image.fromarray(THREE.astype(np.uint16)), THREE),
    "floating-point TIFF": (file_of(Image.fromarray(THREE.astype(np.float32)), "TIFF"), THREE),
    "bool": (ONE > 0, ONE),
    "ids": (THREE.astype(np.int64) * 7, THREE * 7),
    "one id": (ONE * 9, ONE * 9),
    "ids without background": (THREE + 1, THREE + 1),
    "float ids": (THREE.astype(float), THREE),
    "a last axis of 1": (THREE[..., None], THREE),
    "colors": (DAVIS[THREE], THREE),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_masks(name: str) -> None:
    """The labels are these, pixel by pixel."""
    picture, expected = EXACT[name]
    assert np.array_equal(read(picture).prompt.labels, expected)


NOTED: dict[str, tuple[Any, UInt8Array, str]] = {
    "nearly black background": (painted(ONE, (1, 1, 1), (255, 255, 255)), ONE, "#010101 is the background"),
    "white background": (painted(THREE, (255, 255, 255), *DAVIS[1:].tolist()), THREE, "#ffffff, which fills"),
    "palette, black is index 1": (indexed(1 - ONE, SWAPPED), ONE, "background is palette index 1, which is black"),
    "palette, index 0 is not black": (indexed(THREE, DAVIS + np.uint8(70)), THREE, "index 0 is #464646, not black"),
    "black on transparent": (painted(ONE, (0, 0, 0, 0), (0, 0, 0, 255)), ONE, "the opaque pixels are object 1"),
    "VOC's border": (indexed(bordered(THREE), VOC_PALETTE), np.where(bordered(THREE) == 255, 0, THREE), "VOC's border"),
    "VOC's border in RGB": (Image.fromarray(VOC_PALETTE[bordered(THREE)]), np.where(bordered(THREE) == 255, 0, THREE),
                            "VOC's border"),
    "VOC's border in grey": (Image.fromarray(bordered(THREE)), np.where(bordered(THREE) == 255, 0, THREE),
                             "VOC's border"),
    "16 bit, large ids": (Image.fromarray(THREE.astype(np.uint16) * 1000), THREE, "numbered 1 to 3 in ascending order"),
    "probabilities": (np.where(ONE > 0, 0.9, 0.2), ONE, "at least 0.5"),
    "inverted": (Image.fromarray((1 - ONE) * 255), 1 - ONE, "covers 97% of the picture and 100% of its border"),
    "all white": (Image.fromarray(ONE * 0 + 255), ONE * 0 + 1, "object 1 covers 100%"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTED)
def test_masks_with_a_note(name: str) -> None:
    """The likelier reading, and a note that says so."""
    picture, expected, note = NOTED[name]
    found = read(picture)
    assert np.array_equal(found.prompt.labels, expected)
    assert any(note in text for text in found.notes), found.notes


SMOOTHED: dict[str, tuple[Image.Image, UInt8Array]] = {
    "colors": (smooth(painted(THREE, *DAVIS.tolist())), THREE),
    "bright colors": (smooth(painted(THREE, (0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0))), THREE),
    "touching colors": (smooth(painted(HALVES, *DAVIS.tolist())), HALVES),
    "few colors of a palette": (smooth(painted(THREE, *DAVIS.tolist())).quantize(40), THREE),
    "white": (smooth(WHITE), ONE),
    "white, much": (smooth(WHITE, 12), ONE),
    "three greys": (smooth(Image.fromarray(THREE * 80)), THREE),
    "opacity": (Image.merge("RGBA", [Image.fromarray(ONE * 0 + i) for i in (255, 0, 0)] + [smooth(WHITE)]), ONE),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothed_edges_are_no_objects(name: str) -> None:
    """There are as many objects as plain colors; only pixels along edges differ."""
    picture, expected = SMOOTHED[name]
    found = read(picture)
    assert found.prompt.object_ids == tuple(range(1, expected.max() + 1))
    edges = np.ptp([np.roll(expected, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0) > 0
    assert np.array_equal(found.prompt.labels[~edges], expected[~edges])
    assert found.notes


def test_a_soft_grey_mask_is_thresholded_at_half() -> None:
    """Edges of many pixels have no plain levels; the threshold is said."""
    ramp = np.clip(np.abs(np.arange(640) - 320) * -6.0 + 600, 0, 255).astype(np.uint8)
    found = read(Image.fromarray(np.repeat(ramp[None], 96, axis=0)))
    assert np.array_equal(found.prompt.labels[0], ramp >= 128)
    assert any("object 1 is where they are at least 128" in note for note in found.notes)


@pytest.mark.parametrize("quality", [90, 60])
def test_thin_parts_survive_jpeg(quality: int) -> None:
    """A pole of three pixels has no inside, but it has the color of its object and no other beside it."""
    labels = ONE.copy()
    labels[4:90, 120:123] = 1
    found = read(Image.fromarray(labels * 255), kind="JPEG", quality=quality).prompt.labels
    assert (found == labels)[4:90, 115:128].mean() > 0.95


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.5, 6.0, 9.0])
@pytest.mark.parametrize("quality", [90, 60, 30])
def test_no_object_is_lost_in_jpeg_without_a_word(radius: float, quality: int) -> None:
    """A small object of its own color is read, or the mask is refused."""
    labels = discs(count=2)
    rows, columns = np.mgrid[:96, :160]
    labels[(rows - 20) ** 2 + (columns - 80) ** 2 < radius**2] = 3
    try:
        found = read(painted(labels, (0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0)), kind="JPEG", quality=quality)
    except AmbiguousMaskError:
        return
    assert found.prompt.object_ids == (1, 2, 3)
    assert abs(found.objects[2].area - (labels == 3).sum()) < 0.3 * (labels == 3).sum() + 20


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_is_refused(mode: str, kind: str) -> None:
    """A picture of a scene is no mask."""
    rows, columns = np.mgrid[:96, :160]
    noise = np.random.default_rng(0).normal(0, 6, (96, 160))
    scene = 120 + 60 * np.sin(columns / 25) + 50 * np.cos(rows / 17) + noise
    photo = Image.fromarray(np.stack((scene, scene * 0.8 + 20, 255 - scene), axis=2).clip(0, 255).astype(np.uint8))
    if (mode, kind) == ("P", "JPEG"):
        return
    picture = photo.quantize(200) if mode == "P" else photo.convert(mode)
    with pytest.raises(AmbiguousMaskError, match=r"as a photograph has|not plain which"):
        read(picture, kind=kind)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (painted(np.indices((96, 160))[1] // 54, (255, 0, 0), (0, 255, 0), (0, 0, 255)), "no color fills its border"),
        (painted(np.indices((96, 160))[1] // 80, (1, 1, 1), (2, 2, 2)), "no color fills its border"),
        (Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)), "more than 256 colors"),
    ],
)  # fmt: skip
def test_a_mask_without_plain_objects_is_refused(picture: Image.Image, message: str) -> None:
    """The message says why it is not plain."""
    with pytest.raises(AmbiguousMaskError, match=message):
        read(picture)


def test_a_jpeg_of_ids_is_refused() -> None:
    """JPEG does not keep ids, which are all nearly black."""
    with pytest.raises(AmbiguousMaskError, match="does not keep small values; save it as PNG"):
        read(Image.fromarray(THREE), kind="JPEG")


@pytest.mark.parametrize("picture", [Image.new("RGB", (160, 96)), Image.new("RGBA", (160, 96), (9, 9, 9, 0))])
def test_a_mask_without_objects_is_refused(picture: Image.Image) -> None:
    """All is background."""
    with pytest.raises(PromptError, match="marks no object"):
        read(picture)


def test_a_small_object_is_not_taken_for_a_smoothed_edge() -> None:
    """Its color lies between those of its neighbors, but along a short part of their edge only."""
    labels = discs(count=1, radius=30)
    labels[48:50, 109:111] = 2
    colors = ((0, 0, 0), (128, 0, 0), (64, 0, 0))
    assert read(painted(labels, *colors)).objects[1].area == 4
    assert np.array_equal(read(indexed(labels, np.array(colors, np.uint8))).prompt.labels, labels)


class TestModes:
    """`mask_mode` for users who know what the values mean."""

    def test_ids(self) -> None:
        """Values are ids."""
        assert np.array_equal(read(Image.fromarray(ONE * 9), "ids").prompt.labels, ONE * 9)
        assert np.array_equal(read(indexed(1 - ONE, SWAPPED), "ids").prompt.labels, 1 - ONE)
        assert np.array_equal(read(Image.fromarray(bordered(THREE)), "ids").prompt.labels, bordered(THREE))

    def test_colors(self) -> None:
        """Each color or grey is an object."""
        assert np.array_equal(read(Image.fromarray(THREE * 80), "colors").prompt.labels, THREE)
        assert np.array_equal(read(indexed(1 - ONE, SWAPPED), "colors").prompt.labels, ONE)

    def test_binary(self) -> None:
        """All that is marked is object 1."""
        for picture in (indexed(THREE), painted(THREE, *DAVIS.tolist()), Image.fromarray(THREE)):
            assert np.array_equal(read(picture, "binary").prompt.labels, THREE > 0)
        assert np.array_equal(read(painted(ONE, (99, 99, 99), (200, 200, 200)), "binary").prompt.labels, ONE)
        assert np.array_equal(read(indexed(1 - ONE, SWAPPED), "binary").prompt.labels, ONE)

    @pytest.mark.parametrize(
        ("picture", "options", "message"),
        [
            (painted(THREE, *DAVIS.tolist()), {}, "allowed for it: auto, colors, binary"),
            (Image.fromarray(THREE), {"kind": "JPEG"}, "save the mask as PNG"),
            (Image.fromarray(THREE.astype(np.uint16) * 1000), {}, "values up to 3000; allowed: 0 to 255"),
        ],
    )
    def test_ids_of_what_has_none(self, picture: Image.Image, options: dict[str, str], message: str) -> None:
        """The message says what is allowed."""
        with pytest.raises(AmbiguousMaskError, match=message):
            read(picture, "ids", **options)


@pytest.mark.parametrize("seed", range(12))
def test_all_exact_forms_of_random_labels_read_the_same(seed: int) -> None:
    """Indexed, RGB and RGBA in the DAVIS palette, greys and NPY are the same mask."""
    draw = np.random.default_rng(seed)
    labels = np.zeros((96, 160), np.uint8)
    for number in draw.permutation(np.arange(1, 8))[: draw.integers(2, 8)]:
        y, x, height, width = draw.integers((4, 4, 1, 1), (80, 140, 40, 60))
        labels[y : y + height, x : x + width] = number
    colors = np.concatenate((DAVIS[labels], np.where(labels > 0, 255, 0).astype(np.uint8)[..., None]), axis=2)
    forms = {
        "indexed": indexed(labels), "rgb": Image.fromarray(DAVIS[labels]), "rgba": Image.fromarray(colors),
        "npy": npy(labels), "array": labels,
    }  # fmt: skip
    if len(np.unique(labels)) > 2:  # a single grey is object 1
        forms["grey"] = Image.fromarray(labels)
        forms["grey, 16 bit"] = Image.fromarray(labels.astype(np.uint16))
    for name, form in forms.items():
        assert np.array_equal(read(form).prompt.labels, labels), name
