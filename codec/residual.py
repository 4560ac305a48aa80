"""Motion-compensated prediction and what it leaves over, at analysis size (pure).

The prediction is bilinear, edges repeated; the two lists of a bi-predicted cell are averaged. The result differs from
the coded residual by the codec's own interpolation filter, weighted prediction and deblocking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import STRIDE, Float32Array, Int16Array, MotionField, UInt8Array

_FRACTION = 32
"""Steps of a pixel that cv2.remap distinguishes with fixed-point maps."""


def residual(luma: UInt8Array, motion: MotionField, references: Mapping[int, UInt8Array]) -> Int16Array:
    """Luma minus its motion-compensated prediction.

    Args:
        luma: uint8 [height, width].
        motion: Motion of the frame.
        references: Luma of each frame that the motion names, by decode index.

    Returns:
        int16 [height, width]; 0 in cells without a vector.
    """
    left: Int16Array = np.zeros(luma.shape, np.int16)
    if not motion.references:
        return left
    predictions = [
        predict(motion.vectors[i], motion.reference[i], references, luma.shape)
        if motion.reference[i].max() >= 0
        else None
        for i in (0, 1)
    ]
    past, future = predictions
    if past is None or future is None:
        prediction = past if past is not None else future
        assert prediction is not None
    else:
        both = _enlarge(np.asarray((motion.reference >= 0).all(axis=0)), luma.shape)
        only_future = _enlarge(motion.reference[0] < 0, luma.shape)
        prediction = np.where(both, cv2.addWeighted(past, 0.5, future, 0.5, 0.0), np.where(only_future, future, past))
    cv2.subtract(luma, prediction, left, _enlarge(motion.covered, luma.shape), cv2.CV_16S)
    return left


def predict(
    vectors: Float32Array,
    reference: npt.NDArray[np.int32],
    references: Mapping[int, UInt8Array],
    shape: tuple[int, int],
) -> UInt8Array:
    """Prediction of a whole frame by one list.

    Args:
        vectors: float32 [rows, columns, 2] in pixels.
        reference: int32 [rows, columns], decode index or -1 (the prediction there has no meaning).
        references: Luma of each named frame, by decode index.
        shape: (height, width) of the prediction.
    """
    names = [int(name) for name in np.unique(reference) if name >= 0]
    place, fraction = _maps(vectors, shape)
    prediction = cv2.remap(references[names[0]], place, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    for name in names[1:]:
        other = cv2.remap(references[name], place, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cv2.copyTo(other, _enlarge(reference == name, shape), prediction)
    return np.asarray(prediction)


def _maps(vectors: Float32Array, shape: tuple[int, int]) -> tuple[Int16Array, npt.NDArray[np.uint16]]:
    """cv2.remap's fixed-point maps: whole pixel int16 [h, w, 2] and 32nds of a pixel uint16 [h, w]."""
    height, width = shape
    steps = np.rint(vectors * _FRACTION).astype(np.int32)
    whole = (steps >> 5).astype(np.int16)
    part = steps & (_FRACTION - 1)
    place = cv2.add(
        _enlarge(whole.view(np.int32)[..., 0], shape).view(np.int16).reshape(height, width, 2), _grid(shape)
    )
    return np.asarray(place, np.int16), _enlarge((part[..., 1] * _FRACTION + part[..., 0]).astype(np.uint16), shape)


_grids: dict[tuple[int, int], Int16Array] = {}


def _grid(shape: tuple[int, int]) -> Int16Array:
    """Position (x, y) of every pixel, int16 [h, w, 2]."""
    if shape not in _grids:
        _grids.clear()
        y, x = np.indices(shape, np.int16)
        _grids[shape] = np.stack((x, y), axis=-1)
    return _grids[shape]


def _enlarge(cells: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Cell values [rows, columns] repeated over their pixels [height, width]."""
    height, width = shape
    array = cells.view(np.uint8) if cells.dtype == bool else cells
    full = np.repeat(np.repeat(array, STRIDE, axis=0), STRIDE, axis=1)
    return np.ascontiguousarray(full[:height, :width])
