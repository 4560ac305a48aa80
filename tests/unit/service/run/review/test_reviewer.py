"""Which frames need review: each reason, how ranges form, and their order."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from codec.types import FrameType
from service.http.schemas import ReviewRangeView
from service.run.review.reviewer import (
    AFTER_CUT,
    FAR_FROM_KEY,
    MOST_RANGES,
    ObjectFacts,
    Reason,
    Reviewer,
    facts_of,
    facts_of_line,
    review_line,
)
from service.writers.mask_line import frame_line
from tests.support.frames import info
from vos.types import FrameMask, MaskSource

FINE = ObjectFacts(area=0.1, touches_border=False, score=0.97)


def review(*frames: ObjectFacts, source: MaskSource = MaskSource.KEY) -> Reviewer:
    """Return the reviewer after a good prompt frame and these frames of object 1."""
    reviewer = Reviewer()
    reviewer.add(0, MaskSource.PROMPT, {1: FINE})
    for index, facts in enumerate(frames, 1):
        reviewer.add(index, source, {1: facts})
    return reviewer


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (ObjectFacts(0.0, False, 0.0), Reason.LOST),
        (ObjectFacts(0.1, False, 0.5), Reason.UNCERTAIN),
        (ObjectFacts(0.1, False, 0.78), Reason.UNCERTAIN),
        (ObjectFacts(0.3, False, 0.97), Reason.AREA),
        (ObjectFacts(0.04, False, 0.97), Reason.AREA),
        (ObjectFacts(0.1, True, 0.97), Reason.BORDER),
    ],
)
def test_each_reason_is_found(facts: ObjectFacts, reason: Reason) -> None:
    """In the one frame that has it, between good ones."""
    ((found),) = review(FINE, FINE, facts, FINE, FINE, FINE).ranges()
    assert (found.first, found.end, found.object_id, found.reason) == (3, 4, 1, reason)
    assert found.score == facts.score


def test_an_object_of_a_later_prompt_is_not_lost_before_it() -> None:
    """It is once it has been there."""
    gone = ObjectFacts(0.0, False, 0.0)
    reviewer = review(gone, gone)
    reviewer.add(3, MaskSource.PROPAGATED, {1: FINE, 2: gone})
    reviewer.add(4, MaskSource.PROMPT, {1: FINE, 2: FINE})
    reviewer.add(5, MaskSource.PROPAGATED, {1: FINE, 2: gone})
    assert [(r.object_id, r.first, r.end) for r in reviewer.ranges()] == [(1, 1, 3), (2, 5, 6)]


def test_an_object_that_was_marked_as_absent_is_not_missed_until_it_is_seen_again() -> None:
    """Runs and corrections judge it in the same way, from masks and from lines."""
    gone = ObjectFacts(0.0, False, 0.0)
    reviewer = review(FINE)
    reviewer.add(2, MaskSource.CORRECTED, {1: gone}, absent=(1,))
    for index, facts in enumerate((gone, gone, FINE, gone), 3):
        reviewer.add(index, MaskSource.PROPAGATED, {1: facts})
    assert [(r.object_id, r.first, r.end) for r in reviewer.ranges()] == [(1, 6, 7)]


def test_good_frames_need_no_review() -> None:
    """Neither does the prompt frame, whatever it looks like."""
    reviewer = Reviewer()
    reviewer.add(0, MaskSource.PROMPT, {1: ObjectFacts(0.2, True, 0.0)})
    reviewer.add(1, MaskSource.KEY, {1: ObjectFacts(0.0001, True, 0.97)})
    assert review(*[FINE] * 30).ranges() == []
    assert [found.reason for found in reviewer.ranges()] == [Reason.AREA]


def test_frames_far_from_a_key_frame_and_without_motion_are_found() -> None:
    """A key frame begins to count anew."""
    far = review(*[FINE] * (FAR_FROM_KEY + 3), source=MaskSource.PROPAGATED).ranges()
    assert [(r.first, r.end, r.reason) for r in far] == [(FAR_FROM_KEY + 1, FAR_FROM_KEY + 4, Reason.FAR)]
    cut = review(FINE, source=MaskSource.FALLBACK).ranges()
    assert [(r.first, r.end, r.reason) for r in cut] == [(1, 2, Reason.CUT)]


def test_the_first_frames_after_a_cut_are_found() -> None:
    """However sure their masks are."""
    reviewer = Reviewer()
    for index in range(100):
        reviewer.add(index, MaskSource.KEY, {1: FINE}, None if index < 40 else index - 40)
    assert [(r.first, r.end, r.reason) for r in reviewer.ranges()] == [(40, 40 + AFTER_CUT, Reason.CUT)]


def test_frames_in_a_row_are_one_range_with_the_lowest_score() -> None:
    """A single good frame between them does not end it; two do."""
    low, lower = ObjectFacts(0.1, False, 0.6), ObjectFacts(0.1, False, 0.3)
    ranges = review(low, lower, FINE, low, FINE, FINE, FINE, low).ranges()
    assert [(r.first, r.end, r.score) for r in ranges] == [(1, 5, 0.3), (8, 9, 0.6)]


def test_the_most_urgent_range_comes_first() -> None:
    """A lost object before an uncertain one, before one that reaches the border."""
    uncertain, border = ObjectFacts(0.1, False, 0.5), ObjectFacts(0.1, True, 0.97)
    frames = [border, FINE, FINE, FINE, uncertain, FINE, FINE, FINE, ObjectFacts(0.0, False, 0.0)]
    assert [r.reason for r in review(*frames).ranges()] == [Reason.LOST, Reason.UNCERTAIN, Reason.BORDER]


def test_objects_have_ranges_of_their_own() -> None:
    """The same frames of two objects are two ranges."""
    reviewer = Reviewer()
    reviewer.add(0, MaskSource.PROMPT, {1: FINE, 7: FINE})
    reviewer.add(1, MaskSource.KEY, {1: FINE, 7: ObjectFacts(0.1, False, 0.4)})
    assert [r.object_id for r in reviewer.ranges()] == [7]


def test_only_the_worst_ranges_are_kept() -> None:
    """Memory does not grow with the video."""
    reviewer = Reviewer()
    for index in range(20_000):
        score = 0.5 if index % 4 else 0.97
        reviewer.add(index, MaskSource.KEY, {1: FINE, 2: ObjectFacts(0.1, False, score if index % 8 < 4 else 0.97)})
    reviewer.add(20_000, MaskSource.KEY, {1: ObjectFacts(0.0, False, 0.0), 2: FINE})
    assert len(reviewer.ranges()) == MOST_RANGES
    assert len(reviewer._worst) <= MOST_RANGES
    assert reviewer.ranges()[0].reason is Reason.LOST


@pytest.mark.parametrize("size", [(96, 64), (2400, 1300)])
def test_facts_are_those_of_the_labels(size: tuple[int, int]) -> None:
    """Counted on a thinned out image, and the same from a line of masks."""
    width, height = size
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, : width // 2] = 3
    labels[height // 2 : height // 2 + height // 4, width // 2 : width // 2 + width // 4] = 9
    mask = FrameMask(4, 4, 0.4, FrameType.P, MaskSource.KEY, labels, {3: 0.9, 9: 0.8, 12: 0.0})
    for facts in (facts_of(mask), facts_of_line(frame_line(mask), (3, 9, 12), info(width, height))):
        assert facts[3].area == pytest.approx(1 / 8, rel=0.02)
        assert facts[9].area == pytest.approx(1 / 16, rel=0.02)
        assert facts[12] == ObjectFacts(0.0, False, 0.0)
        assert [facts[i].touches_border for i in (3, 9)] == [True, False]
        assert [facts[i].score for i in (3, 9)] == [0.9, 0.8]


def test_the_line_for_people_names_frames_and_reasons() -> None:
    """Three ranges, and how many more there are."""
    lost = ObjectFacts(0.0, False, 0.0)
    ranges = review(*[lost, FINE, FINE, FINE] * 4).ranges()
    found = [f"{n} to {n} (object 1: not found)" for n in (1, 5, 9)]
    assert review_line(ranges) == f"look first at frames {', '.join(found)}, 1 more in the report"


def test_http_names_every_reason() -> None:
    """The schema of `GET /v1/jobs/{id}/review` lists the reasons that there are."""
    assert get_args(ReviewRangeView.model_fields["reason"].annotation) == tuple(map(str, Reason))
