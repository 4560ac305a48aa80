"""The DAVIS colour map."""

from __future__ import annotations

from service.writers.palette import davis_palette

PUBLISHED = [
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128),
    (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
]  # fmt: skip
"""The 21 colours of the PASCAL VOC development kit, in the order of its classes."""


def test_palette_is_the_published_one() -> None:
    """The first colours are those that PASCAL VOC lists for its background and 20 classes; 255 is its border colour."""
    palette = davis_palette()
    assert [tuple(colour) for colour in palette[:21].tolist()] == PUBLISHED
    assert palette[255].tolist() == [224, 224, 192]


def test_colours_are_all_different() -> None:
    """No two of the 256 labels share a colour."""
    assert len({tuple(colour) for colour in davis_palette().tolist()}) == 256
