"""Soft masks as text, in lines of the mask log."""

from __future__ import annotations

import numpy as np
import pytest

from codec.types import FrameType, UInt8Array
from service.writers.mask_line import encode_line, encode_record, is_valid, mask_of, parse_line, without_soft
from service.writers.soft_line import decode_soft, encode_soft
from vos.types import FrameMask, MaskSource, SoftMask


def smooth(rows: int, columns: int) -> UInt8Array:
    """Return a soft disc in the middle of nothing."""
    y, x = np.mgrid[:rows, :columns]
    distance = rows / 4 - np.hypot(y - rows / 2, x - columns / 3)
    return np.rint(255 / (1 + np.exp(-distance / 3))).astype(np.uint8)


@pytest.mark.parametrize(
    "values",
    [
        smooth(120, 214),
        np.random.default_rng(1).integers(0, 256, (7, 9)).astype(np.uint8),
        np.zeros((5, 4), np.uint8),
        np.full((1, 1), 255, np.uint8),
        np.pad(np.full((1, 2), 3, np.uint8), ((4, 0), (0, 5))),
    ],
    ids=["disc", "noise", "empty", "one cell", "a corner"],
)
def test_soft_masks_are_read_as_they_were_written(values: UInt8Array) -> None:
    """Values and extent are the same, whatever the object's place."""
    text = encode_soft({3: SoftMask(values, (1.5, 100 / 3)), 200: SoftMask(values[::-1], values.shape)})
    assert not set(text) & set(b"\n\r\t")
    found = decode_soft(text)
    assert list(found) == [3, 200]
    np.testing.assert_array_equal(found[3].values, values)
    np.testing.assert_array_equal(found[200].values, values[::-1])
    assert (found[3].values.dtype, found[3].extent, found[200].extent) == (np.uint8, (1.5, 100 / 3), values.shape)


def test_a_smooth_mask_takes_few_bytes() -> None:
    """The disc of 2,600 cells takes less than half a byte per cell."""
    text = encode_soft({1: SoftMask(smooth(120, 214), (120, 213.5))})
    assert len(text) < 0.5 * np.count_nonzero(smooth(120, 214))


def test_a_line_is_the_same_with_soft_masks_after_it() -> None:
    """What readers see is the line without them; damage to them is found."""
    labels = (smooth(40, 60) > 127).astype(np.uint8)
    mask = FrameMask(4, 160, 0.16, FrameType.B, MaskSource.KEY, labels, {1: 0.25})
    soft = {1: SoftMask(smooth(10, 15), (10, 15)), 2: SoftMask(np.zeros((10, 15), np.uint8), (10, 15))}
    record = encode_record(FrameMask(4, 160, 0.16, FrameType.B, MaskSource.KEY, labels, {1: 0.25}, soft))
    assert encode_record(mask) == encode_line(mask)
    assert without_soft(record + b"\n") == without_soft(encode_line(mask) + b"\n") == encode_line(mask)
    again = mask_of(parse_line(record), 60, 40)
    assert again.soft is not None
    assert again.soft.keys() == {1, 2}
    np.testing.assert_array_equal(again.soft[1].values, soft[1].values)
    np.testing.assert_array_equal(again.labels, labels)
    assert mask_of(parse_line(encode_line(mask)), 60, 40).soft is None
    place = record.index(b'"data":"') + 20
    for damaged in (record[:-5], record[:place] + b"\0\0" + record[place + 2 :], record[:place] + record[place + 4 :]):
        assert not is_valid(damaged)
    assert is_valid(record)
