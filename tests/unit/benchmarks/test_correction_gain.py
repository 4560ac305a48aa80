"""Figures of what a correction gains, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.correction_gain import AROUND, means, summary


def test_means_around_a_corrected_frame() -> None:
    """The corrected frame, the first frame of the video and frames further away do not count."""
    old = [1.0, 0.5, 0.3, 0.0, 0.2, 0.4]
    new = [0.0, 0.7, 0.5, 1.0, 0.6, 0.8]
    assert means(old, new, 3, -1) == pytest.approx((0.4, 0.6))
    assert means(old, new, 3, 1) == pytest.approx((0.3, 0.7))
    long = [0.0] * (AROUND + 1) + [1.0] * 9
    assert means(long, long, 0, 1) == (0.0, 0.0)


def test_a_summary_has_the_standard_error_of_the_mean() -> None:
    """Gains of 10, 20 and 30 points have a mean of 20 and a standard error of 10 / sqrt(3)."""
    found = summary([(0.5, 0.6), (0.5, 0.7), (0.5, 0.8)])
    assert found == {"without": 50.0, "with": 70.0, "gain": 20.0, "standard_error": 5.77}
