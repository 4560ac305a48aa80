"""Between display-size label images and what networks and warping work on.

Sizes: display (after rotation), coded (before), analysis (scaled), padded (analysis, filled up to what the network
wants), grid (analysis / 4, rounded up: cells of soft masks and motion fields).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, Float32Array, UInt8Array, VideoInfo
from vos.errors import PromptError

_NEGLIGIBLE = 0.02
"""Soft mask below which an object cannot win a pixel by interpolation, so its surroundings need not be looked at."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The padded picture of a network.

    Attributes:
        height, width: Analysis size in pixels.
        top, left: Padding in pixels, multiples of `STRIDE`, so that cells of soft masks stay aligned to the picture.
        padded_height, padded_width: Multiples of the network's stride.
    """

    height: int
    width: int
    top: int
    left: int
    padded_height: int
    padded_width: int

    @classmethod
    def of(cls, height: int, width: int, multiple: int) -> Canvas:
        """The smallest canvas for a picture, the picture about in its middle."""
        padded_height, padded_width = -(-height // multiple) * multiple, -(-width // multiple) * multiple
        top = (padded_height - height) // (2 * STRIDE) * STRIDE
        left = (padded_width - width) // (2 * STRIDE) * STRIDE
        return cls(height, width, top, left, padded_height, padded_width)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of soft masks of the picture."""
        return -(-self.height // STRIDE), -(-self.width // STRIDE)

    def pad(self, picture: Tensor) -> Tensor:
        """[..., height, width] -> [..., padded_height, padded_width], filled with 0."""
        bottom = self.padded_height - self.height - self.top
        right = self.padded_width - self.width - self.left
        return F.pad(picture, (self.left, right, self.top, bottom))

    def crop(self, padded: Tensor) -> Tensor:
        """[..., padded_height, padded_width] -> [..., height, width]."""
        return padded[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def pad_cells(self, soft: Tensor) -> Tensor:
        """[..., rows, columns] -> [..., padded_height / 4, padded_width / 4], filled with 0."""
        rows, columns = self.grid
        top, left = self.top // STRIDE, self.left // STRIDE
        bottom = self.padded_height // STRIDE - rows - top
        right = self.padded_width // STRIDE - columns - left
        return F.pad(soft, (left, right, top, bottom))


def to_cells(soft: Tensor) -> Tensor:
    """Soft masks [K, height, width] -> their means a cell, [K, rows, columns]."""
    pooled = F.avg_pool2d(soft.unsqueeze(0), STRIDE, ceil_mode=True, count_include_pad=False)
    return pooled.squeeze(0)


def prompt_to_soft(labels: UInt8Array, object_ids: tuple[int, ...], info: VideoInfo) -> Float32Array:
    """Label image in display size -> soft masks float32 [K, height, width] in analysis size.

    Raises:
        PromptError: The label image does not have the video's display size.
    """
    allowed = (info.display_height, info.display_width)
    if labels.shape != allowed:
        given = f"{labels.shape[1]}x{labels.shape[0]}"
        turned = f" after its rotation by {info.rotation} degrees" if info.rotation else ""
        raise PromptError(f"the mask is {given} pixels; allowed: {allowed[1]}x{allowed[0]}, the video's size{turned}")
    coded = np.ascontiguousarray(info.to_coded(labels))
    size = (info.analysis_width, info.analysis_height)
    planes = [(coded == i).astype(np.float32) for i in object_ids]
    if size != (info.coded_width, info.coded_height):
        planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes]
    return np.stack(planes)


def soft_to_labels(soft: Float32Array, stride: int, object_ids: tuple[int, ...], info: VideoInfo) -> UInt8Array:
    """Soft masks at `stride` analysis pixels a cell -> label image in display size and orientation.

    A pixel gets the object (or the background, whose share is what the objects leave) with the largest bilinearly
    interpolated value. Work is limited to each object's bounding box, so many small objects cost about what one does.

    Args:
        soft: float32 [K, rows, columns], sums over K at most 1.
        stride: Analysis pixels a cell.
        object_ids: Label of each of the K objects.
        info: Sizes and orientation.
    """
    labels = np.zeros((info.coded_height, info.coded_width), np.uint8)
    boxes = [_box(plane) for plane in soft]
    union = _union([box for box in boxes if box is not None])
    if union is not None:
        scale_y = info.analysis_height / (info.coded_height * stride)
        scale_x = info.analysis_width / (info.coded_width * stride)
        scale = (scale_y, scale_x)
        rows, columns = _pixels(union, scale, labels.shape)
        best = 1 - _magnify(soft.sum(axis=0) if len(soft) > 1 else soft[0], rows, columns, scale)
        for plane, box, object_id in zip(soft, boxes, object_ids, strict=True):
            if box is None:
                continue
            own_rows, own_columns = _pixels(box, scale, labels.shape)
            value = _magnify(plane, own_rows, own_columns, scale)
            inside = best[
                own_rows.start - rows.start : own_rows.stop - rows.start,
                own_columns.start - columns.start : own_columns.stop - columns.start,
            ]
            wins = value > inside
            labels[own_rows, own_columns][wins] = object_id
            np.maximum(inside, value, out=inside)
    return np.ascontiguousarray(info.to_display(labels)).astype(np.uint8, copy=False)


def _box(plane: Float32Array) -> tuple[int, int, int, int] | None:
    """Bounding box (top, bottom, left, right), ends exclusive, of the cells that count; None if there are none."""
    present = plane > _NEGLIGIBLE
    row_any = np.flatnonzero(present.any(axis=1))
    if not len(row_any):
        return None
    column_any = np.flatnonzero(present[row_any[0] : row_any[-1] + 1].any(axis=0))
    return int(row_any[0]), int(row_any[-1]) + 1, int(column_any[0]), int(column_any[-1]) + 1


def _union(boxes: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int] | None:
    if not boxes:
        return None
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def _pixels(box: tuple[int, int, int, int], scale: tuple[float, float], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of coded pixels that interpolation from the cells of a box reaches."""
    top, bottom, left, right = box
    rows = slice(max(0, int((top - 0.5) / scale[0])), min(size[0], int((bottom + 0.5) / scale[0]) + 1))
    columns = slice(max(0, int((left - 0.5) / scale[1])), min(size[1], int((right + 0.5) / scale[1]) + 1))
    return rows, columns


def _magnify(plane: Float32Array, rows: slice, columns: slice, scale: tuple[float, float]) -> Float32Array:
    """Bilinear values of a plane of cells at coded pixels; pixel centres lie at +0.5 in both grids."""
    offset_y = (rows.start + 0.5) * scale[0] - 0.5
    offset_x = (columns.start + 0.5) * scale[1] - 0.5
    matrix = np.array([[scale[1], 0, offset_x], [0, scale[0], offset_y]])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    magnified = cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(magnified, np.float32)


def rgb_to_tensor(rgb: UInt8Array, device: torch.device) -> Tensor:
    """Picture uint8 [height, width, 3] -> uint8 [1, 3, height, width] on a device, channels last in memory."""
    return torch.from_numpy(rgb).to(device).permute(2, 0, 1).unsqueeze(0)
