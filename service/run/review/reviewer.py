"""Which frames of a run to look at first, and why."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

import cv2
import numpy as np

from codec.types import VideoInfo
from vos.types import GIVEN, FrameMask, MaskSource

UNCERTAIN_SCORE = 0.8
"""Confidence below which a mask is uncertain; docs/accuracy.md says what it finds."""
AREA_RATIO = 1.6
"""Ratio of an object's area to that of the frames before, or the inverse, that is a jump."""
FAR_FROM_KEY = 16
"""Frames since the last key frame that are far."""
AFTER_CUT = 16
"""Frames after a cut that need review: the object may not be in the new shot."""
_AREA_FRAMES = 5
"""Frames before that a jump of the area is measured against."""
_GAP = 2
"""Frames without a finding that do not end a range."""
MOST_RANGES = 200
"""Ranges that are kept: the worst ones."""
_SIDE = 480
"""Shorter side in pixels to which labels are thinned out before they are counted."""
_SHOWN_RANGES = 3
"""Ranges that are shown on a terminal."""


class Reason(StrEnum):
    """Why a frame needs review."""

    LOST = "lost"
    CUT = "cut"
    UNCERTAIN = "uncertain"
    AREA = "area"
    BORDER = "border"
    FAR = "far"


_URGENCY = {
    Reason.LOST: 0.9,
    Reason.CUT: 0.8,
    Reason.AREA: 0.4,
    Reason.BORDER: 0.2,
    Reason.FAR: 0.1,
}
"""How much a reason alone makes a frame worth looking at, 0 to 1; an uncertain mask counts by its score."""
_WORDS = {
    Reason.LOST: "not found",
    Reason.CUT: "after a cut",
    Reason.UNCERTAIN: "uncertain",
    Reason.AREA: "its area jumps",
    Reason.BORDER: "reaches the border",
    Reason.FAR: "far from a key frame",
}


@dataclass(frozen=True, slots=True)
class ReviewRange:
    """Frames of one object that need review for one reason.

    Attributes:
        first, end: Presentation index of the first frame and of the one after the last.
        object_id: The object.
        reason: Why.
        score: Lowest confidence of the object's masks in the range, 0 to 1.
        urgency: What ranges are sorted by, 0 to 1.
    """

    first: int
    end: int
    object_id: int
    reason: Reason
    score: float
    urgency: float

    def to_json(self) -> dict[str, Any]:
        """Return the values that reports have."""
        return {
            "from": self.first,
            "to": self.end,
            "object": self.object_id,
            "reason": str(self.reason),
            "score": round(self.score, 4),
        }


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object in a frame.

    Attributes:
        area: Share of the picture, 0 to 1.
        touches_border: Whether its mask reaches the edge of the picture.
        score: Confidence, 0 to 1.
    """

    area: float
    touches_border: bool
    score: float


def facts_of(mask: FrameMask) -> dict[int, ObjectFacts]:
    """Return the facts per object id, counted on a thinned out label image."""
    step = max(1, min(mask.labels.shape) // _SIDE)
    labels = np.ascontiguousarray(mask.labels[::step, ::step])
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()  # faster than np.bincount
    frame = set(np.unique(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))).tolist())
    return {i: ObjectFacts(float(counts[i]) / labels.size, i in frame, score) for i, score in mask.scores.items()}


def facts_of_line(line: dict[str, Any], ids: tuple[int, ...], info: VideoInfo) -> dict[int, ObjectFacts]:
    """Facts per object id from a line of masks, which leaves out objects that are not in the frame."""
    width, height = info.display_width, info.display_height
    facts = dict.fromkeys(ids, ObjectFacts(0.0, False, 0.0))
    for entry in line["objects"]:
        left, top, across, down = entry["bbox"]
        touches = left == 0 or top == 0 or left + across == width or top + down == height
        facts[entry["id"]] = ObjectFacts(entry["area"] / (width * height), touches, entry["score"])
    return facts


def review_line(ranges: Sequence[ReviewRange]) -> str:
    """Return the most urgent ranges in one line for people."""
    shown = ", ".join(
        f"{r.first} to {r.end - 1} (object {r.object_id}: {_WORDS[r.reason]})" for r in ranges[:_SHOWN_RANGES]
    )
    more = f", {len(ranges) - _SHOWN_RANGES} more in the report" if len(ranges) > _SHOWN_RANGES else ""
    return f"look first at frames {shown}{more}"


@dataclass(slots=True)
class _Track:
    """One object so far: areas of recent frames, whether it was marked as absent since, and its open range."""

    areas: deque[float] = field(default_factory=lambda: deque(maxlen=_AREA_FRAMES))
    touched_border: bool = False
    is_absent: bool = False
    open: ReviewRange | None = None


class Reviewer:
    """Collects ranges of frames that need review while masks arrive in presentation order; memory is bounded."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._worst: list[tuple[float, int, ReviewRange]] = []
        self._count = 0
        self._since_key = 0

    def add(
        self,
        index: int,
        source: MaskSource,
        objects: Mapping[int, ObjectFacts],
        since_cut: int | None = None,
        absent: Collection[int] = (),
    ) -> None:
        """Judge the next frame.

        Args:
            index: Presentation index.
            source: Where the mask comes from.
            objects: Object id -> facts.
            since_cut: Frames since the last cut; None if there was none.
            absent: Objects that the frame's prompt marks as absent. They are not missed until they are seen again.
        """
        after_cut = source is MaskSource.FALLBACK or (since_cut is not None and since_cut < AFTER_CUT)
        self._since_key = 0 if source in (MaskSource.KEY, *GIVEN) else self._since_key + 1
        for object_id, facts in objects.items():
            track = self._tracks.setdefault(object_id, _Track())
            track.is_absent = not facts.area and (track.is_absent or object_id in absent)
            is_to_come = not facts.area and not track.areas  # a later prompt marks it
            is_judged = source not in GIVEN and not is_to_come and not track.is_absent
            found = self._judge(track, facts, after_cut=after_cut) if is_judged else None
            if found is not None:
                self._extend(track, ReviewRange(index, index + 1, object_id, found[0], facts.score, found[1]))
            elif track.open is not None and index - track.open.end >= _GAP:
                self._close(track)
            track.areas.extend([facts.area] if facts.area > 0 else [])
            track.touched_border = facts.touches_border

    def ranges(self) -> list[ReviewRange]:
        """Return the ranges so far, the most urgent first; equally urgent ones in presentation order."""
        ended = [entry[2] for entry in self._worst]
        ended += [track.open for track in self._tracks.values() if track.open is not None]
        return sorted(ended, key=lambda r: (-r.urgency, r.first, r.object_id))[:MOST_RANGES]

    def _judge(self, track: _Track, facts: ObjectFacts, *, after_cut: bool) -> tuple[Reason, float] | None:
        usual = median(track.areas) if track.areas else facts.area
        reasons = {
            Reason.LOST: facts.area == 0,
            Reason.CUT: after_cut and facts.area > 0,
            Reason.UNCERTAIN: facts.area > 0 and facts.score < UNCERTAIN_SCORE,
            Reason.AREA: facts.area > 0 and max(facts.area, usual) > AREA_RATIO * min(facts.area, usual),
            Reason.BORDER: facts.touches_border and not track.touched_border,
            Reason.FAR: self._since_key > FAR_FROM_KEY,
        }
        found = [
            (1 - facts.score if reason is Reason.UNCERTAIN else _URGENCY[reason], reason)
            for reason, applies in reasons.items()
            if applies
        ]
        if not found:
            return None
        urgency, reason = max(found)
        return reason, urgency

    def _extend(self, track: _Track, one: ReviewRange) -> None:
        before = track.open
        if before is not None and before.reason is not one.reason:
            self._close(track)
            before = None
        track.open = one if before is None else ReviewRange(
            before.first,
            one.end,
            one.object_id,
            one.reason,
            min(before.score, one.score),
            max(before.urgency, one.urgency),
        )  # fmt: skip

    def _close(self, track: _Track) -> None:
        assert track.open is not None
        self._count += 1
        heapq.heappush(self._worst, (track.open.urgency, -self._count, track.open))
        if len(self._worst) > MOST_RANGES:
            heapq.heappop(self._worst)
        track.open = None
