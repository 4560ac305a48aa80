"""Fixtures of the unit tests."""

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def training_folder(tmp_path: Path) -> Path:
    """A small folder of training data: two videos of a moving disc and three stills of a disc, all over noise."""
    rng = np.random.default_rng(0)
    for sequence in ("a", "b"):
        for t in range(6):
            _write(tmp_path / "video" / "made" / sequence, "frames", f"{t:05d}", rng, (30 + 4 * t, 36))
    for number in range(3):
        _write(tmp_path / "static" / "made", "images", f"{number}", rng, (48, 30 + 5 * number))
    return tmp_path


def _write(folder: Path, images: str, name: str, rng: np.random.Generator, centre: tuple[int, int]) -> None:
    mask = np.zeros((72, 96), dtype=np.uint8)
    cv2.circle(mask, centre, 16, 1, thickness=-1)
    image = rng.integers(0, 80, (72, 96, 3), dtype=np.uint8)
    image[mask == 1] += np.uint8(150)
    for kind, array in ((images, image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / kind / f"{name}.png"), array)
