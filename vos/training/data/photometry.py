"""Changes of colour and sharpness of a clip; labels do not change."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array


def recolour(rng: np.random.Generator, images: UInt8Array) -> UInt8Array:
    """Change the colours of a clip uint8 [T, S, S, 3] and, slightly, of each frame; sometimes blur or recompress it."""
    gain, bias, gamma = _colour(rng, 0.25)
    soften = int(rng.integers(3)) if rng.random() < 0.2 else 0
    quality = int(rng.integers(25, 80)) if rng.random() < 0.15 else 0
    grey = rng.random() < 0.05
    out = np.empty_like(images)
    for t, image in enumerate(images):
        small_gain, small_bias, _ = _colour(rng, 0.04)
        frame = _apply(image, gain * small_gain, bias + small_bias, gamma)
        if grey:
            frame = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if soften:
            frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), 0.6 * soften), dtype=np.uint8)
        if quality:
            frame = _recompress(frame, quality)
        out[t] = frame
    return out


def grade(rng: np.random.Generator, images: UInt8Array) -> UInt8Array:
    """Change the colours of a clip uint8 [T, H, W, 3] equally in all frames, sharpen it and add grain.

    Grain and sharpening restore in enlarged pictures the detail that an encoder meets in large ones.
    """
    gain, bias, gamma = _colour(rng, 0.25)
    table = _table(gain, bias, gamma)
    sharpen = float(rng.uniform(0, 0.8))
    grain = float(rng.uniform(-1, 3.5))
    noise = rng.normal(0, max(grain, 0.0), (2 * images.shape[1], 2 * images.shape[2], 1)).astype(np.float32)
    out = np.empty_like(images)
    for t, image in enumerate(images):
        frame = np.asarray(cv2.LUT(image, table))
        soft = cv2.GaussianBlur(frame, (0, 0), 1.2)
        frame = np.asarray(cv2.addWeighted(frame, 1 + sharpen, soft, -sharpen, 0))
        if grain > 0:
            top, left = rng.integers(0, images.shape[1:3])
            window = noise[top : top + images.shape[1], left : left + images.shape[2]]
            frame = np.clip(frame + window + np.float32(0.5), 0, 255)
        out[t] = frame
    return out


def _colour(rng: np.random.Generator, spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Draw gain and bias per channel, and gamma."""
    gain = np.exp(rng.normal(0, spread / 2)) * np.exp(rng.normal(0, spread / 4, 3))
    bias = rng.normal(0, spread / 2) + rng.normal(0, spread / 8, 3)
    return gain, bias * 0.4, float(np.exp(rng.normal(0, spread / 2)))


def _apply(image: UInt8Array, gain: NDArray[np.float64], bias: NDArray[np.float64], gamma: float) -> UInt8Array:
    return np.asarray(cv2.LUT(image, _table(gain, bias, gamma)), dtype=np.uint8)


def _table(gain: NDArray[np.float64], bias: NDArray[np.float64], gamma: float) -> UInt8Array:
    """Lookup table of each channel, uint8 [1, 256, 3]."""
    levels = (np.arange(256) / 255.0) ** gamma
    table = np.clip((levels[:, None] - 0.5) * gain + 0.5 + bias, 0, 1) * 255
    return np.asarray(table.astype(np.uint8)[None])


def _recompress(image: UInt8Array, quality: int) -> UInt8Array:
    """Compress to JPEG and back, for blocks as in coded video."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
