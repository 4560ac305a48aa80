"""From what accuracy.py measured to the rows with goals (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import benchmarks.accuracy_reasons as reasons
from benchmarks.harness import Row, Spread

DEFAULT = "adaptive balanced"
LOSS = 1.0
"""Points of J&F that a method may lose."""
SHARE = 20.0
"""Percent of key frames at which that is to hold."""


def rows(details: Mapping[str, Any]) -> list[Row]:
    """Rows of the parts that were measured."""
    found: list[Row] = []
    if "curve" in details:
        found += [*network_rows(details["curve"]), *curve_rows(details["curve"]), *score_rows(details["curve"])]
    if "matrix" in details:
        found += matrix_rows(settings(details["matrix"]))
    if "cost" in details:
        found += cost_rows(details["cost"], details.get("curve"))
    for part, what in (("curve", "adaptive"), ("multi", "adaptive, 7 and 8 objects at 240p")):
        if part in details:
            found.append(floor_row(f"{model(details[part])}, {what}", details[part]["runs"][DEFAULT]))
    return [*found, *least_gain_rows(comparisons(details))]


def comparisons(details: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All comparisons by what tells them apart: "" for the curve, an encoder setting, or "several objects"."""
    parts = {"": "curve", "several objects": "multi"}
    found: dict[str, Mapping[str, Any]] = {name: details[part] for name, part in parts.items() if part in details}
    return found | settings(details.get("matrix", {}))


def model(part: Mapping[str, Any]) -> str:
    """Name of the base network."""
    return str(part["model"]["name"])


def settings(matrix: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Encoder setting -> its comparison."""
    return {name: value for name, value in matrix.items() if name != "environment"}


def network_rows(curve: Mapping[str, Any]) -> list[Row]:
    """How good and how fast the base network is on every frame."""
    base, what = curve["baseline"], f"{model(curve)} on every frame"
    worst = min(base["by_sequence"], key=lambda name: base["by_sequence"][name]["JF"])
    return [
        Row(f"{what}: J&F", _once(base["JF"]), "%", ">= 87"),
        Row(f"{what}: J&F of the worst sequence", _once(base["by_sequence"][worst]["JF"]), "%", ">= 60", worst),
        Row(f"{what}: time a frame, end to end", _once(1000 / base["fps"]), "ms", "<= 60", why=reasons.NETWORK),
    ]


def curve_rows(curve: Mapping[str, Any]) -> list[Row]:
    """What the best trade of loss for speed is, and whether adaptive is the best policy."""
    runs = {name: run for name, run in curve["runs"].items() if run["method"]["refine"]}
    name, speedup, note = "every frame", 1.0, ""
    good = {name: run for name, run in runs.items() if run["loss"] <= LOSS}
    if good:
        name = max(good, key=lambda name: good[name]["speedup"])
        speedup, note = good[name]["speedup"], f"{name}: {_point(good[name])}"
    else:
        least = min(runs, key=lambda name: runs[name]["loss"])
        note = (
            f"no setting loses so little; the least is {least}: {_point(runs[least])}, {runs[least]['speedup']:.2f} x"
        )
    question = f"{model(curve)}, fastest setting that loses at most 1 point of J&F, end to end over every frame"
    found = [Row(question, _once(speedup), "x", ">= 3", note, reasons.speedup(curve, DEFAULT))]
    margins = adaptive_margins(runs)
    if margins:
        worst = min(margins, key=lambda name: margins[name])
        why = reasons.adaptive(curve, adaptive_front(runs), worst)
        question = "adaptive over codec and every:N at their key share, least gain in J&F"
        found.append(Row(question, _once(margins[worst]), "points", ">= 0", margins_note(runs, margins, worst), why))
    return found


def front(points: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The runs that none of the others beats, by key share; their loss falls from one to the next.

    A run is dropped if another has at most as many key frames and loses no more; of equal ones the first stays.
    """
    found: dict[str, Mapping[str, Any]] = {}
    least = float("inf")
    for name, run in sorted(points.items(), key=lambda item: (item[1]["key_share"], item[1]["loss"])):
        if run["loss"] < least:
            found[name], least = run, run["loss"]
    return found


def adaptive_front(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The front of adaptive's runs, those with a bound on key frames among them."""
    return front({name: run for name, run in runs.items() if _is_adaptive(run)})


def adaptive_margins(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How much less adaptive loses than each other run with as many key frames, in points.

    Between two points of adaptive's front its loss is interpolated; with more key frames than any of them it is that of
    the last one. Runs with fewer key frames than any of them cannot be compared and are left out.
    """
    points = [(run["key_share"], run["loss"]) for run in adaptive_front(runs).values()]
    found = {}
    for name, run in runs.items():
        if not _is_adaptive(run):
            loss = reasons.interpolated(points, run["key_share"])
            if loss is not None:
                found[name] = round(run["loss"] - loss, 2)
    return found


def margins_note(runs: Mapping[str, Mapping[str, Any]], margins: Mapping[str, float], worst: str) -> str:
    """What was compared with which points of adaptive, and what could not be compared."""
    ahead = sum(value >= 0 for value in margins.values())
    points = adaptive_front(runs)
    tried = sum(_is_adaptive(run) for run in runs.values())
    note = f"against {worst}; adaptive is ahead of {ahead} of {len(margins)}: {', '.join(margins)}; "
    note += f"its front is {len(points)} of {tried} settings ({'; '.join(points)})"
    outside = [name for name, run in runs.items() if not _is_adaptive(run) and name not in margins]
    if outside:
        nearest = next(iter(points))
        note += f"; not compared, for they have fewer key frames than {nearest} ({_point(points[nearest], 1)}): "
        note += "; ".join(f"{name} ({_point(runs[name], 1)})" for name in outside)
    return note


def _is_adaptive(run: Mapping[str, Any]) -> bool:
    return bool(run["method"]["keyframes"] == "adaptive")


def score_rows(curve: Mapping[str, Any]) -> list[Row]:
    """Whether the score ranks masks as their true J does."""
    found = curve["runs"][DEFAULT]["score_correlation"]
    if found["carried"] is None:
        return []
    note = "1 if scores order masks as their true J does" + (
        "" if found["all"] is None else f"; {found['all']:.2f} with those of key frames"
    )
    return [
        Row("Score and true J of carried masks, Spearman's rank correlation", _once(found["carried"]), "", "", note)
    ]


def matrix_rows(matrix: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The most that each method loses over all encoder settings."""
    return [matrix_row(name, matrix) for name in next(iter(matrix.values()))["runs"]]


def matrix_row(method: str, matrix: Mapping[str, Mapping[str, Any]]) -> Row:
    """The most that one method loses; there is a goal only where it has few key frames with every setting."""
    runs = {name: found["runs"][method] for name, found in matrix.items()}
    worst = max(runs, key=lambda name: runs[name]["loss"])
    losses = [run["loss"] for run in runs.values()]
    shares = [run["key_share"] for run in runs.values()]
    note = (
        f"{worst}; mean over {len(runs)} settings {sum(losses) / len(losses):.1f}, least {min(losses):.1f}; "
        f"{min(shares):.0f} to {max(shares):.0f} % key frames; {next(iter(matrix.values()))['frames']} frames a setting"
    )
    goal = "<= 1" if max(shares) <= SHARE else ""
    why = reasons.matrix(runs[worst], matrix[worst]["sequences"])
    return Row(f"{method}: loss of J&F with the worst encoder setting", _once(max(losses)), "points", goal, note, why)


def cost_rows(cost: Mapping[str, Any], curve: Mapping[str, Any] | None) -> list[Row]:
    """Milliseconds of the correction."""
    height, width = cost["region"]
    seen_height, seen_width = cost["looked_at"]
    look = cost["look_ms"]["median"]
    seen = f"in a region of {width}x{height}, seen at {seen_width}x{seen_height}"
    note = f"{seen}; a look at a key frame costs {look:.1f} ms; {cost['threads']} threads"
    question, why = "Correction of one object of 10 % of the picture", reasons.repair(cost)
    found = [Row(question, Spread(**cost["repair_ms"]), "ms", "<= 8", note, why)]
    note = "as a run does it, which leaves the other core to other frames and to the next key frame"
    found.append(Row("The same on one core", Spread(**cost["one_core_ms"]), "ms", "", note))
    spent = None if curve is None else curve["runs"][DEFAULT]["correct_ms"]
    if spent is not None:
        note = "with the looks at key frames and repairs of frames that became key after all"
        found.append(Row("Correction a carried frame, adaptive on all sequences", _once(spent), "ms", "", note))
    return found


def floor_row(name: str, run: Mapping[str, Any]) -> Row:
    """Distance of a run to the floor: carried masks replaced by the last key frame's."""
    gain = run["JF"] - run["copy"]["JF"]
    return Row(f"{name}: J&F above copying the last key frame's mask", _once(gain), "points", ">= 0")


def least_gain_rows(compared: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The least distance to that floor of any run on any sequence; nothing where it was not kept by sequence."""
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
        note += "; of a sequence in several encodings the mean counts"
    question = "Least J&F above copying the last key frame's mask, of every run on every sequence"
    return [Row(question, _once(gain), "points", ">= 0", note)]


def _point(run: Mapping[str, Any], digits: int = 0) -> str:
    return f"loss {run['loss']:.1f} at {run['key_share']:.{digits}f} % key frames"


def _once(value: float) -> Spread:
    """A figure that was measured once."""
    return Spread.of([value], 2)
