"""Measure the contribution of each part of the base network's training recipe.

Trains the network once per entry of `VARIANTS`, each with one change of the recipe, and judges it on the development
sequences. Finished parts stay in `--work`, so a stopped run continues when it is started again. Several processes can
run side by side; each takes variants that no other process works on. About 10 minutes per variant on one core.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.accuracy.measure import as_davis
from benchmarks.accuracy.methods import Method, compare, first_frames
from benchmarks.harness import DATA, Report, environment
from benchmarks.paths import RESULTS, ROOT
from codec.encode import Encoder
from service.errors import ServiceError
from vos.errors import VosError
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.davis import find_sequences
from vos.runtime.device import resolve_device
from vos.training.base.recipe import Recipe
from vos.training.base.run import RunOptions, train
from vos.training.common.checkpoint import check_recipe, read_checkpoint
from vos.training.common.run_log import CHECKPOINT
from vos.weights.load import read_metadata

Change: TypeAlias = Callable[[Recipe], Recipe]

SHARED = ROOT.parent / "shared"
BASE = Recipe()
PROPAGATION = Method("every:5")
JUDGED = "judged.json"


def _with(**values: Any) -> Change:
    return lambda recipe: replace(recipe, **values)


def _in_all_stages(**values: Any) -> Change:
    return lambda recipe: replace(recipe, stages=tuple(replace(stage, **values) for stage in recipe.stages))


VARIANTS: dict[str, Change] = {
    "recipe": _with(seed=1),
    "recipe, seed 2": _with(seed=2),
    "gaps up to 12 from the start": _in_all_stages(widest_gap=12),
    "no rivals": _with(rivals=0.0),
    "no absence": _with(absent=0.0),
    "stills only": _with(real_clips=0.0),
    "videos only": _with(real_clips=1.0),
    "one object": _with(followed={1: 1.0}),
    "no hard pixels": _with(hardest=1.0),
    "no moving average": _with(ema=0.0),
    "one scale": _with(zoom_spread=0.0),
    "no occluders": _with(occluders=0.0),
    "clips of 3 frames": _in_all_stages(frames=3),
    "no larger crops at the end": _in_all_stages(crop=256),
    "no copy-paste": _with(copy_paste=0.0),
    "memory never spoilt": _with(spoiled_memory=0.0),
    "hints never wrong": _with(wrong_hints=0.0),
}
"""Name -> change of the recipe, the most important first, since a run may be stopped."""


@dataclass(frozen=True)
class Clips:
    """Sequences that all variants are judged on.

    Attributes:
        one: Development sequences with one object each.
        several: Sequences with many objects.
    """

    one: Sequence[DavisSequence]
    several: Sequence[DavisSequence]


class TrainingStopped(Exception):  # noqa: N818 - not an error
    """A signal ended a training before its last step."""


def recipe_of(name: str, steps: int) -> Recipe:
    """Return the recipe of a variant, scaled to `steps`."""
    return VARIANTS[name](BASE.scaled(steps))


def changes(recipe: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe that differ from the base recipe, both as plain values."""
    return {field: value for field, value in recipe.items() if value != base[field]}


def measure(name: str, clips: Clips, arguments: argparse.Namespace) -> None:
    """Train and judge a variant, unless that is done or another process works on it.

    Raises:
        TrainingStopped: A signal stopped the training.
        VosError: Data or backbone cannot be used, or an earlier run of the variant used another recipe.
    """
    folder = folder_of(name, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "lock", wait=False) as mine:
        if not mine:
            print(f"{name}: another process works on it", flush=True)
        elif judged(name, arguments) is None:
            weights = trained(name, arguments)
            print(f"{name}: judging", flush=True)
            value = {
                "recipe": _recipe_text(name, arguments),
                "frames": arguments.frames,
                "found": judge(weights, clips),
            }
            draft = folder / f"{JUDGED}.part"
            draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
            draft.replace(folder / JUDGED)


def folder_of(name: str, arguments: argparse.Namespace) -> Path:
    """Folder of a variant's run and scores."""
    work: Path = arguments.work
    return work / name.replace(",", "").replace(" ", "-")


@contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a file lock that ends with this process; yields whether it was free."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            # Closing is not enough: loader processes that are ending still hold the file.
            fcntl.flock(file, fcntl.LOCK_UN)


def judged(name: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Read the scores of a variant; None if it was not judged with this recipe on these frames."""
    file = folder_of(name, arguments) / JUDGED
    if not file.exists():
        return None
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    same = value["recipe"] == _recipe_text(name, arguments) and value["frames"] == arguments.frames
    return value["found"] if same else None


def trained(name: str, arguments: argparse.Namespace) -> Path:
    """Train a variant, resuming an earlier run, and return its weights.

    Raises:
        TrainingStopped: A signal stopped the training.
        VosError: Data, backbone or the earlier run cannot be used.
    """
    folder, recipe = folder_of(name, arguments), recipe_of(name, arguments.steps)
    weights, checkpoint = folder / "compact.safetensors", folder / CHECKPOINT
    if checkpoint.exists():
        check_recipe(read_checkpoint(checkpoint), recipe.as_dict(), checkpoint, "benchmarks.ablation.train_variants")
        if weights.exists() and int(read_metadata(weights)["steps"]) == recipe.steps:
            return weights
    options = RunOptions(
        data=(arguments.data,),
        out=folder,
        backbone=arguments.backbone,
        resume=checkpoint.exists(),
        device=str(resolve_device("auto")),
        workers=arguments.workers,
    )

    def report(done: int, total: int, means: dict[str, float]) -> None:
        print(f"   {name}: {done} of {total} steps, loss {means['loss']:.3f}", flush=True)

    result = train(options, recipe, report)
    if result.steps < recipe.steps:
        raise TrainingStopped(f"{name}: stopped after {result.steps} of {recipe.steps} steps; start again to continue")
    return result.weights


def judge(weights: Path, clips: Clips) -> dict[str, Any]:
    """Score weights and describe their training.

    Returns:
        `one` and `several`, see `_scores`; `steps`, `seed`, `hours`, `commit` and `hardware` of the training;
        `weights_sha256`; the `environment` in which they were scored.
    """
    network = argparse.Namespace(model="compact", weights=str(weights))
    about = read_metadata(weights)
    parts = {
        part: compare(sequences, [Encoder()], (PROPAGATION,), network)
        for part, sequences in (("one", clips.one), ("several", clips.several))
    }
    return {
        **{part: _scores(value) for part, value in parts.items()},
        "steps": int(about["steps"]),
        "seed": int(about["seed"]),
        "hours": float(about["hours"]),
        "commit": about["commit"],
        "hardware": about["hardware"],
        "weights_sha256": parts["one"]["model"]["weights_sha256"],
        "environment": environment(),
    }


def _scores(part: Mapping[str, Any]) -> dict[str, Any]:
    """J, F and JF in percent, overall and `by_sequence`: network on `every_frame`; propagation (`carrying`)."""
    kept = ("J", "F", "JF")
    runs = {"every_frame": part["baseline"], "carrying": part["runs"][PROPAGATION.name]}
    found = {
        name: {
            **{key: run[key] for key in kept},
            "by_sequence": {one: {key: score[key] for key in kept} for one, score in run["by_sequence"].items()},
        }
        for name, run in runs.items()
    }
    return {"frames": part["frames"], **found}


def collect(arguments: argparse.Namespace) -> None:
    """Write ablation.json from the work folder; variants that are not measured are null."""
    with lock(arguments.work / "collect.lock", wait=True):
        base = recipe_of("recipe", arguments.steps).as_dict()
        report = Report("ablation", arguments)
        report.details = {"steps": arguments.steps, "recipe": base, "carrying": PROPAGATION.name, "variants": {}}
        for name in VARIANTS:
            found = judged(name, arguments)
            if found is not None:
                found = {"changes": changes(recipe_of(name, arguments.steps).as_dict(), base), **found}
            report.details["variants"][name] = found
        report.write()


def _recipe_text(name: str, arguments: argparse.Namespace) -> str:
    return json.dumps(recipe_of(name, arguments.steps).as_dict(), sort_keys=True)


def options() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--data", type=Path, default=SHARED / "data" / "train", help="folder with training data")
    result.add_argument(
        "--backbone",
        type=Path,
        default=SHARED / "pretrained" / "mobilenet_v2_deeplab_voc.safetensors",
        help="safetensors file with the pretrained backbone",
    )
    result.add_argument(
        "--dev", type=Path, default=DATA, help="DAVIS folder that variants are judged on; multi/ lies beside it"
    )
    result.add_argument("--work", type=Path, default=ROOT / "runs" / "ablation", help="folder for runs")
    result.add_argument("--out", type=Path, default=RESULTS, help="folder for ablation.json")
    result.add_argument("--steps", type=int, default=300, help="steps per training; each number needs its own --work")
    result.add_argument("--frames", type=int, metavar="N", help="judge only the first N frames of each sequence")
    result.add_argument("--workers", type=int, default=1, help="loader processes per training")
    result.add_argument(
        "--only", action="append", choices=VARIANTS, metavar="NAME", help="measure this variant; repeatable"
    )
    # Not an option: runs on few frames and steps go to an --out of their own.
    result.set_defaults(quick=False)
    return result


def main() -> None:
    """Measure all variants that are not measured yet; write ablation.json after each."""
    arguments = options().parse_args()
    try:
        with tempfile.TemporaryDirectory() as links:
            multi = as_davis(arguments.dev.parent / "multi", Path(links))
            one, several = (
                [first_frames(sequence, arguments.frames) for sequence in find_sequences(root)]
                for root in (arguments.dev, multi)
            )
            for name in arguments.only or VARIANTS:
                measure(name, Clips(one, several), arguments)
                collect(arguments)
    except (VosError, ServiceError, TrainingStopped) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
