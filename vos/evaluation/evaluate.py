"""One evaluation: encode each sequence, segment it, score it, and time it end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from codec import open_video
from codec.encode import Encoder, encode
from codec.types import MotionSource, UInt8Array
from vos.errors import EvaluationError
from vos.evaluation.davis import Sequence
from vos.evaluation.metrics import Score, counted_frames, mean_by_object, score_objects
from vos.runtime.protocol import SegmenterLike
from vos.runtime.stage_timer import StageTimer
from vos.types import FrameMask, MaskSource, Prompt, Stats

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
        confidence_samples: Of each frame that counts and each object, but where it is neither found nor there: J is 1 by
            convention then, and a score of 0 is no doubt.
        seconds: From opening the clip to the last mask.
        stats: What the segmenter counted.
    """

    objects: dict[int, Score]
    copies: dict[int, Score]
    confidence_samples: tuple[ConfidenceSample, ...]
    seconds: float
    stats: Stats


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


def evaluate(
    sequences: Iterable[Sequence],
    encoder: Encoder,
    method: SegmenterLike,
    baseline: SegmenterLike | None = None,
    *,
    motion: str = "auto",
    progress: Callable[[int], None] = lambda _frames: None,
) -> Iterator[SequenceResult]:
    """Evaluate sequence by sequence; method and baseline take turns, so that both meet the same machine.

    Args:
        sequences: What to segment; the first annotation is the prompt.
        encoder: How the clips are made.
        method: The segmenter that is measured.
        baseline: A segmenter that runs the network on every frame.
        motion: "auto", "bitstream" or "proxy".
        progress: Called with the number of masks so far.

    Raises:
        EncodingError: The encoder does not work.
        DatasetError: An annotation cannot be used.
        EvaluationError: A clip does not give one mask a picture.
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
        segmenters = [method] if baseline is None else [method, baseline]
        if sequence.size not in warmed:
            for segmenter in segmenters:
                warm_up(clip, sequence, segmenter, motion)
            warmed.add(sequence.size)
        with open_video(clip, motion=motion) as video:
            source = video.info.motion_source
        outcomes = [run_sequence(clip, sequence, segmenter, motion, count) for segmenter in segmenters]
        yield SequenceResult(
            sequence.name,
            len(sequence.pictures),
            len(clip),
            source,
            outcomes[0],
            None if baseline is None else outcomes[1],
        )


def warm_up(clip: bytes, sequence: Sequence, segmenter: SegmenterLike, motion: str) -> None:
    """Segment until the network has run once after the prompt, so that no first call is timed."""
    with open_video(clip, motion=motion) as video:
        masks = segmenter.run(video, video.info, Prompt(sequence.labels(0)))
        next((mask for mask in masks if mask.source is MaskSource.KEY), None)


def run_sequence(
    clip: bytes,
    sequence: Sequence,
    segmenter: SegmenterLike,
    motion: str,
    each: Callable[[FrameMask], FrameMask] = lambda mask: mask,
) -> MethodResult:
    """Segment a clip and score it; the clock runs only while a mask is waited for."""
    prompt = Prompt(sequence.labels(0))
    scorer = Scorer(sequence)
    watch = StageTimer()
    with watch.stage("open"):
        video = open_video(clip, motion=motion)
    with closing(video):
        for mask in watch.timed("run", segmenter.run(video, video.info, prompt)):
            scorer.add(each(mask))
    return scorer.result(sum(watch.seconds.values()), segmenter.stats)


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

    def result(self, seconds: float, stats: Stats) -> MethodResult:
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
            mean_by_object(self._scores), mean_by_object(self._copies), tuple(self._judgements), seconds, stats
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
