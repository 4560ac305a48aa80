"""Judge whether weights of `compact` are better than reference weights by more than chance.

Runs the network on every frame of held-out sequences: the development sequences, sequences with many objects, and the
fold of training sequences that `keymask train base --fold K/N` left out. Differences are paired by sequence. Clips
that cut to another sequence and back show whether a mask is invented while the object is absent, and whether the
object is found again. Prints a table and writes judge.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.difference import table
from benchmarks.accuracy.judge_cuts import cuts
from benchmarks.accuracy.measure import as_davis
from benchmarks.accuracy.methods import BASELINE, load
from benchmarks.accuracy.rows import once
from benchmarks.harness import Report, Row, parser
from benchmarks.paths import ROOT
from codec.encode import Encoder, encode
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.davis import find_sequences
from vos.evaluation.evaluate import read_picture, run_sequence
from vos.evaluation.metrics import Score
from vos.training.base.recipe import Recipe
from vos.training.data.folds import Fold
from vos.weights.catalog import DEFAULT, weights_path

TRAIN = ROOT.parent / "shared" / "data" / "train"
DEVELOPMENT, MANY, FOLD = "development", "many objects", "fold: "
"""Names of groups; the last one is followed by the name of a set."""
_EVERY = "compact on every frame"


def every_frame(weights: Path, sequences: Iterable[DavisSequence]) -> dict[str, float]:
    """Run the network on every frame; return J&F in percent by sequence, mean over objects and counted frames."""
    segment, _ = load(BASELINE, argparse.Namespace(model=DEFAULT, weights=str(weights)))
    scores = {}
    for sequence in sequences:
        clip = encode(map(read_picture, sequence.pictures), Encoder())
        found = run_sequence(clip, sequence, segment).objects.values()
        scores[sequence.name] = 100 * Score.mean(found).jf
        print(f"   {weights.parent.name}: {sequence.name} {scores[sequence.name]:.1f}", flush=True)
    return scores


def held_out(train: Path, fold: Fold, links: Path) -> dict[str, list[DavisSequence]]:
    """Return the sequences of a fold by set, without sequences of fewer than three frames."""
    found = {}
    for name in fold.sets:
        chosen = [path for path in sorted((train / "video" / name).glob("*")) if fold.holds(f"{name}/{path.name}")]
        chosen = [path for path in chosen if len(list((path / "frames").glob("*.jpg"))) > 2]
        for path in chosen:
            for kind, folder in (("JPEGImages", "frames"), ("Annotations", "masks")):
                link = links / name / kind / "480p" / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((path / folder).resolve())
        if chosen:
            found[f"{FOLD}{name}"] = find_sequences(links / name)
    return found


def groups(arguments: argparse.Namespace, links: Path) -> dict[str, list[DavisSequence]]:
    """Return the sequences to judge by group."""
    found = {DEVELOPMENT: find_sequences(arguments.data)}
    found[MANY] = find_sequences(as_davis(arguments.data.parent / "multi", links / "multi"))
    if arguments.fold:
        found |= held_out(arguments.train, Fold.parse(arguments.fold, Recipe().fold_sets), links)
    return {name: sequences[: 1 if arguments.quick else None] for name, sequences in found.items()}


def judge(weights: Path, found: Mapping[str, Sequence[DavisSequence]], *, quick: bool) -> dict[str, Any]:
    """Return `scores` by group and sequence, and `cuts`, see `judge_cuts`."""
    scores = {name: every_frame(weights, members) for name, members in found.items()}
    return {"scores": scores, "cuts": {} if quick else cuts(weights, found[DEVELOPMENT])}


def rows(judged: Mapping[str, Any]) -> list[Row]:
    """Return the goals of weights that were judged by `judge`."""
    scores: Mapping[str, Mapping[str, float]] = judged["scores"]
    held_out = [score for name, group in scores.items() if name.startswith(FOLD) for score in group.values()]
    found = [
        Row(f"{_EVERY}, {name}: mean J&F", once(float(np.mean(values))), "%", goal, f"{len(values)} sequences")
        for name, values, goal in (
            ("sequences of the fold", held_out, ">= 85"),
            ("7 and 8 objects", list(scores[MANY].values()), ">= 76"),
        )
        if values
    ]
    worst = min(scores[DEVELOPMENT], key=lambda name: scores[DEVELOPMENT][name])
    found.append(
        Row(f"{_EVERY}: J&F of the worst development sequence", once(scores[DEVELOPMENT][worst]), "%", ">= 70", worst)
    )
    for policy, cut in judged["cuts"].items():
        what = f"compact, {policy}, cuts to another sequence and back"
        found += [
            Row(f"{what}: frames with an invented mask", once(100 * cut["invented"]), "%", "<= 3"),
            Row(f"{what}: J after the cut back", once(100 * cut["returned"]), "%", ">= 88"),
        ]
        if "score_auroc" in cut:
            found.append(
                Row(f"{what}: AUROC of scores for objects that are found", once(cut["score_auroc"]), "", ">= 0.9")
            )
        if "invented_score" in cut:
            found.append(Row(f"{what}: mean score of invented masks", once(cut["invented_score"]), "", "<= 0.2"))
    return found


def earlier(file: Path | None) -> dict[str, Any]:
    """Read an earlier judge.json: results by the SHA-256 of the weights."""
    return {} if file is None else dict(json.loads(file.read_text(encoding="utf-8"))["details"])


def main() -> None:
    """Judge, print a table per set of weights and write judge.json."""
    options = parser(__doc__)
    options.add_argument("weights", type=Path, nargs="*", help="weights to judge")
    options.add_argument(
        "--reference",
        type=Path,
        default=weights_path(DEFAULT, None),
        help="reference weights",
    )
    options.add_argument("--fold", metavar="K/N", help="fold that the training left out")
    options.add_argument("--train", type=Path, default=TRAIN, help="training data, for the fold")
    options.add_argument("--known", type=Path, help="an earlier judge.json; its weights are not judged again")
    arguments = options.parse_args()
    report = Report("judge", arguments, details=earlier(arguments.known))
    with tempfile.TemporaryDirectory() as links:
        found = groups(arguments, Path(links))
        for weights in (arguments.reference, *arguments.weights):
            digest = sha256(weights.read_bytes()).hexdigest()
            if digest not in report.details:
                report.details[digest] = judge(weights, found, quick=arguments.quick)
            reference = next(iter(report.details.values()))
            judged = report.details[digest]
            report.rows = rows(judged) if not arguments.quick else []
            print(weights, judged["cuts"], *table(reference["scores"], judged["scores"]), sep="\n", flush=True)
            report.write()


if __name__ == "__main__":
    main()
