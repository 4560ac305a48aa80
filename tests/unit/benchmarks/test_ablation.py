"""The ablation of the recipe: variants, stopped runs, and the table."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from benchmarks.ablation import table, train_variants
from vos.modeling.compact import CompactNetwork
from vos.training.base.recipe import Recipe, Stage
from vos.training.base.run import RunOptions, TrainingResult, train
from vos.training.common.errors import CheckpointError
from vos.weights.load import read_metadata

TINY = Recipe(stages=(Stage(1, 2, 2, 64), Stage(2, 3, 1, 64)), warmup_steps=1)
FIELDS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "recipe, seed 2": {"seed": 2},
    "no rivals": {"rivals": 0},
    "stills only": {"real_clips": 0},
    "videos only": {"real_clips": 1},
    "no absence": {"absent": 0},
    "one object": {"followed": {1: 1.0}},
    "no hard pixels": {"hardest": 1},
    "no moving average": {"ema": 0},
    "one scale": {"zoom_spread": 0},
    "no occluders": {"occluders": 0},
    "no copy-paste": {"copy_paste": 0},
    "memory never spoilt": {"spoiled_memory": 0},
    "hints never wrong": {"wrong_hints": 0},
}
STAGE_FIELDS: dict[str, tuple[str, int]] = {
    "gaps up to 12 from the start": ("widest_gap", 12),
    "clips of 3 frames": ("frames", 3),
    "no larger crops at the end": ("crop", 256),
}


@pytest.fixture
def work(training_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Options of a run of three tiny steps; instead of judging, each result is a running number."""
    monkeypatch.setattr(train_variants, "BASE", TINY)
    turns = iter(range(100))
    monkeypatch.setattr(train_variants, "judge", lambda _weights, _clips: {"turn": next(turns)})
    return argparse.Namespace(
        data=training_folder,
        backbone=None,
        work=tmp_path / "work",
        out=tmp_path / "results",
        steps=3,
        frames=4,
        workers=0,
        quick=False,
    )


NOTHING = train_variants.Clips((), ())


def never(*_: object) -> TrainingResult:
    """Fail on a training that must not happen."""
    raise AssertionError("trained again")


@pytest.mark.parametrize("name", FIELDS)
def test_a_variant_changes_one_field(name: str) -> None:
    """A variant changes the field that it names and keeps all other fields of the recipe."""
    base = asdict(Recipe().scaled(300))
    found = asdict(train_variants.recipe_of(name, 300))
    assert {field for field in base if found[field] != base[field]} == set(FIELDS[name])
    assert found == base | FIELDS[name]


@pytest.mark.parametrize("name", STAGE_FIELDS)
def test_a_variant_changes_one_field_of_the_stages(name: str) -> None:
    """A variant of the stages sets one field to one value in all stages and keeps everything else."""
    field, value = STAGE_FIELDS[name]
    base, found = asdict(Recipe().scaled(300)), asdict(train_variants.recipe_of(name, 300))
    assert found["stages"] == tuple({**stage, field: value} for stage in base["stages"])
    assert found["stages"] != base["stages"]
    assert {**found, "stages": base["stages"]} == base


def test_all_variants_are_known_and_the_recipe_comes_first() -> None:
    """Variants are in order of importance, and no two share a folder."""
    assert set(train_variants.VARIANTS) == {*FIELDS, *STAGE_FIELDS}
    assert list(train_variants.VARIANTS)[:3] == ["recipe", "recipe, seed 2", "gaps up to 12 from the start"]
    arguments = argparse.Namespace(work=Path("work"))
    assert len({train_variants.folder_of(name, arguments) for name in train_variants.VARIANTS}) == len(
        train_variants.VARIANTS
    )


def test_changes_are_values_by_field() -> None:
    """Changes hold the fields in which two recipes differ, with the values of the first."""
    base = TINY.as_dict()
    assert train_variants.changes(replace(TINY, seed=2, ema=0.0).as_dict(), base) == {"seed": 2, "ema": 0.0}
    assert train_variants.changes(base, base) == {}


def test_a_stopped_training_is_resumed(work: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant with one of three steps done is resumed; a finished one is neither trained nor judged again."""
    folder = train_variants.folder_of("stills only", work)
    recipe = train_variants.recipe_of("stills only", work.steps)
    train(RunOptions((work.data,), folder, workers=0, stop_after=1), recipe)
    resumed: list[bool] = []

    def watched(options: RunOptions, *rest: Any) -> TrainingResult:
        resumed.append(options.resume)
        return train(options, *rest)

    monkeypatch.setattr(train_variants, "train", watched)
    train_variants.measure("stills only", NOTHING, work)
    assert resumed == [True]
    assert read_metadata(folder / "compact.safetensors")["steps"] == "3"
    monkeypatch.setattr(train_variants, "train", never)
    train_variants.measure("stills only", NOTHING, work)
    assert train_variants.judged("stills only", work) == {"turn": 0}


def test_weights_that_were_not_judged_are_not_trained_again(
    work: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained weights are only judged, also when they are judged again on other frames."""
    train_variants.trained("recipe", work_with_folder(work, "recipe"))
    monkeypatch.setattr(train_variants, "train", never)
    train_variants.measure("recipe", NOTHING, work)
    assert train_variants.judged("recipe", work) == {"turn": 0}
    work.frames = 3
    assert train_variants.judged("recipe", work) is None
    train_variants.measure("recipe", NOTHING, work)
    assert train_variants.judged("recipe", work) == {"turn": 1}


def work_with_folder(work: argparse.Namespace, name: str) -> argparse.Namespace:
    """Create the folder of a variant and return the options."""
    train_variants.folder_of(name, work).mkdir(parents=True)
    return work


def test_a_signal_ends_the_run(work: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that stopped early is not judged, and the message gives its steps."""
    monkeypatch.setattr(
        train_variants, "train", lambda options, *_: TrainingResult(options.out / "compact.safetensors", 1)
    )
    with pytest.raises(train_variants.TrainingStopped, match="recipe: stopped after 1 of 3 steps"):
        train_variants.measure("recipe", NOTHING, work)
    assert train_variants.judged("recipe", work) is None


def test_a_run_by_another_recipe_is_refused(work: argparse.Namespace) -> None:
    """A work folder with another number of steps is refused."""
    train_variants.measure("recipe", NOTHING, work)
    work.steps = 6
    assert train_variants.judged("recipe", work) is None
    with pytest.raises(CheckpointError, match="started with stages"):
        train_variants.measure("recipe", NOTHING, work)


def test_two_processes_do_not_share_a_variant(work: argparse.Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """A variant whose lock is held elsewhere is skipped, and measured once the lock is free."""
    folder = train_variants.folder_of("recipe", work)
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        train_variants.measure("recipe", NOTHING, work)
        assert train_variants.judged("recipe", work) is None
        assert "another process works on it" in capsys.readouterr().out
    train_variants.measure("recipe", NOTHING, work)
    assert train_variants.judged("recipe", work) == {"turn": 0}


@pytest.fixture
def dev(training_folder: Path, tmp_path: Path) -> Path:
    """A DAVIS folder with the first training video, and the same video twice in multi/ beside it."""
    source = training_folder / "video" / "made" / "a"
    places = {
        "frames": [tmp_path / "dev" / "davis480" / "JPEGImages" / "480p" / "disc"],
        "masks": [tmp_path / "dev" / "davis480" / "Annotations" / "480p" / "disc"],
    }
    for kind, folders in places.items():
        folders += [tmp_path / "dev" / "multi" / name / kind for name in ("schoolgirls", "tabletop")]
        for folder in folders:
            folder.mkdir(parents=True)
            for file in sorted((source / kind).iterdir()):
                picture = Image.open(file)
                picture.save(folder / f"{file.stem}.{'jpg' if kind == 'frames' else 'png'}")
    return tmp_path / "dev" / "davis480"


@pytest.mark.long
def test_a_whole_run_writes_a_table(
    training_folder: Path, tmp_path: Path, dev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two variants are trained from a backbone, judged and written; all others are null, and no path is written."""
    monkeypatch.setattr(train_variants, "BASE", TINY)
    save_file(CompactNetwork().backbone.state_dict(), tmp_path / "backbone.safetensors")
    options = {"--data": training_folder, "--backbone": tmp_path / "backbone.safetensors", "--dev": dev}
    options |= {"--work": tmp_path / "work", "--out": tmp_path / "results"}
    words = [str(word) for pair in options.items() for word in pair]
    words += ["--steps", "3", "--frames", "4", "--workers", "0", "--only", "recipe", "--only", "one object"]
    monkeypatch.setattr(sys, "argv", ["train_variants", *words])
    train_variants.main()
    text = (tmp_path / "results" / "ablation.json").read_text(encoding="utf-8")
    details = json.loads(text)["details"]
    variants = details["variants"]
    assert list(variants) == list(train_variants.VARIANTS)
    assert [name for name, found in variants.items() if found] == ["recipe", "one object"]
    assert (variants["recipe"]["changes"], variants["one object"]["changes"]) == ({}, {"followed": {"1": 1.0}})
    one = variants["one object"]
    assert (one["steps"], one["seed"], one["one"]["frames"], one["several"]["frames"]) == (3, 1, 4, 8)
    assert set(one["one"]["every_frame"]["by_sequence"]) == {"disc"}
    assert set(one["several"]["carrying"]["by_sequence"]) == {"schoolgirls", "tabletop"}
    assert one["environment"]["cpu"]
    assert str(tmp_path) not in text
    assert "| one object |" in table.page(tmp_path / "results")


def test_a_missing_backbone_is_named(dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the backbone's file the run ends with a message that names it."""
    words = ["--data", str(tmp_path), "--dev", str(dev), "--backbone", str(tmp_path / "no.safetensors")]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "results"), "--only", "recipe"]
    monkeypatch.setattr(sys, "argv", ["train_variants", *words])
    with pytest.raises(SystemExit, match=r"no\.safetensors is missing; --backbone takes a safetensors file"):
        train_variants.main()


def found(one: float, several: float, apart: float = 0.0) -> dict[str, Any]:
    """A variant as in ablation.json, with two sequences at a distance of `apart` from their mean."""

    def scores(mean: float) -> dict[str, Any]:
        return {"JF": mean, "by_sequence": {"a": {"JF": mean - apart}, "b": {"JF": mean + apart}}}

    return {
        "one": {"frames": 180, "every_frame": scores(one), "carrying": {"JF": one - 1}},
        "several": {"frames": 60, "every_frame": scores(several), "carrying": {"JF": several - 1}},
        "commit": "0123456789abcdef",
        "environment": {"cpu": "a CPU", "cores": 2, "dirty": False},
    }


def write(folder: Path, **variants: dict[str, Any] | None) -> None:
    """Write a made-up ablation.json; underscores stand for spaces."""
    named = {name.replace("_", " "): value for name, value in variants.items()}
    details = {"steps": 300, "carrying": "every:5", "variants": named}
    (folder / "ablation.json").write_text(json.dumps({"details": details}), encoding="utf-8")


def test_the_table_compares_each_change_with_the_recipe(tmp_path: Path) -> None:
    """Differences are to the first seed; the second seed gives the noise; missing variants are named."""
    variants = {"recipe, seed 2": found(70.5, 48.0, apart=4), "one object": found(66.0, 40.25), "stills only": None}
    write(tmp_path, recipe=found(70.0, 50.0), **variants)
    lines = table.page(tmp_path).splitlines()
    assert "Runs of 300 steps each" in lines[0]
    assert "(180 frames)" in lines[0]
    assert [line for line in lines if line.startswith("|")][2:] == [
        "| recipe | 70.0 |  | 69.0 | 50.0 |  |",
        "| recipe, seed 2 | 70.5 | +0.5 | 69.5 | 48.0 | -2.0 |",
        "| one object | 66.0 | -4.0 | 65.0 | 40.2 | -9.8 |",
    ]
    # Seeds differ by -3.5 and 4.5, and by -6 and 2 with several objects.
    assert any("standard error of 2.9 points, 3.2 with several objects" in line for line in lines)
    assert "Not measured yet: stills only." in lines
    assert lines[-1] == "Trained and judged on a CPU, 2 cores, by the code of commit 0123456789ab."


def test_a_table_without_the_recipe_claims_no_difference(tmp_path: Path) -> None:
    """Without the recipe there is nothing to compare with, and the noise is unknown."""
    write(tmp_path, recipe=None, one_object=found(66.0, 40.0))
    text = table.page(tmp_path)
    assert "| one object | 66.0 |  | 65.0 | 40.0 |  |" in text
    assert "no difference can be told from chance" in text


def test_the_table_says_that_nothing_is_measured(tmp_path: Path) -> None:
    """Without results, or with null results only, the table is one line."""
    assert table.page(tmp_path).startswith("Not measured yet")
    write(tmp_path, recipe=None)
    assert table.page(tmp_path).startswith("Not measured yet")
