"""Videos of a bright square that moves over a dark ground and may pass behind a wall, with its true masks."""

from __future__ import annotations

import numpy as np

from codec.types import UInt8Array
from service.run.model_loader import LoadedModel, ModelLoader
from tests.support.networks import BrightnessNetwork
from tests.support.synthetic import encode, texture, x264
from vos.segmenter import Segmenter

WIDTH, HEIGHT = 128, 64
SIDE, STEP = 24, 4
WALL = (52, 76)
"""Columns of the wall."""


def true_masks(count: int, *, wall: bool = False) -> UInt8Array:
    """Labels uint8 [count, height, width] of the square, object 1."""
    labels = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    for index in range(count):
        labels[index, 20 : 20 + SIDE, 4 + STEP * index : 4 + STEP * index + SIDE] = 1
    if wall:
        labels[:, :, WALL[0] : WALL[1]] = 0
    return labels


def moving_square(count: int, *, wall: bool = False) -> UInt8Array:
    """Pictures uint8 [count, height, width, 3]; the square has a texture, so that its motion can be seen."""
    ground = (texture(1)[:HEIGHT, :WIDTH] // 8).astype(np.uint8)
    pattern = (80 + texture(2)[:SIDE, :SIDE] // 6).astype(np.uint8)
    pictures = np.repeat(ground[None], count, axis=0)
    for index in range(count):
        left = 4 + STEP * index
        pictures[index, 20 : 20 + SIDE, left : left + SIDE] = pattern[:, : WIDTH - left]
    if wall:
        pictures[:, :, WALL[0] : WALL[1]] = 10
    return pictures


def coded(pictures: UInt8Array, **params: object) -> bytes:
    """The pictures as H.264 in MP4."""
    return encode(pictures, "libx264", x264(**({"bframes": 2, "keyint": 8} | params)), container="mp4")


def load_brightness(keyframes: str = "every:1000") -> ModelLoader:
    """Load a segmenter that takes no key frame by itself, so that masks travel along the motion alone."""

    def load(_choice: object, options: object, _settings: object) -> LoadedModel:
        from dataclasses import replace

        return LoadedModel(
            Segmenter(BrightnessNetwork(), replace(options, keyframes=keyframes)), {"name": "brightness"}
        )

    return load


def iou(labels: UInt8Array, truth: UInt8Array) -> float:
    """Intersection over union of object 1; 1 if both are empty."""
    one, other = labels == 1, truth == 1
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0
