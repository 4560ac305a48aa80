"""Refine the edges of masks at the video's own resolution, by the colours of the full-size picture."""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import STRIDE, Float32Array, PicturePlanes, UInt8Array, VideoInfo
from vos import kernels

_WEIGHTS = np.array((1, 2, 2), np.float32) / 255
"""Factor of luma and of the two chroma channels, whose contrast is lower."""
_RIDGE = 0.004
"""Variance of colour within 3 x 3 cells below which edges hardly follow the picture."""
_MARGIN = 0.3
"""Largest change of a share. Pixels of which a mask is surer keep their label, so thin parts do not vanish."""


def refined_labels(
    soft: Float32Array, luma: UInt8Array, planes: PicturePlanes, object_ids: tuple[int, ...], info: VideoInfo
) -> UInt8Array:
    """Soft masks on the stride-4 grid -> label image in display size and orientation, with edges along the picture's.

    Chosen on 6 development sequences analyzed at 480, 240 and 160 lines and on 11 training sequences, see
    `benchmarks/accuracy/edges.py`.

    Args:
        soft: Soft masks, float32 [K, rows, columns]; they sum to at most 1 over K.
        luma: Luma at analysis size, uint8 [height, width].
        planes: The picture at full size.
        object_ids: Label of each of the K objects.
        info: Sizes and orientation of the video.
    """
    labels = np.zeros((info.coded_height, info.coded_width), np.uint8)
    scale_y = info.analysis_height / (info.coded_height * STRIDE)
    scale_x = info.analysis_width / (info.coded_width * STRIDE)
    half = -(-info.analysis_width // 2), -(-info.analysis_height // 2)
    chroma = (cv2.resize(plane, half, interpolation=cv2.INTER_LINEAR) for plane in (planes.u, planes.v))
    means = _cell_means(luma, STRIDE), *(_cell_means(np.asarray(plane, np.uint8), STRIDE // 2) for plane in chroma)
    colours = np.stack(means, axis=2) * _WEIGHTS
    kernels.guided_labels(
        np.ascontiguousarray(soft), colours, np.array(object_ids, np.uint8), planes.y, planes.u, planes.v, _WEIGHTS,
        scale_y, scale_x, _RIDGE, _MARGIN, labels,
    )  # fmt: skip
    return np.ascontiguousarray(info.to_display(labels)).astype(np.uint8, copy=False)


def _cell_means(plane: UInt8Array, cell: int) -> UInt8Array:
    """Means of a plane's squares of `cell` x `cell` samples, uint8 [rows, columns]."""
    height, width = plane.shape
    padded = cv2.copyMakeBorder(plane, 0, -height % cell, 0, -width % cell, cv2.BORDER_REPLICATE)
    cells = padded.shape[1] // cell, padded.shape[0] // cell
    return np.asarray(cv2.resize(padded, cells, interpolation=cv2.INTER_AREA), np.uint8)
