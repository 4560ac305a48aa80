"""Changes of colour and sharpness, one for a clip and a small one for each frame; labels stay as they are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array


def recolour(rng: np.random.Generator, images: UInt8Array) -> UInt8Array:
    """Clip uint8 [T, S, S, 3] -> the same shape."""
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


def _colour(rng: np.random.Generator, spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Gain and bias for each channel, and gamma."""
    gain = np.exp(rng.normal(0, spread / 2)) * np.exp(rng.normal(0, spread / 4, 3))
    bias = rng.normal(0, spread / 2) + rng.normal(0, spread / 8, 3)
    return gain, bias * 0.4, float(np.exp(rng.normal(0, spread / 2)))


def _apply(image: UInt8Array, gain: NDArray[np.float64], bias: NDArray[np.float64], gamma: float) -> UInt8Array:
    levels = (np.arange(256) / 255.0) ** gamma
    table = np.clip((levels[:, None] - 0.5) * gain + 0.5 + bias, 0, 1) * 255
    return np.asarray(cv2.LUT(image, table.astype(np.uint8)[None]), dtype=np.uint8)


def _recompress(image: UInt8Array, quality: int) -> UInt8Array:
    """Through JPEG, whose blocks look like those of coded video."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
