"""Scores as they are written: enough digits to compare, few enough to read."""

from __future__ import annotations


def rounded(score: float) -> float:
    """A score with four digits."""
    return round(float(score), 4)
