"""The network of one's own in the examples runs, and can be resumed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.support.frames import assert_same, chain, info, overlap, stored, truth
from tests.support.paths import ROOT
from tests.support.scripts import load_script
from vos.segmenter import Segmenter
from vos.types import MaskSource, Options, Prompt


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example."""
    return load_script(ROOT / "examples" / "own_network.py")


def test_it_finds_the_objects(example: ModuleType, tmp_path: Path) -> None:
    """It follows objects of different brightness, and a resumed run yields the same masks."""
    options, prompt = Options(keyframes="every:3"), Prompt(truth(0))
    masks = list(Segmenter(example.ColorNetwork(), options).run(chain(8), info(64, 48), prompt))
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [3, 6]
    assert min(overlap(mask.labels, mask.index) for mask in masks) > 0.8
    first = Segmenter(example.ColorNetwork(), options)
    begun = list(islice(first.run(chain(8), info(64, 48), prompt), 5))
    rest = Segmenter(example.ColorNetwork(), options)
    rest_masks = list(rest.run(chain(8), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert_same(begun + rest_masks, masks)


def test_it_runs_from_the_command_line(example: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its main function prints one line per frame."""
    from tests.support.synthetic import encode, pan, x264

    scene = pan(5, (64, 48))
    (tmp_path / "clip.mp4").write_bytes(encode(scene.frames, options=x264()))
    np.save(tmp_path / "mask.npy", truth(0))
    example.main(str(tmp_path / "clip.mp4"), str(tmp_path / "mask.npy"))
    assert len(capsys.readouterr().out.splitlines()) == 5
