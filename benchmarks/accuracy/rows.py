"""Turns the measurements of accuracy.json into table rows with goals. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from benchmarks.harness import Row, Spread

DEFAULT, FAST = "adaptive balanced", "adaptive fast"
LOSS, FAST_LOSS = 1.0, 1.5
"""Points of J&F that a method may lose; the second is for FAST."""
SHARE = 20.0
"""Largest share of key frames, in percent, for which the goal on loss holds."""


def rows(details: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the parts that were measured."""
    found: list[Row] = []
    if "curve" in details:
        found += [*network_rows(details["curve"]), *curve_rows(details["curve"]), *score_rows(details["curve"])]
    if "matrix" in details:
        found += matrix_rows(settings(details["matrix"]))
    if "cost" in details:
        found += cost_rows(details["cost"], details.get("curve"))
    if "multi" in details:
        value = details["multi"]["runs"][DEFAULT]["JF"]
        found.append(Row(f"{model(details['multi'])}, {DEFAULT}, 7 and 8 objects: J&F", once(value), "%", ">= 75"))
    for part, what in (("curve", "adaptive"), ("multi", "adaptive, 7 and 8 objects at 240p")):
        if part in details:
            found.append(floor_row(f"{model(details[part])}, {what}", details[part]["runs"][DEFAULT]))
    return [*found, *least_gain_rows(comparisons(details))]


def comparisons(details: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return all comparisons by label: "" for the curve, "several objects", or an encoder setting."""
    parts = {"": "curve", "several objects": "multi"}
    found: dict[str, Mapping[str, Any]] = {name: details[part] for name, part in parts.items() if part in details}
    return found | settings(details.get("matrix", {}))


def model(part: Mapping[str, Any]) -> str:
    """Return the name of the base network."""
    return str(part["model"]["name"])


def settings(matrix: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map each encoder setting to its comparison."""
    return {name: value for name, value in matrix.items() if name != "environment"}


def network_rows(curve: Mapping[str, Any]) -> list[Row]:
    """Return accuracy and speed of the base network on every frame."""
    base, what = curve["baseline"], f"{model(curve)} on every frame"
    worst = min(base["by_sequence"], key=lambda name: base["by_sequence"][name]["JF"])
    return [
        Row(f"{what}: J&F", once(base["JF"]), "%", ">= 87"),
        Row(f"{what}: J&F of the worst sequence", once(base["by_sequence"][worst]["JF"]), "%", ">= 70", worst),
        Row(f"{what}: time per frame, end to end", once(1000 / base["fps"]), "ms", "<= 28"),
    ]


def curve_rows(curve: Mapping[str, Any]) -> list[Row]:
    """Return the fastest setting with a small loss, and whether adaptive is the best policy."""
    runs = {name: run for name, run in curve["runs"].items() if run["method"]["refine"]}
    speedup = 1.0
    good = {name: run for name, run in runs.items() if run["loss"] <= LOSS}
    if good:
        name = max(good, key=lambda name: good[name]["speedup"])
        speedup, note = good[name]["speedup"], f"{name}: {_point(good[name])}"
    else:
        least = min(runs, key=lambda name: runs[name]["loss"])
        note = (
            f"every setting loses more; the smallest loss is {least}: {_point(runs[least])}, "
            f"{runs[least]['speedup']:.2f} x"
        )
    question = f"{model(curve)}: fastest setting that loses at most 1 point of J&F, over every frame, end to end"
    found = [Row(question, once(speedup), "x", ">= 3.5", note)]
    for name, goal in ((DEFAULT, ">= 95"), (FAST, ">= 120")):
        if name in runs:
            found.append(Row(f"{model(curve)}, {name}: end to end", once(runs[name]["fps"]), "frames/s", goal))
    margins = adaptive_margins(runs)
    if margins:
        worst = min(margins, key=lambda name: margins[name])
        question = "adaptive against codec and every:N at their share of key frames: smallest gain in J&F"
        found.append(Row(question, once(margins[worst]), "points", ">= 0", margins_note(runs, margins, worst)))
    return found


def front(points: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the runs that no other run beats, by share of key frames; loss falls from each run to the next.

    A run is dropped if another run has at most as many key frames and loses no more. Of equal runs the first stays.
    """
    found: dict[str, Mapping[str, Any]] = {}
    least = float("inf")
    for name, run in sorted(points.items(), key=lambda item: (item[1]["key_share"], item[1]["loss"])):
        if run["loss"] < least:
            found[name], least = run, run["loss"]
    return found


def adaptive_front(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the front of adaptive's runs, including runs with a limit on key frames."""
    return front({name: run for name, run in runs.items() if _is_adaptive(run)})


def adaptive_margins(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return how many points less adaptive loses than each other run at the same share of key frames.

    Adaptive's loss is interpolated between two points of its front. Beyond the last point it is the last point's loss.
    Runs with fewer key frames than the first point cannot be compared and are left out.
    """
    points = [(run["key_share"], run["loss"]) for run in adaptive_front(runs).values()]
    found = {}
    for name, run in runs.items():
        if not _is_adaptive(run):
            loss = _interpolated(points, run["key_share"])
            if loss is not None:
                found[name] = round(run["loss"] - loss, 2)
    return found


def _interpolated(points: list[tuple[float, float]], x: float) -> float | None:
    """Return the height at x of the line through sorted points: None before the first, the last height after it."""
    if not points or x < points[0][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def margins_note(runs: Mapping[str, Mapping[str, Any]], margins: Mapping[str, float], worst: str) -> str:
    """Say which runs were compared with which points of adaptive, and which runs could not be compared."""
    ahead = sum(value >= 0 for value in margins.values())
    points = adaptive_front(runs)
    tried = sum(_is_adaptive(run) for run in runs.values())
    note = f"against {worst}; adaptive is ahead of {ahead} of {len(margins)}: {', '.join(margins)}; "
    note += f"its front is {len(points)} of {tried} settings ({'; '.join(points)})"
    outside = [name for name, run in runs.items() if not _is_adaptive(run) and name not in margins]
    if outside:
        nearest = next(iter(points))
        note += f"; not compared, with fewer key frames than {nearest} ({_point(points[nearest], 1)}): "
        note += "; ".join(f"{name} ({_point(runs[name], 1)})" for name in outside)
    return note


def _is_adaptive(run: Mapping[str, Any]) -> bool:
    return bool(run["method"]["keyframes"] == "adaptive")


def score_rows(curve: Mapping[str, Any]) -> list[Row]:
    """Return the rank correlation between scores and true J."""
    found = curve["runs"][DEFAULT]["score_correlation"]
    if found["carried"] is None:
        return []
    note = "1 if scores rank masks as their true J does"
    if found["all"] is not None:
        note += f"; {found['all']:.2f} with key frames included"
    question = "Scores against true J of propagated masks: Spearman's rank correlation"
    return [Row(question, once(found["carried"]), "", "", note)]


def matrix_rows(matrix: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the largest loss of each method over all encoder settings."""
    return [matrix_row(name, matrix) for name in next(iter(matrix.values()))["runs"]]


def matrix_row(method: str, matrix: Mapping[str, Mapping[str, Any]]) -> Row:
    """Return the largest loss of one method; it has a goal only if key frames are few with every setting."""
    runs = {name: found["runs"][method] for name, found in matrix.items()}
    worst = max(runs, key=lambda name: runs[name]["loss"])
    losses = [run["loss"] for run in runs.values()]
    shares = [run["key_share"] for run in runs.values()]
    frames = next(iter(matrix.values()))["frames"]
    note = (
        f"{worst}; mean over {len(runs)} settings {sum(losses) / len(losses):.1f}, least {min(losses):.1f}; "
        f"{min(shares):.0f} to {max(shares):.0f} % key frames; {frames} frames per setting"
    )
    limit = FAST_LOSS if method == FAST else LOSS if max(shares) <= SHARE else None
    goal = "" if limit is None else f"<= {limit:g}"
    return Row(f"{method}: largest loss of J&F over encoder settings", once(max(losses)), "points", goal, note)


def cost_rows(cost: Mapping[str, Any], curve: Mapping[str, Any] | None) -> list[Row]:
    """Return the time that refinement takes."""
    height, width = cost["region"]
    seen_height, seen_width = cost["looked_at"]
    note = (
        f"region of {width}x{height}, network input {seen_width}x{seen_height}; a key frame costs "
        f"{cost['look_ms']['median']:.1f} ms; {cost['threads']} threads"
    )
    found = [
        Row(
            "Refinement of one object that covers 10 % of the picture",
            Spread(**cost["repair_ms"]),
            "ms",
            "<= 4.5",
            note,
        )
    ]
    note = "a run uses one core here and leaves the other to other frames and to the next key frame"
    found.append(Row("The same on one core", Spread(**cost["one_core_ms"]), "ms", "", note))
    spent = None if curve is None else curve["runs"][DEFAULT]["correct_ms"]
    if spent is not None:
        note = "includes key frames, and refinements of frames that then became key"
        found.append(Row("Refinement per propagated frame, adaptive, all sequences", once(spent), "ms", "", note))
    return found


def floor_row(name: str, run: Mapping[str, Any]) -> Row:
    """Return how far a run lies above the floor, where the last key frame's mask replaces propagated masks."""
    gain = run["JF"] - run["copy"]["JF"]
    return Row(f"{name}: J&F above copying the last key frame's mask", once(gain), "points", ">= 0")


def least_gain_rows(compared: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the smallest distance to that floor of any run on any sequence; none if results lack sequences."""
    gains = {
        ", ".join(filter(None, (name, where, sequence))): (one["JF"] - one["copy"]["JF"], one)
        for where, comparison in compared.items()
        for name, run in comparison["runs"].items()
        for sequence, one in run["by_sequence"].items()
        if "copy" in one
    }
    if not gains:
        return []
    worst = min(gains, key=lambda name: gains[name][0])
    gain, one = gains[worst]
    below = sum(gain < 0 for gain, _ in gains.values())
    note = f"{worst}: {one['JF']:.1f} against {one['copy']['JF']:.1f}; {below} of {len(gains)} lie below copying"
    if any(len(comparison["encoders"]) > 1 for comparison in compared.values()):
        note += "; sequences in several encodings count by their mean"
    question = "Smallest J&F above copying the last key frame's mask, over all runs and sequences"
    return [Row(question, once(gain), "points", ">= 0", note)]


def _point(run: Mapping[str, Any], digits: int = 0) -> str:
    return f"loss {run['loss']:.1f} at {run['key_share']:.{digits}f} % key frames"


def once(value: float) -> Spread:
    """Wrap a figure that was measured once."""
    return Spread.of([value], 2)
