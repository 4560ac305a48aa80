"""The masks of the demo clip are those that were committed, on any CPU."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from service.writers.mask_line import frame_line, mask_of
from tests.support.paths import ROOT
from tests.support.scripts import load_script
from vos.types import FrameMask

LEAST_IOU = 0.98
SCORE_TOLERANCE = 0.02


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that made the golden file."""
    return load_script(ROOT / "scripts" / "make_masks_golden.py")


@pytest.fixture(scope="module")
def golden(script: ModuleType) -> list[dict[str, Any]]:
    """The committed mask lines."""
    lines: list[dict[str, Any]] = json.loads(script.GOLDEN.read_text(encoding="utf-8"))
    return lines


@pytest.fixture(scope="module")
def found(script: ModuleType) -> list[FrameMask]:
    """Masks of this run."""
    masks: list[FrameMask] = script.segment_demo()
    return masks


def test_frames_and_sources_are_the_committed_ones(golden: list[dict[str, Any]], found: list[FrameMask]) -> None:
    """Every frame has a mask from the same source: the same frames are key frames."""
    kept = ("index", "time", "type", "source")
    assert [{name: frame_line(mask)[name] for name in kept} for mask in found] == [
        {name: line[name] for name in kept} for line in golden
    ]
    assert len({mask.source for mask in found}) > 2, "the clip must exercise prompt, key and propagated frames"


def test_masks_and_scores_are_close_to_the_committed_ones(golden: list[dict[str, Any]], found: list[FrameMask]) -> None:
    """Per frame and object, masks overlap by an IoU of at least 0.98 and scores differ by at most 0.02."""
    for mask, line in zip(found, golden, strict=True):
        height, width = mask.labels.shape
        expected = mask_of(line, width, height)
        assert mask.scores.keys() == expected.scores.keys()
        for object_id, score in mask.scores.items():
            ours, theirs = mask.labels == object_id, expected.labels == object_id
            assert theirs.any()
            iou = np.count_nonzero(ours & theirs) / np.count_nonzero(ours | theirs)
            assert iou >= LEAST_IOU, f"frame {mask.index}, object {object_id}: IoU {iou:.4f}"
            assert abs(score - expected.scores[object_id]) <= SCORE_TOLERANCE, f"frame {mask.index}"
