"""Rows, tables and plots of accuracy, on hand-made evaluations."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import harness
from benchmarks.accuracy import measure, plots, refine_cost, rows, tables
from benchmarks.accuracy.methods import Method
from codec.encode import Encoder, encode, parse_options
from vos.modeling.refiner import Refiner

X264 = {"name": "libx264", "options": {"preset": "medium", "crf": "23"}}


def run(
    share: float,
    loss: float,
    keyframes: str = "adaptive",
    *,
    refine: bool = True,
    speedup: float = 2.0,
    bound: float = 1.0,
) -> Any:
    """Build one run of a curve, in the form of accuracy.json."""
    return {
        "method": {"keyframes": keyframes, "quality": "balanced", "max_key_share": bound, "refine": refine},
        **{"J": 80.0, "F": 82.0, "JF": 81.0, "fps": 20.0, "key_share": share, "loss": loss, "speedup": speedup},
        "copy": {"J": 60.0, "F": 60.0, "JF": 60.0},
        "score_correlation": {"carried": 0.75, "all": None},
        "correct_ms": 7.5 if refine else None,
        "by_sequence": {
            "cow": {"JF": 81.0, "key_share": share, "loss": loss, "speedup": speedup, "copy": {"JF": 60.0}}
        },
    }


def comparison(**runs: Any) -> dict[str, Any]:
    """Build a part of accuracy.json with these runs."""
    base = {"J": 88.0, "F": 90.0, "JF": 89.0, "fps": 20.0}
    return {
        "model": {"name": "compact"},
        "encoders": [X264],
        "sequences": ["cow"],
        "frames": 90,
        "motion_source": "bitstream",
        "baseline": {**base, "by_sequence": {"cow": base}},
        "runs": {name.replace("_", " "): value for name, value in runs.items()},
    }


COST = {
    "repair_ms": {"median": 9.0, "q1": 8.0, "q3": 10.0, "n": 4},
    "look_ms": {"median": 5.0, "q1": 5.0, "q3": 5.0, "n": 3},
    "one_core_ms": {"median": 11.0, "q1": 10.0, "q3": 12.0, "n": 4},
    "region": [384, 400],
    "looked_at": [272, 288],
    "threads": 2,
}


def test_loss_between_points_of_adaptive_is_interpolated() -> None:
    """Other policies are compared at their own share of key frames, unless adaptive has no point with so few."""
    runs = {
        "adaptive fast": run(10, 4.0),
        "adaptive best": run(30, 2.0),
        "every:4": run(25, 3.0, "every:4"),  # adaptive loses 2.5 there
        "codec": run(50, 1.5, "codec"),  # adaptive loses 2.0 at most
        "every:20": run(5, 9.0, "every:20"),
        "adaptive balanced, keys at most 20 %": run(20, 8.0, bound=0.2),  # "fast" has fewer key frames and loses less
    }
    assert rows.adaptive_margins(runs) == {"every:4": 0.5, "codec": -0.5}
    runs["adaptive balanced, keys at most 20 %"] = run(20, 2.5, bound=0.2)  # adaptive loses 2.25 at 25 % now
    assert rows.adaptive_margins(runs) == {"every:4": 0.75, "codec": -0.5}


def test_the_front_holds_the_unbeaten_runs() -> None:
    """A run with no more key frames and no more loss removes another run; of equal runs the first stays."""
    points = {
        "most": run(40, 1.0),
        "beaten": run(25, 3.5),
        "middle": run(20, 3.0),
        "as good with more keys": run(30, 3.0),
        "as many keys and worse": run(20, 3.1),
        "equal": run(40, 1.0),
        "fewest": run(10, 5.0),
    }
    assert list(rows.front(points)) == ["fewest", "middle", "most"]
    assert rows.front(points)["middle"] is points["middle"]
    assert rows.front({}) == {}


def policies_row(runs: dict[str, Any]) -> harness.Row:
    """The row that compares adaptive with the other policies."""
    return next(row for row in rows.curve_rows(comparison(**runs)) if row.unit == "points")


def test_policies_with_too_few_key_frames_are_named() -> None:
    """The note names runs that cannot be compared, with their loss and adaptive's point with the fewest key frames."""
    runs = {
        "adaptive balanced": run(20, 2.0),
        "adaptive balanced, keys at most 13 %": run(12.3, 2.5, bound=0.13),
        "adaptive best": run(30, 2.2),
        "every:5": run(20, 1.5, "every:5"),
        "every:12": run(8.62, 3.57, "every:12"),
    }
    row = policies_row(runs)
    assert row.measured.median == -0.5
    assert row.note == (
        "against every:5; adaptive is ahead of 0 of 1: every:5; its front is 2 of 3 settings "
        "(adaptive balanced, keys at most 13 %; adaptive balanced); not compared, with fewer key frames than "
        "adaptive balanced, keys at most 13 % (loss 2.5 at 12.3 % key frames): every:12 (loss 3.6 at 8.6 % key frames)"
    )
    del runs["every:12"]
    assert "not compared" not in policies_row(runs).note


def test_the_fastest_setting_loses_at_most_a_point() -> None:
    """Faster settings that lose more than a point, or do not refine, do not count."""
    found = comparison(
        adaptive_balanced=run(20, 0.9, speedup=3.5),
        adaptive_fast=run(10, 1.1, speedup=6),
        codec=run(40, 0.2, "codec", speedup=2),
        every=run(20, 0.1, "every:5", refine=False, speedup=5),
    )
    row = rows.curve_rows(found)[0]
    assert (row.measured.median, row.met) == (3.5, True)
    assert row.note == "adaptive balanced: loss 0.9 at 20 % key frames"


def test_without_such_a_setting_the_speed_up_is_one() -> None:
    """If every setting loses more than a point, the speed-up is 1 and the note names the smallest loss."""
    row = rows.curve_rows(comparison(adaptive_balanced=run(20, 4.0), codec=run(40, 3.0, "codec")))[0]
    assert (row.measured.median, row.met) == (1.0, False)
    assert "the smallest loss is codec: loss 3.0 at 40 % key frames, 2.00 x" in row.note


def test_the_matrix_row_is_its_worst_setting() -> None:
    """The row holds the largest loss, and its note names the setting and the mean."""
    losses = {"x264 slow": 0.5, "x265": 1.5, "x264 veryfast": 1.0}
    matrix = {name: comparison(bounded=run(18, loss)) for name, loss in losses.items()}
    (row,) = rows.matrix_rows(matrix)
    assert (row.measured.median, row.met) == (1.5, False)
    assert row.note.startswith(
        "x265; mean over 3 settings 1.0, least 0.5; 18 to 18 % key frames; 90 frames per setting"
    )
    matrix["x265"]["runs"]["bounded"]["key_share"] = 21
    assert rows.matrix_rows(matrix)[0].met is None  # the goal holds for at most 20 %


def test_network_rows_meet_their_goals() -> None:
    """20 frames per second are 50 ms, more than 28; J&F of 89 reaches 87, and the worst sequence is named."""
    found = rows.network_rows(comparison())
    assert [(row.measured.median, row.met, row.note) for row in found] == [
        (89.0, True, ""),
        (89.0, True, "cow"),
        (50.0, False, ""),
    ]


def test_rates_of_both_qualities_have_goals() -> None:
    """`balanced` is to reach 95 frames per second and `fast` 120; a part without `fast` has no row of it."""
    curve = comparison(adaptive_balanced=run(20, 0.9) | {"fps": 96.0}, adaptive_fast=run(10, 2.0) | {"fps": 96.0})
    rates = [row for row in rows.curve_rows(curve) if row.unit == "frames/s"]
    assert [(row.question, row.met) for row in rates] == [
        ("compact, adaptive balanced: end to end", True),
        ("compact, adaptive fast: end to end", False),
    ]
    del curve["runs"]["adaptive fast"]
    assert len(rows.curve_rows(curve)) == 2


def test_fast_may_lose_more() -> None:
    """The limit of `fast` is 1.5 points over encoder settings, with any share of key frames."""
    matrix = {"x265": comparison(adaptive_fast=run(25, 1.4), bounded=run(18, 1.4))}
    assert [row.met for row in rows.matrix_rows(matrix)] == [True, False]


def test_the_page_shows_every_run() -> None:
    """The page has all parts and runs, and no picture that does not exist."""
    details = {
        "curve": comparison(
            adaptive_balanced=run(20, 0.9),
            **{
                "adaptive balanced, not refined": run(22, 9.0, refine=False),
                "codec, raw": run(40, 8.0, "codec", refine=False),
            },
        ),
        "matrix": {"environment": {}, "x265": comparison(bounded=run(18, 1.5))},
        "cost": COST,
    }
    page = tables.page(details, Path("nowhere"))
    line = "| adaptive balanced | 81.0 | 80.0 | 82.0 | 20.0 | 20 % | 0.9 | 2.00 x | 0.75 | 60.0 |"
    assert line in page
    assert "| x265 | bitstream | 89.0 | bounded | 81.0 | 18 % | 1.5 | 2.00 x | 0.75 | 60.0 |" in page
    assert "9.0 (8.0 to 10.0) |" in page
    assert "| codec, raw |" in page
    assert "![" not in page
    assert [row.measured.median for row in rows.rows(details)][-5:] == [9.0, 11.0, 7.5, 21.0, 21.0]


def test_tables_name_the_encodings() -> None:
    """The page counts the frames of all encodings and names the encoders."""
    curve = comparison(adaptive_balanced=run(20, 0.9))
    slow = {"name": "libx264", "options": {"preset": "slow", "crf": "23"}}
    curve |= {"encoders": [X264, slow], "sequences": ["cow", "dog"], "frames": 1716}
    for one in (curve["baseline"], curve["runs"]["adaptive balanced"]):
        one["by_sequence"]["dog"] = one["by_sequence"]["cow"]
    details = {"curve": curve, "multi": comparison(adaptive_balanced=run(20, 0.9))}
    page = tables.page(details, Path("nowhere")).splitlines()
    assert "### One object, 2 sequences in 2 encodings, 1,716 frames" in page
    assert "### Several objects, 1 sequence, 90 frames" in page
    both = "Clips by libx264 preset=medium,crf=23; libx264 preset=slow,crf=23. Figures cover all encodings."
    assert both in page
    assert "Clips by libx264 preset=medium,crf=23." in page


def test_the_floor_row_is_the_worst_run_and_sequence() -> None:
    """The row holds and names the run and sequence with the smallest gain over copying, of all parts."""
    details = {
        "curve": comparison(adaptive_balanced=run(20, 0.9), codec=run(40, 8.0, "codec", refine=False)),
        "multi": comparison(adaptive_balanced=run(20, 0.9)),
        "matrix": {"environment": {}, "x265": comparison(bounded=run(18, 1.5))},
    }

    def row() -> harness.Row:
        return rows.rows(details)[-1]

    assert (row().measured.median, row().met) == (21, True)
    details["matrix"]["x265"]["runs"]["bounded"]["by_sequence"]["cow"]["copy"] = {"JF": 79.5}
    assert (row().measured.median, row().met) == (1.5, True)
    assert row().note == "bounded, x265, cow: 81.0 against 79.5; 0 of 4 lie below copying"
    details["multi"]["runs"]["adaptive balanced"]["by_sequence"]["dog"] = {"JF": 40.0, "copy": {"JF": 42.5}}
    assert (row().measured.median, row().met) == (-2.5, False)
    assert row().note == "adaptive balanced, several objects, dog: 40.0 against 42.5; 1 of 5 lie below copying"
    details["multi"]["encoders"] = [X264, X264]
    assert row().note.endswith("lie below copying; sequences in several encodings count by their mean")
    for part in (details["curve"], details["multi"], details["matrix"]["x265"]):
        for found in part["runs"].values():
            found["by_sequence"] = {"cow": {"JF": 81.0, "loss": 1.0}}  # as in older results
    assert row().question.startswith("compact, adaptive, 7 and 8 objects")


def test_plots_hold_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy is one line by share of key frames, refined and not refined apart; both plots become PNG files."""
    runs = {"a": run(30, 2), "b": run(10, 4), "c": run(20, 9, refine=False), "d": run(20, 3, "every:5")}
    runs["e"] = run(15, 5, bound=0.2)
    assert plots.lines(runs) == {
        ("adaptive", True): [(10, 4), (30, 2)],
        ("adaptive", False): [(20, 9)],
        ("every:N", True): [(20, 3)],
        ("adaptive, bounded", True): [(15, 5)],
    }
    details = {"curve": comparison(**runs), "matrix": {"environment": {}, "x265": comparison(bounded=run(18, 1.5))}}
    (tmp_path / "accuracy.json").write_text(json.dumps({"details": details}))
    monkeypatch.setattr(sys, "argv", ["plots.py", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    plots.main()
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["accuracy_curve.png", "accuracy_matrix.png"]
    for file in files:
        with Image.open(file) as picture:
            assert picture.convert("L").getextrema()[0] < 100  # something dark was drawn on white


def test_only_keeps_the_other_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--only` replaces its parts of the file and keeps the rest; a quick run is never mixed with a full run."""
    monkeypatch.setitem(measure.PARTS, "cost", lambda _arguments: COST)
    arguments = ["measure.py", "--only", "cost", "--out", str(tmp_path)]
    file = tmp_path / "accuracy.json"
    old = {"quick": False, "details": {"curve": comparison(adaptive_balanced=run(20, 0.9)), "former": {}}}
    file.write_text(json.dumps(old))
    monkeypatch.setattr(sys, "argv", arguments)
    measure.main()
    value = json.loads(file.read_text())
    assert set(value["details"]) == {"curve", "cost"}
    assert set(value["details"]["cost"]) == {"environment", *COST}
    assert len(value["rows"]) > len(rows.cost_rows(COST, None))
    monkeypatch.setattr(sys, "argv", [*arguments, "--quick"])
    measure.main()
    assert set(json.loads(file.read_text())["details"]) == {"cost"}


def test_an_unknown_part_is_named() -> None:
    """An unknown part is refused with the list of known parts."""
    with pytest.raises(argparse.ArgumentTypeError, match="unknown part 'curves'; allowed: cost, curve, matrix, multi"):
        measure.chosen("cost,curves")


@pytest.mark.parametrize(
    ("quick", "presets"), [(False, ["medium", "veryfast", "slow"]), (True, ["medium", "veryfast"])]
)
def test_the_curve_is_measured_in_three_encodings(
    monkeypatch: pytest.MonkeyPatch, quick: bool, presets: list[str]
) -> None:
    """The curve uses x264 with three presets at one quality; a quick run uses two."""
    given: list[Encoder] = []
    monkeypatch.setattr(measure, "find_sequences", lambda _data, _names: [])
    monkeypatch.setattr(measure, "compare", lambda _sequences, encoders, *_: given.extend(encoders) or {})
    measure.curve(argparse.Namespace(quick=quick, data=Path(), sequences=None, frames=None))
    assert [encoder.all_options for encoder in given] == [{"preset": preset, "crf": "23"} for preset in presets]
    assert {encoder.name for encoder in given} == {"libx264"}


def test_methods_have_unique_names() -> None:
    """No two methods of the curve share a name, so none overwrites another result."""
    names = [method.name for method in measure.CURVE]
    assert len(set(names)) == len(names)
    assert Method("adaptive", "fast", max_key_share=0.08).name == "adaptive fast, keys at most 8 %"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("x264 veryfast", "subme=2 "),
        ("x264 medium", "crf=23.0 "),
        ("x264 slow", "subme=8 "),
        ("x264 baseline profile", "cabac=0 "),
        ("x264 baseline profile", "bframes=0 "),
        ("x264 crf 18", "crf=18.0 "),
        ("x264 crf 28", "crf=28.0 "),
        ("x264 crf 35", "crf=35.0 "),
        ("x264 1 reference", "ref=1 "),
        ("x264 5 references", "ref=5 "),
        ("x265 through the proxy", "x265"),
    ],
)
def test_encoders_take_the_settings_of_the_matrix(name: str, written: str) -> None:
    """The encoder records the setting's value in the stream."""
    encoder, options = measure.ENCODERS[name]
    pictures = iter(np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), np.uint8))
    assert written.encode() in encode(pictures, Encoder(encoder, parse_options(options)))


def test_the_drawn_object_has_its_share_of_the_picture() -> None:
    """The disc covers a tenth of 854x480 in every frame, moves, and contrasts with the ground."""
    pictures, masks = refine_cost.scene(3)
    assert pictures[0].shape == (480, 854, 3)
    assert [mask.mean() for mask in masks] == pytest.approx([0.1] * 3, rel=0.01)
    centres = [np.nonzero(mask)[1].mean() for mask in masks]
    assert np.diff(centres) == pytest.approx([refine_cost.STEP] * 2, abs=0.5)
    assert pictures[0][masks[0] > 0].mean() > pictures[0][masks[0] == 0].mean() + 50


def test_each_refinement_and_key_frame_is_timed() -> None:
    """After a first round, a round of four frames times three key frames and one refinement."""
    found = refine_cost.milliseconds(Refiner().eval(), frames=4, rounds=1)
    assert [found[name]["n"] for name in ("look_ms", "repair_ms", "one_core_ms")] == [3, 1, 1]
    # The disc is 228 pixels wide; each side gets a margin of 32 pixels plus 15 %, in steps of 16.
    assert found["region"] == [384, 384]
    assert found["looked_at"] == [272, 272]


def test_cost_rows_read_the_spreads() -> None:
    """The rows hold the spreads that the cost part writes."""
    whole, alone = (row.measured for row in rows.cost_rows(COST, None))
    assert whole == harness.Spread(9.0, 8.0, 10.0, 4)
    assert alone == harness.Spread(11.0, 10.0, 12.0, 4)
