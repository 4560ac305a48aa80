"""Which part of a picture the base network sees at a key frame: all of it, or a window around small objects.

In a large picture of small objects, almost everything that the base network computes is background, and reading the
memory takes time with the square of the picture's pixels. The window follows the propagated masks. It stays where it
is while it holds them, so that the next key frame can be encoded before its masks are known; every choice depends on
masks alone. (AdaFocus, Wang et al., ICCV 2021, looks at parts of pictures for the same reason.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from vos.masks.geometry import PaddedSize, to_grid
from vos.refinement.region import Span, object_bounds

LEAST_SIDE = 640
"""Shortest side of a window in pixels, whose square has the pixels of a picture of 480 lines. At that size no picture
of usual shape has a window."""
MOST_SHARE = 0.5
"""Largest share of the picture that a window may be; a larger one is the whole picture."""
WHOLE_EVERY = 8
"""One of this many key frames is seen whole, so that the memory knows what else is in the picture."""
_SIDE_STEP = 128
"""Longer sides are multiples of this many pixels, so that few shapes occur: libraries prepare layers for each."""
_MARGIN = 96
"""Pixels around the object bounds that a window holds, in addition to a share of their size."""
_MARGIN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Window:
    """A box of the padded picture, in pixels; all four are multiples of the network's stride."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, padded: Tensor, stride: int = 1) -> Tensor:
        """Map [..., padded_height / stride, padded_width / stride] -> [..., height / stride, width / stride]."""
        top, left = self.top // stride, self.left // stride
        return padded[..., top : top + self.height // stride, left : left + self.width // stride]

    def place(self, part: Tensor, size: PaddedSize, stride: int, outside: float) -> Tensor:
        """Reverse `cut`: put a part into the padded picture, with the value `outside` around it."""
        below = size.padded_height - self.top - self.height
        right = size.padded_width - self.left - self.width
        sides = (self.left // stride, right // stride, self.top // stride, below // stride)
        return F.pad(part, sides, value=outside) if any(sides) else part

    def in_picture(self, size: PaddedSize) -> tuple[tuple[slice, slice], tuple[int, int, int, int]]:
        """Return the rows and columns of the picture that the window holds, and how to pad them for `F.pad`."""
        rows, above, below = _overlap(self.top - size.top, self.height, size.height)
        columns, before, after = _overlap(self.left - size.left, self.width, size.width)
        return (rows, columns), (before, after, above, below)

    def holds(self, rows: Span, columns: Span) -> bool:
        """Whether the window holds a box of the padded picture."""
        return (
            self.top <= rows[0]
            and rows[1] <= self.top + self.height
            and self.left <= columns[0]
            and columns[1] <= self.left + self.width
        )


class WindowChoice:
    """Chooses the windows of one video's key frames, and knows those of memorized frames.

    Args:
        size: Sizes of the video's pictures.
        stride: Multiple in pixels of all positions and sides.
        narrows: Whether windows are used at all; else every picture is seen whole.
    """

    def __init__(self, size: PaddedSize, stride: int, narrows: bool) -> None:
        self._size, self._stride = size, stride
        self.whole = Window(0, 0, size.padded_height, size.padded_width)
        self._most_pixels = MOST_SHARE * size.padded_height * size.padded_width
        least = min(LEAST_SIDE, size.padded_height) * min(LEAST_SIDE, size.padded_width)
        self._narrows = narrows and least <= self._most_pixels
        self._around = self.whole
        self._since_whole = 0
        self._memorized: dict[int, Window] = {}

    @property
    def expected(self) -> Window:
        """Window of the next key frame, if the objects stay within the latest one."""
        return self.whole if self._whole_is_due else self._around

    def choose(self, soft: Tensor | None) -> Window:
        """Return the window of the next key frame.

        Args:
            soft: Propagated soft masks [K, rows, columns] on the stride-4 grid; None if they say nothing about where
                objects are.
        """
        self._around = self._around_objects(soft)
        chosen = self.expected
        self._since_whole = 0 if chosen == self.whole else self._since_whole + 1
        return chosen

    def expect(self, masks: Tensor) -> None:
        """Expect the objects of the next key frame where those of this one are, [K, padded_height, padded_width]."""
        if self._narrows:
            self._around = self._around_objects(to_grid(self._size.crop(masks)))

    def memorize(self, index: int, window: Window, held: tuple[int, ...]) -> None:
        """Note the window of a memorized frame, and forget those of frames that are no longer held."""
        self._memorized = {i: self.of(i) for i in held}
        self._memorized[index] = window

    def of(self, index: int) -> Window:
        """Window of a memorized frame, given by its presentation index."""
        return self._memorized.get(index, self.whole)

    def capture(self) -> dict[str, npt.NDArray[Any]]:
        """Return the state for `restore`."""
        rows = [(self._since_whole, *astuple(self._around))]
        rows += [(index, *astuple(window)) for index, window in self._memorized.items()]
        return {"windows": np.array(rows, np.int64)}

    def restore(self, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a captured state."""
        if "windows" in captured:
            (self._since_whole, *around), *memorized = captured["windows"].tolist()
            self._around = Window(*around)
            self._memorized = {index: Window(*window) for index, *window in memorized}

    @property
    def _whole_is_due(self) -> bool:
        return self._since_whole + 1 >= WHOLE_EVERY

    def _around_objects(self, soft: Tensor | None) -> Window:
        """Return the latest window if it still fits, else a new one; the whole picture if an object is lost."""
        if not self._narrows or soft is None or float(soft.flatten(1).amax(dim=1).min()) <= 0.5:
            return self.whole
        bounds = object_bounds(soft)
        assert bounds is not None
        rows = _with_margin(bounds[0], self._size.top, self.whole.height)
        columns = _with_margin(bounds[1], self._size.left, self.whole.width)
        height, width = _side(rows, self.whole.height), _side(columns, self.whole.width)
        if height * width > self._most_pixels:
            return self.whole
        latest = self._around
        if (latest.height, latest.width) == (height, width) and latest.holds(rows, columns):
            return latest
        top, left = self._start(rows, height, self.whole.height), self._start(columns, width, self.whole.width)
        return Window(top, left, height, width)

    def _start(self, span: Span, side: int, whole: int) -> int:
        start = (sum(span) - side) // 2 // self._stride * self._stride
        return min(max(0, start), whole - side)


def _with_margin(span: Span, offset: int, whole: int) -> Span:
    """Object bounds on one axis of the picture -> what a window must hold of the padded picture."""
    margin = _MARGIN + int(_MARGIN_SHARE * (span[1] - span[0]))
    return max(0, span[0] + offset - margin), min(whole, span[1] + offset + margin)


def _side(span: Span, whole: int) -> int:
    length = -(-(span[1] - span[0]) // _SIDE_STEP) * _SIDE_STEP
    return min(whole, max(LEAST_SIDE, length))


def _overlap(start: int, length: int, whole: int) -> tuple[slice, int, int]:
    """Return what `length` pixels from `start` have of a picture's side, and the pixels before and after it."""
    first, last = max(0, start), min(whole, start + length)
    return slice(first, last), first - start, start + length - last
