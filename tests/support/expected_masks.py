"""What the mask log of a job must have, computed in this process and without a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.config import Settings
from service.run.options import RunOptions
from service.run.segment import segment
from service.writers.mask_line import encode_line
from tests.support.fakes import load
from vos.types import Options


def expected_lines(clip: Path, mask: Path, home: Path) -> list[bytes]:
    """Return the lines of the masks of a clip that the network of `tests.support.fakes` makes.

    Args:
        clip: The video.
        mask: Mask of its first frame.
        home: A folder without `behaviour.json`.
    """
    settings = Settings(home=home)

    def load_here(choice: Any, options: Options, _settings: object) -> Any:
        return load(choice, options, settings)

    with segment(clip, mask, RunOptions(), load=load_here) as run:
        return [encode_line(mask) for mask in run]
