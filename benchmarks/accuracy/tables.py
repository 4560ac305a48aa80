"""Tables of accuracy.json in Markdown.

`python -m benchmarks.accuracy.tables [FOLDER]` prints what docs/accuracy.md shows, with links to pictures that exist.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy.rows import DEFAULT, model, settings
from benchmarks.paths import IMAGES, RESULTS

_HEAD = ("setting", "J&F", "J", "F", "frames/s", "key frames", "loss", "speed-up", "score", "copying")
_PLOTS = {
    "accuracy_curve.png": "Loss of J&F against the share of key frames, by policy, with and without repair",
    "accuracy_matrix.png": "Loss of J&F with few key frames, by encoder setting",
}


def short(details: Mapping[str, Any]) -> list[str]:
    """The README's table: repaired runs, and the default without repair; below it, how many frames these are."""
    lines, measured = _rule(_HEAD), []
    for part, what, where in (("curve", "one object", ""), ("multi", "7 and 8 objects", ", 7 and 8 objects at 240p")):
        if part in details:
            lines += _runs(details[part], where, lambda run: _is_short(run["method"]))
            measured.append(f"{what}: {_about(details[part])}")
    return [*lines, "", f"{'; '.join(measured).capitalize()}.", ""] if measured else []


def page(details: Mapping[str, Any], images: Path = IMAGES) -> str:
    """Everything: each part under a heading of its own, with the pictures that were made."""
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
        lines += ["### Cost of the correction", "", *_cost(details), ""]
    lines += _failures(images)
    return "\n".join(lines).strip() + "\n"


def _part(title: str, part: Mapping[str, Any]) -> list[str]:
    """A part with all runs in one table, and what its clips were encoded with."""
    return [f"### {title}, {_about(part)}", "", *_rule(_HEAD), *_runs(part), "", _encoded(part), ""]


def _rule(names: tuple[str, ...]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _runs(part: Mapping[str, Any], where: str = "", wanted: Any = lambda _run: True) -> list[str]:
    """The base network on every frame, and below it the runs that were measured beside it."""
    base = part["baseline"]
    lines = [_row((f"{model(part)}, every frame{where}", *_quality(base), "100 %", "", "", "", ""))]
    for name, run in part["runs"].items():
        if wanted(run):
            rho = run["score_correlation"]["carried"]
            cells = (f"{run['key_share']:.0f} %", f"{run['loss']:.1f}", f"{run['speedup']:.2f} x")
            score = "" if rho is None else f"{rho:.2f}"
            lines.append(_row((f"{name}{where}", *_quality(run), *cells, score, f"{run['copy']['JF']:.1f}")))
    return lines


def _is_short(method: Mapping[str, Any]) -> bool:
    """Whether a run stands in the README too."""
    adaptive = method["keyframes"] == "adaptive"
    return bool(method["refine"]) or (adaptive and method["quality"] == "balanced")


def _quality(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{values[key]:.1f}" for key in ("JF", "J", "F", "fps"))


def _by_sequence(part: Mapping[str, Any]) -> list[str]:
    """J&F of each sequence: every frame, the default, and the default without repair."""
    names = [name for name in (DEFAULT, f"{DEFAULT}, not repaired") if name in part["runs"]]
    lines = _rule(("sequence", "every frame", *(f"{name}: J&F" for name in names), "key frames", "loss", "speed-up"))
    for sequence in part["sequences"]:
        own = part["runs"][DEFAULT]["by_sequence"][sequence]
        found = [part["runs"][name]["by_sequence"][sequence]["JF"] for name in names]
        cells = [f"{value:.1f}" for value in (part["baseline"]["by_sequence"][sequence]["JF"], *found)]
        lines.append(
            _row([sequence, *cells, f"{own['key_share']:.0f} %", f"{own['loss']:.1f}", f"{own['speedup']:.2f} x"])
        )
    return lines


def _matrix(matrix: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line an encoder setting and method."""
    head = ("encoder", "motion", "every frame", "setting", "J&F", "key frames", "loss", "speed-up", "score", "copying")
    lines = _rule(head)
    for name, found in matrix.items():
        for method, run in found["runs"].items():
            rho = run["score_correlation"]["carried"]
            cells = [name, found["motion_source"], f"{found['baseline']['JF']:.1f}", method, f"{run['JF']:.1f}"]
            cells += [f"{run['key_share']:.0f} %", f"{run['loss']:.1f}", f"{run['speedup']:.2f} x"]
            lines.append(_row([*cells, "" if rho is None else f"{rho:.2f}", f"{run['copy']['JF']:.1f}"]))
    some = next(iter(matrix.values()))
    return [*lines, "", f"{_about(some)} with each encoder setting."]


def _cost(details: Mapping[str, Any]) -> list[str]:
    """What a repair costs, drawn and in use."""
    cost = details["cost"]
    height, width = cost["region"]
    repair, alone, look = (cost[key] for key in ("repair_ms", "one_core_ms", "look_ms"))
    lines = _rule(("what", "ms"))
    for what, spread in (
        ("repair of a frame", repair),
        ("the same on one core", alone),
        ("look at a key frame", look),
    ):
        text = f"{spread['median']:.1f} ({spread['q1']:.1f} to {spread['q3']:.1f})"
        lines.append(_row([f"{what}, drawn object of 10 % of 854x480, region {width}x{height}", text]))
    for part in ("curve", "multi"):
        for name, run in details.get(part, {}).get("runs", {}).items():
            if run["correct_ms"] is not None:
                lines.append(_row([f"{name}, {_about(details[part])}: a carried frame", f"{run['correct_ms']:.1f}"]))
    return lines


def _about(part: Mapping[str, Any]) -> str:
    """Such as "6 sequences in 3 encodings, 1,287 frames": the frames of all encodings."""
    count, encodings = len(part["sequences"]), len(part["encoders"])
    each = f" in {encodings} encodings" if encodings > 1 else ""
    return f"{count} sequence{'s' if count > 1 else ''}{each}, {part['frames']:,} frames"


def _encoded(part: Mapping[str, Any]) -> str:
    given = [
        f"{encoder['name']} {','.join(f'{key}={value}' for key, value in encoder['options'].items())}"
        for encoder in part["encoders"]
    ]
    means = " Figures are over all encodings." if len(given) > 1 else ""
    return f"Clips by {'; '.join(given)}.{means}"


def _picture(name: str, images: Path) -> list[str]:
    return [f"![{_PLOTS[name]}](images/{name})", ""] if (images / name).exists() else []


def _failures(images: Path) -> list[str]:
    """The contact sheets that contact_sheet.py made."""
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
    """Print the page's part."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    print(page(json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))["details"]), end="")


if __name__ == "__main__":
    main()
