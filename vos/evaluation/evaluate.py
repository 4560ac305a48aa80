"""One evaluation: encode each sequence, segment it, score it, and time it end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from codec.encode import Encoder, encode
from codec.types import MotionSource, UInt8Array, VideoInfo
from vos.errors import EvaluationError
from vos.evaluation.davis import Sequence
from vos.evaluation.metrics import Score, counted_frames, mean_by_object, score_objects
from vos.runtime.stage_timer import StageTimer
from vos.types import FrameMask, MaskSource, Stats

_NETWORK = (MaskSource.PROMPT, MaskSource.KEY)
"""Sources of masks that no motion carried."""


@dataclass(frozen=True, slots=True)
class ConfidenceSample:
    """What a segmenter thought of one mask of one object, and what that was worth.

    Attributes:
        propagated: Whether the mask was propagated; the network made it otherwise.
        score: The segmenter's own confidence, 0 to 1.
        j: Region similarity to the annotation, 0 to 1.
    """

    propagated: bool
    score: float
    j: float


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one method made of one sequence.

    Attributes:
        objects: Object id -> its score over the frames that count.
        copies: The same if every carried mask were that of the last key frame before it: the floor for carrying.
        confidence_samples: One per counted frame and object, but where the object is neither found nor there: J is 1 by
            convention then, and a score of 0 is no sign of uncertainty.
        seconds: From opening the clip to the last mask.
        stats: What the segmenter counted.
        motion_source: Where the motion came from.
    """

    objects: dict[int, Score]
    copies: dict[int, Score]
    confidence_samples: tuple[ConfidenceSample, ...]
    seconds: float
    stats: Stats
    motion_source: MotionSource


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """One sequence.

    Attributes:
        name: Name of its folder.
        frames: Pictures in it.
        clip_bytes: Size of the encoded clip.
        motion_source: Where its motion came from.
        method: What was asked for.
        baseline: The base network on every frame, if that was asked for too.
    """

    name: str
    frames: int
    clip_bytes: int
    motion_source: MotionSource
    method: MethodResult
    baseline: MethodResult | None


class Run(Protocol):
    """A clip that is being segmented: its masks in presentation order, and what they cost so far."""

    @property
    def info(self) -> VideoInfo:
        """The clip."""

    @property
    def stats(self) -> Stats:
        """Frames and seconds so far."""

    def __iter__(self) -> Iterator[FrameMask]: ...


SegmentClip: TypeAlias = Callable[[bytes, UInt8Array], AbstractContextManager[Run]]
"""Begins to segment a clip from the labels uint8 [height, width] of its first frame, as `service.run.segment` does."""


def evaluate(
    sequences: Iterable[Sequence],
    encoder: Encoder,
    method: SegmentClip,
    baseline: SegmentClip | None = None,
    *,
    progress: Callable[[int], None] = lambda _frames: None,
) -> Iterator[SequenceResult]:
    """Evaluate sequence by sequence; method and baseline take turns, so that both meet the same machine.

    Args:
        sequences: Sequences to segment; the first annotation is the prompt.
        encoder: How the clips are made.
        method: The method to measure.
        baseline: The base network on every frame.
        progress: Called with the number of masks so far.

    Raises:
        EncodingError: The encoder does not work.
        DatasetError: An annotation cannot be used.
        EvaluationError: A clip does not yield one mask per picture.
    """
    done = 0
    warmed: set[tuple[int, int]] = set()

    def count(mask: FrameMask) -> FrameMask:
        nonlocal done
        done += 1
        progress(done)
        return mask

    for sequence in sequences:
        clip = encode(map(read_picture, sequence.pictures), encoder)
        methods = [method] if baseline is None else [method, baseline]
        if sequence.size not in warmed:
            for each in methods:
                warm_up(clip, sequence, each)
            warmed.add(sequence.size)
        outcomes = [run_sequence(clip, sequence, each, count) for each in methods]
        yield SequenceResult(
            sequence.name,
            len(sequence.pictures),
            len(clip),
            outcomes[0].motion_source,
            outcomes[0],
            None if baseline is None else outcomes[1],
        )


def warm_up(clip: bytes, sequence: Sequence, segment: SegmentClip) -> None:
    """Segment until the network has run once after the prompt, so that no first call is timed."""
    with segment(clip, sequence.labels(0)) as run:
        next((mask for mask in run if mask.source is MaskSource.KEY), None)


def run_sequence(
    clip: bytes,
    sequence: Sequence,
    segment: SegmentClip,
    each: Callable[[FrameMask], FrameMask] = lambda mask: mask,
) -> MethodResult:
    """Segment a clip and score it; the clock runs only while a mask is waited for."""
    labels = sequence.labels(0)
    scorer = Scorer(sequence)
    watch = StageTimer()
    with watch.stage("open"):
        run = segment(clip, labels)
    with run as masks:
        for mask in watch.timed("run", masks):
            scorer.add(each(mask))
        return scorer.outcome(sum(watch.seconds.values()), masks.stats, masks.info.motion_source)


class Scorer:
    """Scores the masks of one sequence as they come, and beside them those of the last key frame."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._ids = sequence.object_ids
        self._counted = set(counted_frames(sequence.annotations, len(sequence.pictures)))
        self._scores: list[dict[int, Score]] = []
        self._copies: list[dict[int, Score]] = []
        self._judgements: list[ConfidenceSample] = []
        self._held: UInt8Array | None = None
        self._next = 0

    def add(self, mask: FrameMask) -> None:
        """Score the mask of the next frame.

        Raises:
            EvaluationError: It is not that of the next frame.
        """
        if mask.index != self._next:
            raise EvaluationError(f"{self._sequence.name}: expected the mask of frame {self._next}, got {mask.index}")
        self._next += 1
        if mask.source in _NETWORK or self._held is None:
            self._held = mask.labels
        if mask.index not in self._counted:
            return
        truth = self._sequence.labels(mask.index)
        scores = score_objects(mask.labels, truth, self._ids)
        self._scores.append(scores)
        self._judgements += _judge(mask, truth, scores)
        copied = self._held is mask.labels
        self._copies.append(scores if copied else score_objects(self._held, truth, self._ids))

    def outcome(self, seconds: float, stats: Stats, motion_source: MotionSource) -> MethodResult:
        """The scores, once every frame has been added.

        Raises:
            EvaluationError: There were fewer masks than pictures.
        """
        frames = len(self._sequence.pictures)
        if self._next != frames:
            raise EvaluationError(
                f"{self._sequence.name}: {frames} pictures were encoded, {self._next} masks came back"
            )
        return MethodResult(
            mean_by_object(self._scores),
            mean_by_object(self._copies),
            tuple(self._judgements),
            seconds,
            stats,
            motion_source,
        )


def _judge(mask: FrameMask, truth: UInt8Array, scores: Mapping[int, Score]) -> Iterator[ConfidenceSample]:
    """The segmenter's confidence in each object beside its true J."""
    for object_id, score in scores.items():
        if (truth == object_id).any() or (mask.labels == object_id).any():
            yield ConfidenceSample(mask.source not in _NETWORK, mask.scores[object_id], score.j)


def read_picture(file: Path) -> UInt8Array:
    """A picture file as RGB uint8 [height, width, 3]."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.uint8)
