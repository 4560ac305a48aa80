"""`keymask run` keeps a small object in a large picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.cli.main import main
from tests.support.discs import disc_clip
from tests.support.media import write_grey

FRAMES = 8


@pytest.mark.parametrize(("diameter", "least"), [(24, 0.85), pytest.param(16, 0.7, marks=pytest.mark.long)])
def test_a_disc_in_1080p_is_kept(diameter: int, least: float, tmp_path: Path) -> None:
    """Discs of 24 and of 16 pixels have a high J, up to the last frame."""
    clip = disc_clip(FRAMES, (1920, 1080), diameter)
    video, out = tmp_path / "sky.mp4", tmp_path / "out"
    video.write_bytes(clip.video)
    mask = write_grey(tmp_path / "disc.png", clip.masks[0])
    assert main(["run", str(video), "--mask", str(mask), "--out", str(out)]) == 0
    labels = []
    for index in range(FRAMES):
        with Image.open(out / "masks" / f"{index:05d}.png") as picture:
            labels.append(np.asarray(picture, np.uint8))
    overlaps = clip.overlaps(np.stack(labels))
    assert np.mean(overlaps[1:]) >= least
    assert min(overlaps) >= 0.5
