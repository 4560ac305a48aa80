"""Prints the README's table: figures of keymask beside published figures, `python -m benchmarks.comparison`.

Figures of keymask come from the results folder. Published figures are quoted with their sources, and none was measured
again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.paths import RESULTS

SYSTEMS = ("SAM 2.1-B+", "EdgeTAM", "Cutie-base", "XMem")
PUBLISHED = {
    "J&F, %": ("90.2 [3]", "87.7 [3]", "87.9 [3]", "86.0 [3]"),
    "Frames the network runs on": ("100 %",) * 4,
    "Frames/s on a CPU or phone": ("0.25, image encoder alone, Mac [4]", "15.7, iPhone 15 Pro Max [3]", "-", "-"),
    "Frames/s on an A100": ("64.1 [3]", "150.9 [3]", "65.0 [3]", "61.2 [3]"),
    "Memory on long videos": ("grows: 40 to 80 GB for 1 to 4 minutes [5]", "grows [6]", "bounded", "bounded"),
    "Time of 10 objects over 1": ("one by one: linear [7]", "one by one", "-", "-"),
}
"""Cells of `SYSTEMS` by row; "-" where no published figure was found."""
SOURCES = (
    "{sequences} sequences used neither for training nor to choose settings; {size}, {encoder}; `compact`, default "
    "options, decoding included; {cores} cores of an AMD EPYC, {measured}",
    "Propagated frames without refinement: ten equal discs over one disc ([performance](docs/performance.md))",
    "EdgeTAM's README: DAVIS-2017 validation, A100 with a compiled network. Their test set is not ours, so compare the "
    "levels with care",
    "samexporter issue 28: 4 s per frame",
    "facebookresearch/sam2 issue 196, reported for SAM 2",
    "`transformers` 5.24: its video session frees nothing",
    "facebookresearch/sam2 issue 593",
)


def table(folder: Path = RESULTS) -> str:
    """Return the comparison as Markdown, with numbered sources."""
    unseen = _read(folder, "unseen")
    balanced, every = unseen["runs"]["adaptive balanced"], unseen["runs"]["compact, every frame"]
    growth = _median(folder, "memory", "Peak memory of keymask run on 5,000 frames over 500")
    peak = _median(folder, "memory", "Peak memory on 5,000 frames")
    ten = _median(folder, "propagate", "10 objects over 1 on a propagated frame, equal discs")
    ours = (
        f"{balanced['JF']} (every frame: {every['JF']}) [1]",
        f"{balanced['key_share']} % [1]",
        f"{balanced['fps']}, {unseen['cores']} cores [1]",
        "not measured",
        f"bounded: {peak:.0f} MiB, {growth:.2f} x from 500 to 5,000 frames",
        f"{ten:.2f} x [2]",
    )
    lines = [_row("", "keymask", *SYSTEMS), _row(*["---"] * (2 + len(SYSTEMS)))]
    lines += [_row(name, own, *cells) for own, (name, cells) in zip(ours, PUBLISHED.items(), strict=True)]
    notes = [f"{number}. {source.format(**unseen)}." for number, source in enumerate(SOURCES, start=1)]
    return "\n".join([*lines, "", *notes]) + "\n"


def _read(folder: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return value


def _median(folder: Path, name: str, question: str) -> float:
    """Return the figure of one row of a result."""
    (row,) = (row for row in _read(folder, name)["rows"] if row["question"] == question)
    return float(row["measured"]["median"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(), end="")
