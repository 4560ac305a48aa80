"""Judging weights: paired differences, folds, and clips that cut away and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.accuracy import difference, judge, judge_cuts, tables
from vos.evaluation.davis import find_sequences
from vos.modeling.network import VOSNetwork
from vos.training.data.folds import Fold
from vos.weights.load import load_network


def save_sequence(frames: Path, masks: Path, count: int, size: tuple[int, int] = (64, 48)) -> None:
    """Save pictures whose grey value is three times their number, with a square in each mask."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[10:30, 10:30] = 1
    for folder in (frames, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((*size[::-1], 3), 3 * number, np.uint8)).save(frames / f"{number:05d}.jpg")
        Image.fromarray(mask, mode="P").save(masks / f"{number:05d}.png")


def test_differences_are_paired() -> None:
    """The error of a difference comes from the gains per sequence, however much the sequences differ."""
    old = {"a": 10.0, "b": 50.0, "c": 90.0}
    found = difference.Difference.of({"a": 11.0, "b": 53.0, "c": 92.0}, old)
    assert (found.mean, found.n) == (2, 3)
    assert found.error == pytest.approx(1 / np.sqrt(3))
    assert str(found) == "+2.0 ± 0.6 (n = 3)"
    assert np.isnan(difference.Difference.of({"a": 1.0}, {"a": 0.0}).error)


def test_the_table_has_groups_and_all() -> None:
    """The table has one row per group and one over all sequences."""
    old = {"x": {"a": 50.0}, "y": {"b": 60.0, "c": 70.0}}
    new = {"x": {"a": 53.0}, "y": {"b": 60.0, "c": 70.0}}
    lines = difference.table(old, new)
    assert lines[2].startswith("| x | 50.0 | 53.0 | +3.0")
    assert lines[3].startswith("| y | 65.0 | 65.0 | +0.0")
    assert lines[4].startswith("| all | 60.0 | 61.0 | +1.0 ± 1.0 (n = 3)")


CUT = {"invented": 0.02, "returned": 0.9, "score_auroc": 0.95}


def test_goals_of_judged_weights() -> None:
    """Means over held-out sets count each sequence once; scores of invented masks have a row if there are any."""
    scores = {
        judge.DEVELOPMENT: {"a": 69.0, "b": 90.0},
        judge.MANY: {"c": 77.0},
        judge.FOLD + "x": {"d": 80.0, "e": 90.0},
        judge.FOLD + "y": {"f": 88.0},
    }
    found = judge.rows({"scores": scores, "cuts": {"every frame": CUT, "adaptive": CUT | {"invented_score": 0.3}}})
    assert [(row.measured.median, row.met) for row in found] == [
        (86.0, True),
        (77.0, True),
        (69.0, False),
        (2.0, True),
        (90.0, True),
        (0.95, True),
        (2.0, True),
        (90.0, True),
        (0.95, True),
        (0.3, False),
    ]
    del scores[judge.FOLD + "x"], scores[judge.FOLD + "y"]
    assert len(judge.rows({"scores": scores, "cuts": {}})) == 2


def test_the_page_compares_with_the_reference() -> None:
    """The page has the difference by group, and both scores of every sequence."""
    old, new = ({"scores": {judge.DEVELOPMENT: {"a": score, "b": score}}} for score in (80.0, 82.0))
    page = tables.judged({"details": {"old": old, "new": new}})
    assert "| development | 80.0 | 82.0 | +2.0 ± 0.0 (n = 2) |" in page
    assert "| development | b | 80.0 | 82.0 |" in page


def test_folds_divide_the_sequences(tmp_path: Path) -> None:
    """Folds divide the sequences of their sets; sequences too short to be judged are left out."""
    names = [f"s{number}" for number in range(6)]
    for number, name in enumerate(names):
        folder = tmp_path / "train" / "video" / "made" / name
        save_sequence(folder / "frames", folder / "masks", 2 if number == 0 else 3)
    found = []
    for number in (1, 2):
        fold = Fold(number, 2, ("made", "nothing"))
        groups = judge.held_out(tmp_path / "train", fold, tmp_path / f"links{number}")
        found += [sequence.name for members in groups.values() for sequence in members]
    assert sorted(found) == names[1:]


def test_auroc() -> None:
    """AUROC is the share of pairs in the right order; ties count half."""
    assert judge_cuts.auroc([2, 3], [0, 1]) == 1
    assert judge_cuts.auroc([0, 3], [1, 3]) == pytest.approx((0 + 0 + 1 + 0.5) / 4)


def test_cuts_go_away_and_back(tmp_path: Path) -> None:
    """A clip has 20 frames of the first sequence, 20 of the second at its size, and 20 of the first again."""
    for name, size in (("a", (64, 48)), ("b", (48, 64))):
        save_sequence(tmp_path / "JPEGImages/480p" / name, tmp_path / "Annotations/480p" / name, 40, size)
    first, second = find_sequences(tmp_path)
    made = judge_cuts.pictures(first, second)
    assert {picture.shape for picture in made} == {(48, 64, 3)}
    expected = [3 * number for number in [*range(20), *range(20), *range(20, 40)]]
    assert np.abs(np.array([picture.mean() for picture in made]) - expected).max() < 2


def test_presence_is_judged_if_there_is_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results have an AUROC of the presence head only for a network with such a head."""
    for name in ("a", "b"):
        save_sequence(tmp_path / "JPEGImages/480p" / name, tmp_path / "Annotations/480p" / name, 40)
    sequences = find_sequences(tmp_path)
    found = judge_cuts.cuts(Path("seeded"), sequences)
    assert found.keys() == {"every frame", "adaptive"}
    assert {"invented", "returned", "presence_auroc"} <= found["every frame"].keys()
    bare = load_network("compact", device="cpu", weights="seeded")
    bare.presence = None
    monkeypatch.setattr(judge_cuts, "load_network", lambda *_, **__: bare)
    assert "presence_auroc" not in judge_cuts.cuts(Path("bare"), sequences)["every frame"]


def test_a_recorder_changes_nothing() -> None:
    """It predicts what the network predicts, and records the first object."""
    network = load_network("compact", device="cpu", weights="seeded")
    assert isinstance(network, VOSNetwork)
    recorder = judge_cuts.PresenceRecorder(network)
    features = network.encode(network.normalize(torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)))
    memory = network.memorize(features, torch.rand(2, 1, 64, 96))
    found, expected = (one.predict(features, memory, None, 20) for one in (recorder, network))
    assert torch.equal(found.logits, expected.logits)
    assert recorder.presence_logits == [float(expected.presence[0])]
