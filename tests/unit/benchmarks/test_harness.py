"""Order of tasks, ratios, and tables of the benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, table
from tests.support.paths import ROOT
from tests.support.scripts import load_script

update = load_script(ROOT / "scripts/update_readme_tables.py")


def test_tasks_take_turns_and_each_starts_once() -> None:
    """After a warm-up of each task, every round starts with another task."""
    order: list[str] = []
    tasks = {name: (lambda name=name: order.append(name)) for name in "abc"}
    harness.interleave(tasks, rounds=3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_a_given_warm_up_replaces_the_tasks() -> None:
    """A given warm-up runs once, and the tasks run in the rounds only."""
    order: list[str] = []
    seconds = harness.interleave({"a": lambda: order.append("a")}, rounds=2, warm_up=lambda: order.append("w"))
    assert order == ["w", "a", "a"]
    assert len(seconds["a"]) == 2


def test_seconds_that_a_task_returns_count() -> None:
    """Returned seconds replace the measured time, and the warm-up is not counted."""
    seconds = iter([9.0, 2.0, 3.0])
    assert harness.interleave({"a": lambda: next(seconds)}, rounds=2) == {"a": [2.0, 3.0]}


def test_ratio_is_the_median_of_the_ratios_of_rounds() -> None:
    """Times are divided within a round: 2/1, 9/3, 4/4 give 2, not the ratio of the median times, 4/3."""
    spread = harness.ratio({"new": [2.0, 9.0, 4.0], "old": [1.0, 3.0, 4.0]}, "new", "old")
    assert (spread.median, spread.q1, spread.q3, spread.n) == (2.0, 1.5, 2.5, 3)


@pytest.mark.parametrize(
    ("goal", "median", "met"),
    [("<= 1.5", 1.5, True), ("<= 1.5", 1.51, False), (">= 5", 5.0, True), (">= 5", 4.9, False), ("", 3.0, None)],
)
def test_a_goal_is_met_by_the_median(goal: str, median: float, met: bool | None) -> None:
    """The median is compared with the goal, including the bound."""
    spread = harness.Spread(median, median, median, 1)
    assert harness.Row("what", spread, goal=goal).met is met


def test_commands_name_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded command keeps only the last part of a path."""
    script = str(ROOT / "benchmarks" / "speed" / "decode.py")
    monkeypatch.setattr(sys, "argv", [script, "--data", "/home/me/davis", "--quick"])
    assert harness.environment()["command"] == "python -m benchmarks.speed.decode --data davis --quick"


def result(**row: Any) -> dict[str, Any]:
    """Build a result file with one row."""
    measured = {"median": 1.234, "q1": 1.2, "q3": 1.3, "n": 15}
    base = {"question": "a over b", "measured": measured, "unit": "x", "goal": "<= 1.5", "met": True, "note": ""}
    environment = {"cpu": "cpu", "cores": 2, "memory_gib": 8, "python": "3.11", "packages": {}, "libavcodec": "62"}
    environment |= {"commit": "0123456789abcdef", "dirty": False}
    return {"name": "decode", "quick": False, "rows": [base | row], "details": {}, "environment": environment}


def test_the_table_shows_goals_that_were_missed(tmp_path: Path) -> None:
    """The table marks a missed goal and shows the note below."""
    (tmp_path / "decode.json").write_text(json.dumps(result(met=False, note="conditions")))
    text = table.table(tmp_path)
    assert "| a over b [1] | at most 1.5 | 1.23 x (1.20 to 1.30) | **no** |" in text
    assert "1. conditions" in text
    assert "\n- decode: Measured on cpu, 2 cores," in text
    assert "commit 0123456789ab." in text


def test_machines_are_listed_with_their_results(tmp_path: Path) -> None:
    """Results of one machine and commit share a line, and parts that were measured separately are named."""
    first = result()["environment"]
    second = first | {"commit": "fedcba9876543210", "time": "later"}
    curve = {"curve": {"environment": second}, "cost": {"environment": first | {"time": "before"}}, "threads": 2}
    others = {"matrix": {"environment": second}, "multi": {"environment": second | {"cpu": "another cpu"}}}
    values = {"decode": {}, "propagate": {}, "accuracy": {"details": others | curve}}
    for name, value in values.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result() | {"name": name} | value))
    (tmp_path / "memory.json").write_text(json.dumps(result() | {"name": "memory", "quick": True}))
    lines = [line for line in table.table(tmp_path).splitlines() if "Measured on" in line]
    assert [(line.partition(": Measured on ")[0], line.partition("commit ")[2]) for line in lines] == [
        ("- decode, propagate, accuracy (cost)", "0123456789ab."),
        ("- memory", "0123456789ab. Quick run: figures mean nothing."),
        ("- accuracy (curve, matrix)", "fedcba987654."),
        ("- accuracy (multi)", "fedcba987654."),
    ]
    assert "Measured on another cpu," in lines[3]


def test_a_note_shared_by_rows_is_printed_once(tmp_path: Path) -> None:
    """Rows with the same note share its number."""
    value = result(note="of clips")
    value["rows"].append(value["rows"][0] | {"question": "c over d"})
    (tmp_path / "decode.json").write_text(json.dumps(value))
    text = table.table(tmp_path)
    assert "| a over b [1] |" in text
    assert "| c over d [1] |" in text
    assert text.count("of clips") == 1


def test_only_text_between_the_marks_changes() -> None:
    """Text outside the marks stays, and a second update changes nothing."""
    text = f"before\n{update.BEGIN}\nold\n{update.END}\nafter\n"
    once = update.updated(text, "| new |\n")
    assert once == f"before\n{update.BEGIN}\n\n| new |\n\n{update.END}\nafter\n"
    assert update.updated(once, "| new |\n") == once
    with pytest.raises(ValueError, match="once each"):
        update.updated("no marks", "| new |")
