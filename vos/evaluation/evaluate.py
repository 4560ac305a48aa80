"""Evaluate a segmenter: encode each sequence, segment it, score it and time it end to end."""

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
from vos.types import GIVEN, FrameMask, MaskSource, Stats

_NOT_PROPAGATED = (*GIVEN, MaskSource.KEY)


@dataclass(frozen=True, slots=True)
class ConfidenceSample:
    """Confidence of a segmenter in one mask of one object, and its true accuracy.

    Attributes:
        propagated: Whether the mask was propagated rather than segmented by the base network.
        score: The segmenter's own confidence, 0 to 1.
        j: Region similarity to the annotation, 0 to 1.
    """

    propagated: bool
    score: float
    j: float


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Scores of one method on one sequence.

    Attributes:
        objects: Object id -> mean score over the frames that count.
        copies: Object id -> mean score if every propagated mask were a copy of the last key frame's: the lower bound
            for propagation.
        confidence_samples: One per counted frame and object that is annotated or found. Where it is neither, J is 1
            by convention and the score of 0 says nothing.
        seconds: Time from opening the clip to the last mask.
        stats: Counters and timings of the segmenter.
        motion_source: Source of the motion vectors.
    """

    objects: dict[int, Score]
    copies: dict[int, Score]
    confidence_samples: tuple[ConfidenceSample, ...]
    seconds: float
    stats: Stats
    motion_source: MotionSource


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """Results of one sequence.

    Attributes:
        name: Name of the sequence.
        frames: Number of pictures.
        clip_bytes: Size of the encoded clip.
        motion_source: Source of the motion vectors.
        method: Result of the evaluated method.
        baseline: Result of the base network on every frame; None if it did not run.
    """

    name: str
    frames: int
    clip_bytes: int
    motion_source: MotionSource
    method: MethodResult
    baseline: MethodResult | None


class Run(Protocol):
    """A clip that is being segmented: iterates over its masks in presentation order."""

    @property
    def info(self) -> VideoInfo:
        """Properties of the clip."""

    @property
    def stats(self) -> Stats:
        """Counters and timings so far."""

    def __iter__(self) -> Iterator[FrameMask]: ...


SegmentClip: TypeAlias = Callable[[bytes, UInt8Array], AbstractContextManager[Run]]
"""Starts to segment a clip from the labels uint8 [height, width] of its first frame, as `service.run.segment` does."""


def evaluate(
    sequences: Iterable[Sequence],
    encoder: Encoder,
    method: SegmentClip,
    baseline: SegmentClip | None = None,
    *,
    progress: Callable[[int], None] = lambda _frames: None,
) -> Iterator[SequenceResult]:
    """Evaluate sequence by sequence; method and baseline alternate, so that both run under the same load.

    Args:
        sequences: Sequences to segment; the first annotation is the prompt.
        encoder: Encoder of the clips.
        method: Method to evaluate.
        baseline: Base network on every frame.
        progress: Called with the number of masks so far.

    Raises:
        EncodingError: The encoder fails.
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
        results = [run_sequence(clip, sequence, each, count) for each in methods]
        yield SequenceResult(
            sequence.name,
            len(sequence.pictures),
            len(clip),
            results[0].motion_source,
            results[0],
            None if baseline is None else results[1],
        )


def warm_up(clip: bytes, sequence: Sequence, segment: SegmentClip) -> None:
    """Segment until the network has run once after the prompt, so that its first calls are not timed."""
    with segment(clip, sequence.labels(0)) as run:
        next((mask for mask in run if mask.source is MaskSource.KEY), None)


def run_sequence(
    clip: bytes,
    sequence: Sequence,
    segment: SegmentClip,
    each: Callable[[FrameMask], FrameMask] = lambda mask: mask,
) -> MethodResult:
    """Segment a clip and score it; only the time spent waiting for masks counts."""
    labels = sequence.labels(0)
    scorer = Scorer(sequence)
    timer = StageTimer()
    with timer.stage("open"):
        run = segment(clip, labels)
    with run as masks:
        for mask in timer.timed("run", masks):
            scorer.add(each(mask))
        return scorer.result(sum(timer.seconds.values()), masks.stats, masks.info.motion_source)


class Scorer:
    """Scores the masks of one sequence as they arrive, and copies of the last key frame's masks beside them."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._ids = sequence.object_ids
        self._counted = set(counted_frames(sequence.annotations, len(sequence.pictures)))
        self._scores: list[dict[int, Score]] = []
        self._copies: list[dict[int, Score]] = []
        self._samples: list[ConfidenceSample] = []
        self._last_key: UInt8Array | None = None
        self._next = 0

    def add(self, mask: FrameMask) -> None:
        """Score the mask of the next frame.

        Raises:
            EvaluationError: The mask belongs to another frame.
        """
        if mask.index != self._next:
            raise EvaluationError(f"{self._sequence.name}: expected the mask of frame {self._next}, got {mask.index}")
        self._next += 1
        if mask.source in _NOT_PROPAGATED or self._last_key is None:
            self._last_key = mask.labels
        if mask.index not in self._counted:
            return
        truth = self._sequence.labels(mask.index)
        scores = score_objects(mask.labels, truth, self._ids)
        self._scores.append(scores)
        self._samples += _confidence_samples(mask, truth, scores)
        is_key = self._last_key is mask.labels
        self._copies.append(scores if is_key else score_objects(self._last_key, truth, self._ids))

    def result(self, seconds: float, stats: Stats, motion_source: MotionSource) -> MethodResult:
        """Return the scores, once every frame has been added.

        Raises:
            EvaluationError: There are fewer masks than pictures.
        """
        frames = len(self._sequence.pictures)
        if self._next != frames:
            raise EvaluationError(
                f"{self._sequence.name}: {frames} pictures were encoded, {self._next} masks were returned"
            )
        return MethodResult(
            mean_by_object(self._scores),
            mean_by_object(self._copies),
            tuple(self._samples),
            seconds,
            stats,
            motion_source,
        )


def _confidence_samples(mask: FrameMask, truth: UInt8Array, scores: Mapping[int, Score]) -> Iterator[ConfidenceSample]:
    """Pair the segmenter's confidence in each object with its true J."""
    for object_id, score in scores.items():
        if (truth == object_id).any() or (mask.labels == object_id).any():
            yield ConfidenceSample(mask.source not in _NOT_PROPAGATED, mask.scores[object_id], score.j)


def read_picture(file: Path) -> UInt8Array:
    """Read a picture file as RGB uint8 [height, width, 3]."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.uint8)
