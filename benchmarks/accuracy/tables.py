"""Prints the tables of docs/accuracy.md: `python -m benchmarks.accuracy.tables [FOLDER]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.difference import table as comparison
from benchmarks.accuracy.rows import DEFAULT, model, settings
from benchmarks.paths import IMAGES, RESULTS
from benchmarks.table import table

_HEAD = ("setting", "J&F", "J", "F", "frames/s", "key frames", "loss", "speed-up", "score", "copying")
_FILES = ("accuracy", "unseen", "judge")
_PLOTS = {
    "accuracy_curve.png": "Loss of J&F against the share of key frames, by policy, with and without refinement",
    "accuracy_matrix.png": "Loss of J&F with few key frames, by encoder setting",
}


def unseen(result: Mapping[str, Any]) -> str:
    """Return the figures of the sequences that chose nothing; cells that were not measured stay empty."""
    lines = _rule(("setting", "J&F", "key frames", "frames/s", "speed-up"))
    for name, run in result["runs"].items():
        cells = (f"{run['JF']:.1f}", _cell(run["key_share"], "{} %"), _cell(run["fps"]), _cell(run["speedup"], "{} x"))
        lines.append(_row((name, *cells)))
    about = "{sequences} sequences, {size}, {encoder}, {cores} cores, measured in {measured}.".format(**result)
    return "\n".join([f"### Unseen sequences, {result['sequences']} sequences", "", *lines, "", about, ""])


def judged(result: Mapping[str, Any]) -> str:
    """Return the scores of the weights that were judged last, by group, against the reference."""
    reference, latest = (list(result["details"].values())[place]["scores"] for place in (0, -1))
    lines = ["### Development sequences and a fold: the network on every frame", "", *comparison(reference, latest), ""]
    lines += ["#### By sequence", "", *_rule(("group", "sequence", "reference", "weights"))]
    for group, scores in latest.items():
        lines += [_row((group, name, f"{reference[group][name]:.1f}", f"{scores[name]:.1f}")) for name in scores]
    return "\n".join([*lines, ""])


def _cell(value: float | None, form: str = "{}") -> str:
    return "" if value is None else form.format(value)


def page(details: Mapping[str, Any], images: Path = IMAGES) -> str:
    """Return one section per measured part, with the plots and contact sheets that exist in `images`."""
    lines: list[str] = []
    if "curve" in details:
        lines += _part("One object", details["curve"])
        lines += [*_picture("accuracy_curve.png", images), "#### By sequence", "", *_by_sequence(details["curve"]), ""]
    if "matrix" in details:
        lines += ["### Encoder settings", "", *_matrix(settings(details["matrix"])), ""]
        lines += _picture("accuracy_matrix.png", images)
    if "multi" in details:
        lines += _part("Several objects", details["multi"])
    if "cost" in details:
        lines += ["### Cost of refinement", "", *_cost(details), ""]
    lines += _failures(images)
    return "\n".join(lines).strip() + "\n"


def _part(title: str, part: Mapping[str, Any]) -> list[str]:
    """Return a section with all runs of a part in one table, and the encoders of its clips."""
    return [f"### {title}, {_about(part)}", "", *_rule(_HEAD), *_runs(part), "", _encoded(part), ""]


def _rule(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _runs(part: Mapping[str, Any]) -> list[str]:
    """Return the base network on every frame, then the runs measured beside it."""
    base = part["baseline"]
    lines = [_row((f"{model(part)}, every frame", *_quality(base), "100 %", "", "", "", ""))]
    for name, run in part["runs"].items():
        lines.append(_row((name, *_quality(run), *_against_base(run))))
    return lines


def _quality(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{values[key]:.1f}" for key in ("JF", "J", "F", "fps"))


def _against_base(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells from "key frames" to "copying"."""
    rho = run["score_correlation"]["carried"]
    score = "" if rho is None else f"{rho:.2f}"
    return (*_cost_and_loss(run), score, f"{run['copy']['JF']:.1f}")


def _cost_and_loss(run: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{run['key_share']:.0f} %", f"{run['loss']:.1f}", f"{run['speedup']:.2f} x"


def _by_sequence(part: Mapping[str, Any]) -> list[str]:
    """Return J&F of each sequence: on every frame, by default, and by default without refinement."""
    names = [name for name in (DEFAULT, f"{DEFAULT}, not refined") if name in part["runs"]]
    lines = _rule(("sequence", "every frame", *(f"{name}: J&F" for name in names), "key frames", "loss", "speed-up"))
    for sequence in part["sequences"]:
        own = part["runs"][DEFAULT]["by_sequence"][sequence]
        found = [part["runs"][name]["by_sequence"][sequence]["JF"] for name in names]
        cells = [f"{value:.1f}" for value in (part["baseline"]["by_sequence"][sequence]["JF"], *found)]
        lines.append(_row([sequence, *cells, *_cost_and_loss(own)]))
    return lines


def _matrix(matrix: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line per encoder setting and method."""
    head = ("encoder", "motion", "every frame", "setting", "J&F", "key frames", "loss", "speed-up", "score", "copying")
    lines = _rule(head)
    for name, found in matrix.items():
        for method, run in found["runs"].items():
            cells = [name, found["motion_source"], f"{found['baseline']['JF']:.1f}", method, f"{run['JF']:.1f}"]
            lines.append(_row([*cells, *_against_base(run)]))
    some = next(iter(matrix.values()))
    return [*lines, "", f"{_about(some)} per encoder setting."]


def _cost(details: Mapping[str, Any]) -> list[str]:
    """Return the time of refinement on a synthetic object and in runs."""
    cost = details["cost"]
    height, width = cost["region"]
    timed = {
        "refine a frame": cost["repair_ms"],
        "refine a frame on one core": cost["one_core_ms"],
        "memorize a key frame": cost["look_ms"],
    }
    lines = _rule(("task", "ms"))
    for task, spread in timed.items():
        text = f"{spread['median']:.1f} ({spread['q1']:.1f} to {spread['q3']:.1f})"
        lines.append(_row([f"{task}, synthetic object of 10 % of 854x480, region {width}x{height}", text]))
    for part in ("curve", "multi"):
        for name, run in details.get(part, {}).get("runs", {}).items():
            if run["correct_ms"] is not None:
                task = f"{name}, {_about(details[part])}: per propagated frame"
                lines.append(_row([task, f"{run['correct_ms']:.1f}"]))
    return lines


def _about(part: Mapping[str, Any]) -> str:
    """Return a text such as "6 sequences in 3 encodings, 1,287 frames", counting the frames of all encodings."""
    count, encodings = len(part["sequences"]), len(part["encoders"])
    each = f" in {encodings} encodings" if encodings > 1 else ""
    return f"{count} sequence{'s' if count > 1 else ''}{each}, {part['frames']:,} frames"


def _encoded(part: Mapping[str, Any]) -> str:
    given = [
        f"{encoder['name']} {','.join(f'{key}={value}' for key, value in encoder['options'].items())}"
        for encoder in part["encoders"]
    ]
    means = " Figures cover all encodings." if len(given) > 1 else ""
    return f"Clips by {'; '.join(given)}.{means}"


def _picture(name: str, images: Path) -> list[str]:
    return [f"![{_PLOTS[name]}](images/{name})", ""] if (images / name).exists() else []


def _failures(images: Path) -> list[str]:
    """Return the contact sheets that contact_sheet.py made."""
    sheets = sorted(images.glob("failures_*.png"))
    if not sheets:
        return []
    lines = [
        "### The worst sequences",
        "",
        "Worst frames of adaptive balanced, x264 medium. Green: annotation; red: result.",
        "",
    ]
    for sheet in sheets:
        name = sheet.stem.removeprefix("failures_")
        lines += [f"{name}:", "", f"![Outlines of the worst frames of {name}](images/{sheet.name})", ""]
    return lines


def main() -> None:
    """Print the goals and all parts."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    accuracy, others, judgement = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in _FILES)
    parts = (unseen(others), "### Goals", "", table(folder, ["accuracy", "judge"]), judged(judgement))
    print(*parts, page(accuracy["details"]), sep="\n", end="")


if __name__ == "__main__":
    main()
