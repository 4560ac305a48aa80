"""Why goals of accuracy.py are missed, in words and with the figures that they rest on (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

PICTURE = 854 * 480
"""Pixels of the picture that a repair is timed on."""

NETWORK = (
    "nearly all of it is the network itself, in whose bfloat16 convolutions two threads on two cores are only 1.3 to "
    "1.5 times as fast as one"
)


def repair(cost: Mapping[str, Any]) -> str:
    """Why a repair takes longer than it should."""
    height, width = cost["region"]
    return (
        f"with its margin the region is {100 * height * width / PICTURE:.0f} % of the picture, and ten blocks of a "
        "MobileNetV2, the match and the decoder run on all of it: as much as a third of the base network on a frame"
    )


def speedup(curve: Mapping[str, Any], default: str) -> str:
    """Why few key frames do not make it as fast as they should."""
    spent = curve["runs"][default]["correct_ms"]
    text = (
        "on large objects the region looked at is most of the picture, and a repair costs up to a third of the network"
    )
    if not spent:
        return text
    whole = 1000 / curve["baseline"]["fps"]
    return (
        f"{text}: {spent:.0f} ms a carried frame, looks at key frames included, of {whole:.0f} ms a frame of the "
        f"network end to end; were there nothing else, that would be {whole / spent:.1f} times as fast"
    )


def adaptive(curve: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]], other: str) -> str:
    """Why another policy is better than adaptive's points, by key share, with as many key frames."""
    run, sequences = curve["runs"][other], curve["sequences"]
    lags = {name: _lag(list(points.values()), run, name) for name in sequences}
    most = max(lags, key=lambda name: lags[name])
    base = curve["baseline"]["by_sequence"]
    weak = min(base, key=lambda name: base[name]["JF"])
    text = (
        f"with {len(sequences)} sequences single ones decide, here above all {most} ({lags[most]:.1f} points behind); "
        f"on {weak} the network itself goes wrong (J&F {base[weak]['JF']:.0f} on every frame), and which "
        "frames are key there matters more than how many"
    )
    fewest, point = next(iter(points.items()))
    looks_less = point["method"]["quality"] == "fast"
    return text + (f"; {fewest}, the point with the fewest key frames, also looks less closely" if looks_less else "")


def matrix(run: Mapping[str, Any], sequences: list[str]) -> str:
    """Why an encoder setting loses more than it should."""
    losses = {name: run["by_sequence"][name]["loss"] for name in sequences}
    most = max(losses, key=lambda name: losses[name])
    return f"with {len(sequences)} sequences single ones decide, here {most}, which loses {losses[most]:.1f} points"


def _lag(points: list[Mapping[str, Any]], run: Mapping[str, Any], sequence: str) -> float:
    """Points of J&F that adaptive loses more than a run on one sequence, at that run's key share over all of them."""
    own = sorted((point["key_share"], point["by_sequence"][sequence]["loss"]) for point in points)
    loss = interpolated(own, run["key_share"])
    return 0.0 if loss is None else loss - float(run["by_sequence"][sequence]["loss"])


def interpolated(points: list[tuple[float, float]], x: float) -> float | None:
    """The value at x of a line through sorted points: None before the first of them, the last one's after it."""
    if not points or x < points[0][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
