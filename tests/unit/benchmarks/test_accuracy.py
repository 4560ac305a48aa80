"""From evaluations to rows, tables and plots, with numbers made by hand."""

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
    """One run of a curve, as measure.json holds it."""
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
    """A part of measure.json with these runs."""
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
    """Others are compared at their own key share: between two points, after the last one, and not before the first."""
    runs = {
        "adaptive fast": run(10, 4.0),
        "adaptive best": run(30, 2.0),
        "every:4": run(25, 3.0, "every:4"),  # adaptive loses 2.5 there
        "codec": run(50, 1.5, "codec"),  # adaptive loses 2.0 at most
        "every:20": run(5, 9.0, "every:20"),
        "adaptive balanced, keys at most 20 %": run(20, 8.0, bound=0.2),  # fast has fewer key frames and loses less
    }
    assert rows.adaptive_margins(runs) == {"every:4": 0.5, "codec": -0.5}
    runs["adaptive balanced, keys at most 20 %"] = run(20, 2.5, bound=0.2)  # adaptive loses 2.25 at 25 % now
    assert rows.adaptive_margins(runs) == {"every:4": 0.75, "codec": -0.5}


def test_a_front_holds_what_no_other_run_beats() -> None:
    """Whoever has as few key frames and loses no more puts another out; equal runs are one point, the first's."""
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


def test_policies_with_too_few_key_frames_are_named() -> None:
    """What cannot be compared stands in the note with its loss, beside adaptive's point with the fewest key frames."""
    runs = {
        "adaptive balanced": run(20, 2.0),
        "adaptive balanced, keys at most 13 %": run(12.3, 2.5, bound=0.13),
        "adaptive best": run(30, 2.2),
        "every:5": run(20, 1.5, "every:5"),
        "every:12": run(8.62, 3.57, "every:12"),
    }
    row = rows.curve_rows(comparison(**runs))[1]
    assert row.measured.median == -0.5
    assert row.note == (
        "against every:5; adaptive is ahead of 0 of 1: every:5; its front is 2 of 3 settings "
        "(adaptive balanced, keys at most 13 %; adaptive balanced); not compared, for they have fewer key frames than "
        "adaptive balanced, keys at most 13 % (loss 2.5 at 12.3 % key frames): every:12 (loss 3.6 at 8.6 % key frames)"
    )
    del runs["every:12"]
    assert "not compared" not in rows.curve_rows(comparison(**runs))[1].note


def test_the_fastest_setting_is_among_those_that_lose_little() -> None:
    """A faster setting that loses more than a point does not count, nor does one without repair."""
    found = comparison(
        adaptive_balanced=run(20, 0.9, speedup=3.5),
        adaptive_fast=run(10, 1.1, speedup=6),
        codec=run(40, 0.2, "codec", speedup=2),
        every=run(20, 0.1, "every:5", refine=False, speedup=5),
    )
    row = rows.curve_rows(found)[0]
    assert (row.measured.median, row.met) == (3.5, True)
    assert row.note == "adaptive balanced: loss 0.9 at 20 % key frames"


def test_without_a_setting_that_loses_little_nothing_is_won() -> None:
    """Every frame is then the fastest that keeps within a point; the note says what came nearest."""
    row = rows.curve_rows(comparison(adaptive_balanced=run(20, 4.0), codec=run(40, 3.0, "codec")))[0]
    assert (row.measured.median, row.met) == (1.0, False)
    assert "the least is codec: loss 3.0 at 40 % key frames, 2.00 x" in row.note


def test_the_matrix_counts_by_its_worst_setting() -> None:
    """The row's figure is the largest loss, its note names the setting and the mean."""
    losses = {"x264 slow": 0.5, "x265": 1.5, "x264 veryfast": 1.0}
    matrix = {name: comparison(bounded=run(18, loss)) for name, loss in losses.items()}
    (row,) = rows.matrix_rows(matrix)
    assert (row.measured.median, row.met) == (1.5, False)
    assert row.note.startswith("x265; mean over 3 settings 1.0, least 0.5; 18 to 18 % key frames; 90 frames a setting")
    matrix["x265"]["runs"]["bounded"]["key_share"] = 21
    assert rows.matrix_rows(matrix)[0].met is None  # the goal is for 20 % at most


def test_a_network_row_is_met_by_its_figure() -> None:
    """20 frames a second are 50 ms, within 60; J&F of 89 reaches 87, and the worst sequence's is named."""
    found = rows.network_rows(comparison())
    assert [(row.measured.median, row.met, row.note) for row in found] == [
        (89.0, True, ""),
        (89.0, True, "cow"),
        (50.0, True, ""),
    ]


def test_tables_show_every_run_and_the_readme_fewer() -> None:
    """The page has all runs and parts; the README leaves out what is not repaired, but for the default."""
    details = {
        "curve": comparison(
            adaptive_balanced=run(20, 0.9),
            **{
                "adaptive balanced, not repaired": run(22, 9.0, refine=False),
                "codec, raw": run(40, 8.0, "codec", refine=False),
            },
        ),
        "matrix": {"environment": {}, "x265": comparison(bounded=run(18, 1.5))},
        "cost": COST,
    }
    page, short = tables.page(details, Path("nowhere")), "\n".join(tables.short(details))
    line = "| adaptive balanced | 81.0 | 80.0 | 82.0 | 20.0 | 20 % | 0.9 | 2.00 x | 0.75 | 60.0 |"
    assert line in page
    assert line in short
    assert "| x265 | bitstream | 89.0 | bounded | 81.0 | 18 % | 1.5 | 2.00 x | 0.75 | 60.0 |" in page
    assert "9.0 (8.0 to 10.0) |" in page
    assert "| codec, raw |" in page
    assert "codec, raw" not in short
    assert "![" not in page
    assert [row.measured.median for row in rows.rows(details)][-5:] == [9.0, 11.0, 7.5, 21.0, 21.0]


def test_tables_say_of_how_many_encodings_they_are() -> None:
    """Frames are those of all encodings, which the page names; with one encoding there is nothing to count."""
    curve = comparison(adaptive_balanced=run(20, 0.9))
    slow = {"name": "libx264", "options": {"preset": "slow", "crf": "23"}}
    curve |= {"encoders": [X264, slow], "sequences": ["cow", "dog"], "frames": 1716}
    for one in (curve["baseline"], curve["runs"]["adaptive balanced"]):
        one["by_sequence"]["dog"] = one["by_sequence"]["cow"]
    details = {"curve": curve, "multi": comparison(adaptive_balanced=run(20, 0.9))}
    page, short = tables.page(details, Path("nowhere")).splitlines(), tables.short(details)
    assert "### One object, 2 sequences in 2 encodings, 1,716 frames" in page
    assert "### Several objects, 1 sequence, 90 frames" in page
    both = "Clips by libx264 preset=medium,crf=23; libx264 preset=slow,crf=23. Figures are over all encodings."
    assert both in page
    assert "Clips by libx264 preset=medium,crf=23." in page
    assert "One object: 2 sequences in 2 encodings, 1,716 frames; 7 and 8 objects: 1 sequence, 90 frames." in short


def test_no_run_may_be_worse_than_copying_on_any_sequence() -> None:
    """Of all parts, runs and sequences the one that is least above copying counts and is named."""
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
    assert row().note.endswith("lie below copying; of a sequence in several encodings the mean counts")
    for part in (details["curve"], details["multi"], details["matrix"]["x265"]):
        for found in part["runs"].values():
            found["by_sequence"] = {"cow": {"JF": 81.0, "loss": 1.0}}  # as older results have it
    assert row().question.startswith("compact, adaptive, 7 and 8 objects")


def test_reasons_rest_on_the_figures() -> None:
    """Each reason of a missed goal holds what was measured of it: sequence, share of the picture, milliseconds."""
    found = comparison(
        adaptive_fast=run(10, 4.0), adaptive_balanced=run(30, 2.0), **{"every:4": run(20, 1.0, "every:4")}
    )
    found["sequences"] = ["cow", "dog"]
    found["baseline"]["by_sequence"]["dog"] = {"JF": 50.4}
    for one, losses in zip(found["runs"].values(), ((4.0, 4.0), (2.0, 2.0), (-1.0, 3.0)), strict=True):
        one["by_sequence"] = {name: {"loss": loss} for name, loss in zip(("cow", "dog"), losses, strict=True)}
    speed, policy = rows.curve_rows(found)
    # 20 frames a second are 50 ms; a repair is 7.5.
    assert "8 ms a carried frame, looks at key frames included, of 50 ms a frame" in speed.why
    assert "that would be 6.7 times as fast" in speed.why
    # At 20 % adaptive loses 3.0 on both: 4.0 more than every:4 on the cow, nothing on the dog.
    assert "here above all cow (4.0 points behind); on dog the network itself goes wrong (J&F 50 on every" in policy.why
    assert "looks less closely" not in policy.why
    found["runs"]["adaptive fast"]["method"]["quality"] = "fast"
    closely = "; adaptive fast, the point with the fewest key frames, also looks less closely"
    assert rows.curve_rows(found)[1].why == policy.why + closely
    assert "the region is 37 % of the picture" in rows.cost_rows(COST, None)[0].why
    (row,) = rows.matrix_rows({"x265": comparison(bounded=run(18, 1.5))})
    assert row.why == "with 1 sequences single ones decide, here cow, which loses 1.5 points"


def test_plots_hold_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy is one line by key share, with and without repair apart; both plots become PNG files."""
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
    monkeypatch.setattr(sys, "argv", ["accuracy_plots.py", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    plots.main()
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["accuracy_curve.png", "accuracy_matrix.png"]
    for file in files:
        with Image.open(file) as picture:
            assert picture.convert("L").getextrema()[0] < 100  # something dark was drawn on white


def test_parts_that_are_not_measured_anew_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--only` replaces its parts in the file and keeps the others; a quick run is never mixed with a real one."""
    monkeypatch.setitem(measure.PARTS, "cost", lambda _arguments: COST)
    arguments = ["accuracy.py", "--only", "cost", "--out", str(tmp_path)]
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
    """A part that does not exist is refused with those that do."""
    with pytest.raises(argparse.ArgumentTypeError, match="'curves' is no part; there are: cost, curve, matrix, multi"):
        measure.chosen("cost,curves")


@pytest.mark.parametrize(
    ("quick", "presets"), [(False, ["medium", "veryfast", "slow"]), (True, ["medium", "veryfast"])]
)
def test_the_curve_is_measured_in_three_encodings(
    monkeypatch: pytest.MonkeyPatch, quick: bool, presets: list[str]
) -> None:
    """x264 with three presets at one quality; a quick run takes two of them."""
    given: list[Encoder] = []
    monkeypatch.setattr(measure, "find_sequences", lambda _data, _names: [])
    monkeypatch.setattr(measure, "compare", lambda _sequences, encoders, *_: given.extend(encoders) or {})
    measure.curve(argparse.Namespace(quick=quick, data=Path(), sequences=None, frames=None))
    assert [encoder.all_options for encoder in given] == [{"preset": preset, "crf": "23"} for preset in presets]
    assert {encoder.name for encoder in given} == {"libx264"}


def test_methods_are_named_apart() -> None:
    """No two methods of the curve share a name, so none overwrites another's result."""
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
    """What a setting is called is what the encoder writes into the stream about itself."""
    encoder, options = measure.ENCODERS[name]
    pictures = iter(np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), np.uint8))
    assert written.encode() in encode(pictures, Encoder(encoder, parse_options(options)))


def test_the_drawn_object_has_its_share_of_the_picture() -> None:
    """The disc covers a tenth of 854x480 in every frame, moves, and stands out of the ground."""
    pictures, masks = refine_cost.scene(3)
    assert pictures[0].shape == (480, 854, 3)
    assert [mask.mean() for mask in masks] == pytest.approx([0.1] * 3, rel=0.01)
    centres = [np.nonzero(mask)[1].mean() for mask in masks]
    assert np.diff(centres) == pytest.approx([refine_cost.STEP] * 2, abs=0.5)
    assert pictures[0][masks[0] > 0].mean() > pictures[0][masks[0] == 0].mean() + 50


def test_each_repair_and_each_look_is_timed() -> None:
    """After a first round, a round of four frames is three looks at key frames and one repair of the frame between."""
    found = refine_cost.milliseconds(Refiner().eval(), frames=4, rounds=1)
    assert [found[name]["n"] for name in ("look_ms", "repair_ms", "one_core_ms")] == [3, 1, 1]
    # 228 pixels across, on either side 32 and 15 % of that as margin, in steps of 16.
    assert found["region"] == [384, 384]
    assert found["looked_at"] == [272, 272]


def test_results_name_spreads_as_rows_read_them() -> None:
    """What the cost part writes of its spreads is what a row is made from."""
    whole, alone = (row.measured for row in rows.cost_rows(COST, None))
    assert whole == harness.Spread(9.0, 8.0, 10.0, 4)
    assert alone == harness.Spread(11.0, 10.0, 12.0, 4)
