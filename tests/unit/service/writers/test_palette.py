"""The DAVIS color map."""

from __future__ import annotations

from service.writers.palette import davis_palette

PUBLISHED = [
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128),
    (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
]  # fmt: skip
"""The 21 colors of the PASCAL VOC development kit, in the order of its classes."""


def test_palette_is_the_published_one() -> None:
    """The first colors are those of PASCAL VOC for its background and 20 classes; 255 has its border color."""
    palette = davis_palette()
    assert [tuple(color) for color in palette[:21].tolist()] == PUBLISHED
    assert palette[255].tolist() == [224, 224, 192]


def test_colors_are_all_different() -> None:
    """No two of the 256 labels share a color."""
    assert len({tuple(color) for color in davis_palette().tolist()}) == 256
