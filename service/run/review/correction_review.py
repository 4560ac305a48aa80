"""What the report of a corrected result says of its masks: sources, what changed, and what to look at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from codec.types import VideoInfo
from service.prompts.shapes import Shapes, frames_of
from service.run.review.reviewer import ObjectFacts, Reason, Reviewer, facts_of, facts_of_line
from vos.types import FrameMask, MaskSource, Stats


class CorrectionReview:
    """Counts and reviews the masks of a corrected result, which come in presentation order.

    Frames that are not computed are not decoded either, so cuts are those that the parent found.

    Args:
        prompts: The prompts of all versions.
        report: The report of the version before.

    Attributes:
        counts: Frames by the source of their mask.
        changed: Ranges [first, end] of the frames that changed.
    """

    def __init__(self, prompts: Shapes, report: Mapping[str, Any]) -> None:
        self.counts = Counter[MaskSource]()
        self.changed: list[list[int]] = []
        self._reviewer = Reviewer()
        self._prompts = frames_of(prompts)
        self._seen: set[int] = set()
        ranges = [found for found in report.get("needs_review", []) if found["reason"] == Reason.CUT]
        self._after_cut = {index for found in ranges for index in range(found["from"], found["to"])}

    def add_line(self, line: dict[str, Any], info: VideoInfo) -> None:
        """Add a mask of the version before, as a parsed line."""
        self._add(line["index"], MaskSource(line["source"]), facts_of_line(line, tuple(self._seen), info))

    def add_mask(self, mask: FrameMask, *, is_new: bool) -> None:
        """Add a mask that was computed, or one of the version before."""
        if is_new:
            if not (self.changed and self.changed[-1][1] == mask.index):
                self.changed.append([mask.index, mask.index])
            self.changed[-1][1] = mask.index + 1
        self._add(mask.index, mask.source, facts_of(mask))

    @property
    def stats(self) -> Stats:
        """Frames of the result by source."""
        return Stats(dict(self.counts), {})

    def entries(self, frames: Sequence[int], **about: Any) -> dict[str, Any]:
        """Return the entries of the report.

        Args:
            frames: The corrected frames.
            about: What else the entry "correction" has.
        """
        return {
            "frames_written": self.stats.total,
            "sources": {str(source): self.counts[source] for source in MaskSource},
            "needs_review": [found.to_json() for found in self._reviewer.ranges()],
            "correction": {
                **about,
                "frames": list(frames),
                "changed": self.changed,
                "frames_changed": sum(end - first for first, end in self.changed),
            },
        }

    def _add(self, index: int, source: MaskSource, facts: dict[int, ObjectFacts]) -> None:
        self.counts[source] += 1
        absent = {mark.object for mark in self._prompts.get(index, ()) if mark.absent}
        self._seen |= {number for number, found in facts.items() if found.area > 0}
        self._reviewer.add(index, source, facts, 0 if index in self._after_cut else None, absent)
