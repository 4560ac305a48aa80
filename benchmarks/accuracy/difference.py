"""Paired differences of scores by sequence (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Paired difference of two sets of weights, in points of J&F.

    Attributes:
        mean: Mean over the sequences.
        error: Standard error of the mean; NaN for a single sequence.
        n: Number of sequences.
    """

    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, new: Mapping[str, float], old: Mapping[str, float]) -> Difference:
        """Compare scores by sequence; both sides must have the same sequences."""
        gains = np.array([new[name] - old[name] for name in sorted(new)])
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
        return cls(float(gains.mean()), float(error), len(gains))

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.error:.1f} (n = {self.n})"


def table(old: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Format scores by group and sequence as Markdown: one row per group and one for all sequences."""
    lines = ["| sequences | reference | weights | difference |", "| --- | --- | --- | --- |"]
    rows = [(name, old[name], new[name]) for name in new]
    rows.append(("all", _merged(old), _merged(new)))
    for name, before, after in rows:
        means = [f"{np.mean(list(side.values())):.1f}" for side in (before, after)]
        lines.append(f"| {name} | {means[0]} | {means[1]} | {Difference.of(after, before)} |")
    return lines


def _merged(groups: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the scores of all groups by sequence."""
    return {name: score for group in groups.values() for name, score in group.items()}
