"""Plots accuracy.json as PNG: `python -m benchmarks.accuracy.plots [--results FOLDER] [--out FOLDER]`.

Needs matplotlib: `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy.rows import LOSS, SHARE, settings
from benchmarks.paths import IMAGES, RESULTS

FAMILIES = {
    "adaptive": ("tab:blue", "o"),
    "adaptive, bounded": ("tab:cyan", "D"),
    "codec": ("tab:green", "s"),
    "every:N": ("tab:orange", "^"),
}
"""Colour and marker by policy."""

Point = tuple[float, float]


def lines(runs: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, bool], list[Point]]:
    """Group runs by policy and refinement into points of (key share in percent, loss), sorted by key share."""
    found: dict[tuple[str, bool], list[Point]] = {}
    for run in runs.values():
        method = run["method"]
        family = "every:N" if method["keyframes"].startswith("every:") else method["keyframes"]
        family += ", bounded" if method["max_key_share"] < 1 else ""
        found.setdefault((family, method["refine"]), []).append((run["key_share"], run["loss"]))
    return {line: sorted(points) for line, points in found.items()}


def curve_figure(curve: Mapping[str, Any]) -> Figure:
    """Plot loss against the share of key frames."""
    figure, axes = _figure(6.4, 4.2)
    for (family, refine), points in lines(curve["runs"]).items():
        colour, marker = FAMILIES[family]
        name = family if refine else f"{family}, not refined"
        style = "-" if refine else "--"
        axes.plot(
            *zip(*points, strict=True), style, color=colour, marker=marker, label=name, alpha=1 if refine else 0.6
        )
    axes.axhline(LOSS, color="grey", linewidth=0.8)
    axes.axvline(SHARE, color="grey", linewidth=0.8)
    least = min(run["loss"] for run in curve["runs"].values())
    axes.set(
        xlabel="key frames, % of all", ylabel="loss of J&F, points", xlim=(0, None), ylim=(min(0, least) - 0.5, None)
    )
    axes.legend(fontsize=8)
    return figure


def matrix_figure(matrix: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Plot the loss of each method and encoder setting as a bar."""
    methods = list(next(iter(matrix.values()))["runs"])
    figure, axes = _figure(6.4, 1 + 0.25 * len(matrix) * len(methods))
    thickness = 0.8 / len(methods)
    for number, method in enumerate(methods):
        runs = [found["runs"][method] for found in matrix.values()]
        places = [place + number * thickness for place in range(len(runs))]
        bars = axes.barh(places, [run["loss"] for run in runs], thickness, label=method)
        axes.bar_label(
            bars, [f"{run['loss']:.1f} ({run['key_share']:.0f} % keys)" for run in runs], padding=3, fontsize=7
        )
    middle = thickness * (len(methods) - 1) / 2
    axes.set_yticks([place + middle for place in range(len(matrix))], list(matrix))
    axes.axvline(LOSS, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set(xlabel="loss of J&F, points")
    figure.legend(loc="outside upper center", ncols=len(methods), fontsize=8)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def main() -> None:
    """Draw the parts that were measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of accuracy.json")
    parser.add_argument("--out", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    details = json.loads((arguments.results / "accuracy.json").read_text(encoding="utf-8"))["details"]
    figures = {}
    if "curve" in details:
        figures["accuracy_curve.png"] = curve_figure(details["curve"])
    if "matrix" in details:
        figures["accuracy_matrix.png"] = matrix_figure(settings(details["matrix"]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(arguments.out / name, dpi=110, metadata={"Software": None})
        print(f"{arguments.out / name}: {(arguments.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
