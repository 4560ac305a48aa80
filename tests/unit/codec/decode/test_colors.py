"""The colors of pictures, tagged or assumed."""

from __future__ import annotations

from itertools import product

import av
import numpy as np
import pytest

from codec.decode.colors import Colors, colors_of, drawn_in, to_rgb

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""Red and blue in luma, by matrix (ITU-T H.273, table 4)."""


def flat(
    levels: tuple[int, int, int], *, size: tuple[int, int] = (64, 48), matrix: int = 2, full: int = 0
) -> av.VideoFrame:
    """Return a picture of one color."""
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, full
    return frame


def rgb_by_formula(levels: tuple[int, int, int], matrix: int, is_full: bool) -> list[float]:
    """Convert by the equations of H.273, clause 8.3."""
    red, blue = WEIGHTS[matrix]
    luma, *chroma = (float(level) for level in levels)
    y = luma / 255 if is_full else (luma - 16) / 219
    b, r = ((c - 128) / (255 if is_full else 224) for c in chroma)
    values = y + (2 - 2 * red) * r, 0.0, y + (2 - 2 * blue) * b
    green = (y - red * values[0] - blue * values[2]) / (1 - red - blue)
    return [255 * min(1, max(0, value)) for value in (values[0], green, values[2])]


@pytest.mark.parametrize(("matrix", "full"), list(product(WEIGHTS, (1, 2))))
def test_rgb_follows_matrix_and_range(matrix: int, full: int) -> None:
    """RGB is what the equations of the standard give for the picture's tags."""
    levels = (120, 100, 170)
    pixel = to_rgb(flat(levels, matrix=matrix, full=full), (64, 48))[20, 20]
    assert pixel == pytest.approx(rgb_by_formula(levels, matrix, full == 2), abs=2)


@pytest.mark.parametrize(("size", "matrix"), [((720, 480), 6), ((720, 576), 5), ((960, 720), 1), ((1280, 540), 1)])
def test_untagged_pictures_are_read_as_players_do(size: tuple[int, int], matrix: int) -> None:
    """BT.709 from 1280 columns or above 576 lines, BT.601 below, limited range."""
    levels = (120, 100, 170)
    frame = flat(levels, size=size)
    assert (colors_of(frame).matrix, colors_of(frame).is_full_range) == (matrix, False)
    assert to_rgb(frame, size)[20, 20] == pytest.approx(rgb_by_formula(levels, matrix, False), abs=2)


@pytest.mark.parametrize("matrix", [3, 8, 11, 14])
def test_a_matrix_that_swscale_lacks_is_no_error(matrix: int) -> None:
    """Reserved and rare matrices give RGB too."""
    assert to_rgb(flat((120, 128, 128), matrix=matrix), (32, 24)).shape == (24, 32, 3)


@pytest.mark.parametrize("colors", [Colors(1, 1, 1, False), Colors(6, 6, 6, True), Colors(9, 9, 14, False)])
def test_colors_to_draw_are_the_inverse_of_rgb(colors: Colors) -> None:
    """A color in a video's own samples is shown as that color."""
    palette = np.random.default_rng(0).integers(0, 256, (20, 3), dtype=np.uint8)
    for wanted, levels in zip(palette, drawn_in(palette, colors, deep=False), strict=True):
        frame = flat(tuple(map(int, levels)), matrix=colors.matrix, full=int(colors.color_range))  # type: ignore[arg-type]
        assert to_rgb(frame, (64, 48))[20, 20] == pytest.approx(wanted, abs=3)


@pytest.mark.parametrize(("transfer", "white"), [(16, 573), (18, 721)])
def test_white_in_hdr_is_graphics_white(transfer: int, white: int) -> None:
    """White is 58 % of PQ and 75 % of HLG (ITU-R BT.2408, table 1), black stays black."""
    levels = drawn_in(np.array(((255, 255, 255), (0, 0, 0)), np.uint8), Colors(9, 9, transfer, False), deep=True) / 64
    assert levels[:, 0] == pytest.approx([white, 64], abs=1)
    assert levels[:, 1:] == pytest.approx(512, abs=1)
