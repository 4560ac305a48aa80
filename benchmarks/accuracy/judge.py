"""Are these weights of compact better than those, by more than chance?

Runs all on every frame of sequences that neither chose anything: the development sequences, those with many objects,
and a fold of the training sequences that `keymask train base --fold K/N` left out. Differences are paired by sequence.
Beside that, clips that cut to another sequence and back: is a mask invented where the object is not, and is it found
again? Prints a table, and writes judge.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.judge_cuts import cuts
from benchmarks.accuracy.measure import as_davis
from benchmarks.harness import ROOT, Report, parser
from codec.encode import Encoder, encode
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.davis import find_sequences
from vos.evaluation.evaluate import read_picture, run_sequence
from vos.evaluation.metrics import Score
from vos.segmenter import Segmenter
from vos.training.base.recipe import Recipe
from vos.training.data.folds import Fold
from vos.types import Options
from vos.weights.catalog import DEFAULT, weights_path
from vos.weights.load import load_network

TRAIN = ROOT.parent / "shared" / "data" / "train"


@dataclass(frozen=True)
class Difference:
    """How much better one is than the other, in points of J&F.

    Attributes:
        mean: Over the sequences.
        error: Standard error of the mean; not a number of one sequence alone.
        n: Sequences.
    """

    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, new: Mapping[str, float], old: Mapping[str, float]) -> Difference:
        """Of scores by sequence, the same ones on both sides."""
        gains = np.array([new[name] - old[name] for name in sorted(new)])
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
        return cls(float(gains.mean()), float(error), len(gains))

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.error:.1f} (n = {self.n})"


def every_frame(weights: Path, sequences: Iterable[DavisSequence]) -> dict[str, float]:
    """J&F in percent of the network on every frame, by sequence, mean over objects and annotated frames."""
    segmenter = Segmenter(load_network(DEFAULT, weights=weights), Options(keyframes="every:1"))
    scores = {}
    for sequence in sequences:
        clip = encode(map(read_picture, sequence.pictures), Encoder())
        found = run_sequence(clip, sequence, segmenter, "auto").objects.values()
        scores[sequence.name] = 100 * Score.mean(found).jf
        print(f"   {weights.parent.name}: {sequence.name} {scores[sequence.name]:.1f}", flush=True)
    return scores


def held_out(train: Path, fold: Fold, links: Path) -> dict[str, list[DavisSequence]]:
    """The sequences of a fold, by set, those with fewer than three frames left out."""
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
            found[f"fold: {name}"] = find_sequences(links / name)
    return found


def groups(arguments: argparse.Namespace, links: Path) -> dict[str, list[DavisSequence]]:
    """What is judged: name of the group -> sequences."""
    found = {"development": find_sequences(arguments.data)}
    found["many objects"] = find_sequences(as_davis(arguments.data.parent / "multi", links / "multi"))
    if arguments.fold:
        found |= held_out(arguments.train, Fold.parse(arguments.fold, Recipe().fold_sets), links)
    return {name: sequences[: 1 if arguments.quick else None] for name, sequences in found.items()}


def table(old: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of Markdown, a row for each group and one for all; scores are by group and sequence."""
    lines = ["| sequences | reference | weights | difference |", "| --- | --- | --- | --- |"]
    rows = [(name, old[name], new[name]) for name in new]
    merged = [{name: score for group in side.values() for name, score in group.items()} for side in (old, new)]
    for name, before, after in [*rows, ("all", *merged)]:
        means = [f"{np.mean(list(side.values())):.1f}" for side in (before, after)]
        lines.append(f"| {name} | {means[0]} | {means[1]} | {Difference.of(after, before)} |")
    return lines


def judge(weights: Path, found: Mapping[str, Sequence[DavisSequence]], *, quick: bool) -> dict[str, Any]:
    """`scores` by group and sequence, `cuts`: see `judge_cuts`."""
    scores = {name: every_frame(weights, members) for name, members in found.items()}
    return {"scores": scores, "cuts": {} if quick else cuts(weights, found["development"])}


def earlier(file: Path | None) -> dict[str, Any]:
    """What an earlier judge.json holds, by the SHA-256 of the weights."""
    return {} if file is None else dict(json.loads(file.read_text(encoding="utf-8"))["details"])


def main() -> None:
    """Judge, print a table for each set of weights and write judge.json."""
    options = parser(__doc__)
    options.add_argument("weights", type=Path, nargs="*", help="weights to judge")
    options.add_argument(
        "--reference", type=Path, default=weights_path(DEFAULT, None), help="the shipped ones by default"
    )
    options.add_argument("--fold", metavar="K/N", help="what the training of the weights left out")
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
                report.write()
            reference = next(iter(report.details.values()))
            judged = report.details[digest]
            print(weights, judged["cuts"], *table(reference["scores"], judged["scores"]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
