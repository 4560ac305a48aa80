"""Which frames of a corrected job to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codec.types import VideoInfo
from service.prompts.shapes import Shapes, frames_of
from service.run.review.reviewer import ObjectFacts, Reason, Reviewer, ReviewRange, facts_of, facts_of_line
from vos.types import FrameMask, MaskSource


class CorrectionReview:
    """Reviews the masks of a correction in presentation order.

    Frames that are not computed are not decoded either, so cuts are those that the parent found. An object is missed
    only from where it was first seen or marked, and not after it was marked as absent.

    Args:
        prompts: The prompts of all versions.
        report: The report of the parent.
    """

    def __init__(self, prompts: Shapes, report: Mapping[str, Any]) -> None:
        self._reviewer = Reviewer()
        self._prompts = frames_of(prompts)
        self._known: set[int] = set()
        ranges = [found for found in report.get("needs_review", []) if found["reason"] == Reason.CUT]
        self._after_cut = {index for found in ranges for index in range(found["from"], found["to"])}

    def add_line(self, line: dict[str, Any], info: VideoInfo) -> MaskSource:
        """Review a parsed line of the parent; return its source."""
        source = MaskSource(line["source"])
        self._add(line["index"], source, facts_of_line(line, tuple(self._known), info))
        return source

    def add_mask(self, mask: FrameMask) -> None:
        """Review a mask that was computed."""
        self._add(mask.index, mask.source, facts_of(mask))

    @property
    def ranges(self) -> list[ReviewRange]:
        """The ranges so far, the most urgent first."""
        return self._reviewer.ranges()

    def _add(self, index: int, source: MaskSource, facts: dict[int, ObjectFacts]) -> None:
        marks = self._prompts.get(index, ())
        self._known -= {mark.object for mark in marks if mark.absent}
        self._known |= {number for number, found in facts.items() if found.area > 0}
        judged = {number: found for number, found in facts.items() if number in self._known}
        self._reviewer.add(index, source, judged, 0 if index in self._after_cut else None)
