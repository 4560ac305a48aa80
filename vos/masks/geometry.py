"""Convert between label images in display size and the soft masks that networks and warping work on.

Sizes: display (after rotation), coded (before it), analysis (scaled), padded (analysis size, padded for the network),
and the stride-4 grid (analysis size / 4, rounded up) of soft masks and motion fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, Float32Array, UInt8Array, VideoInfo
from vos import kernels
from vos.errors import PromptError

Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PaddedSize:
    """Padded size of a network's input.

    Attributes:
        height, width: Analysis size in pixels.
        top, left: Padding in pixels, multiples of `STRIDE`, so that the stride-4 grid stays aligned to the picture.
        padded_height, padded_width: Padded size in pixels, multiples of the network's stride.
    """

    height: int
    width: int
    top: int
    left: int
    padded_height: int
    padded_width: int

    @classmethod
    def of(cls, height: int, width: int, multiple: int) -> PaddedSize:
        """Return the smallest padded size for a picture, with the picture roughly in its middle."""
        padded_height, padded_width = -(-height // multiple) * multiple, -(-width // multiple) * multiple
        top = (padded_height - height) // (2 * STRIDE) * STRIDE
        left = (padded_width - width) // (2 * STRIDE) * STRIDE
        return cls(height, width, top, left, padded_height, padded_width)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the picture's stride-4 grid."""
        return -(-self.height // STRIDE), -(-self.width // STRIDE)

    def pad(self, picture: Tensor) -> Tensor:
        """[..., height, width] -> [..., padded_height, padded_width], padded with 0."""
        bottom = self.padded_height - self.height - self.top
        right = self.padded_width - self.width - self.left
        return F.pad(picture, (self.left, right, self.top, bottom))

    def crop(self, padded: Tensor) -> Tensor:
        """[..., padded_height, padded_width] -> [..., height, width]."""
        return padded[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def pad_grid(self, soft: Tensor) -> Tensor:
        """[..., rows, columns] -> [..., padded_height / 4, padded_width / 4], padded with 0."""
        rows, columns = self.grid
        top, left = self.top // STRIDE, self.left // STRIDE
        bottom = self.padded_height // STRIDE - rows - top
        right = self.padded_width // STRIDE - columns - left
        return F.pad(soft, (left, right, top, bottom))


def to_grid(soft: Tensor) -> Tensor:
    """Soft masks [K, height, width] -> their means per cell of the stride-4 grid, [K, rows, columns]."""
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
        rotated = f" after its rotation by {info.rotation} degrees" if info.rotation else ""
        raise PromptError(f"the mask is {given} pixels; allowed: {allowed[1]}x{allowed[0]}, the video's size{rotated}")
    coded = np.ascontiguousarray(info.to_coded(labels))
    size = (info.analysis_width, info.analysis_height)
    planes = [(coded == i).astype(np.float32) for i in object_ids]
    if size != (info.coded_width, info.coded_height):
        planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes]
    return np.stack(planes)


def soft_to_labels(soft: Float32Array, stride: int, object_ids: tuple[int, ...], info: VideoInfo) -> UInt8Array:
    """Soft masks -> label image in display size and orientation.

    Each pixel gets the object with the largest bilinearly interpolated value. The background has what the objects leave
    of 1. Only edges of objects are interpolated, so many small objects cost about as much as one.

    Args:
        soft: Soft masks, float32 [K, rows, columns]; they sum to at most 1 over K.
        stride: Analysis pixels per cell.
        object_ids: Label of each of the K objects.
        info: Sizes and orientation of the video.
    """
    labels = np.zeros((info.coded_height, info.coded_width), np.uint8)
    scale_y = info.analysis_height / (info.coded_height * stride)
    scale_x = info.analysis_width / (info.coded_width * stride)
    kernels.rasterize_labels(np.ascontiguousarray(soft), np.array(object_ids, np.uint8), scale_y, scale_x, labels)
    return np.ascontiguousarray(info.to_display(labels)).astype(np.uint8, copy=False)


def to_uint8(soft: Float32Array) -> UInt8Array:
    """Probabilities 0 to 1 -> 0 to 255."""
    return np.asarray(np.rint(np.clip(soft, 0, 1) * 255), np.uint8)


def mask_confidence(soft: Float32Array) -> Float64Array:
    """Mean of each soft mask where it exceeds one half: float32 [K, h, w] -> float64 [K]; 0 where it never does."""
    means = np.empty(len(soft), np.float64)
    kernels.mask_confidence(np.ascontiguousarray(soft), means)
    return means


def rgb_to_tensor(rgb: UInt8Array, device: torch.device) -> Tensor:
    """Picture uint8 [height, width, 3] -> uint8 [1, 3, height, width] on a device, with channels last in memory."""
    return torch.from_numpy(rgb).to(device).permute(2, 0, 1).unsqueeze(0)
