"""Methods side by side: the base network and all methods segment each encoding of each sequence in turns."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from codec import open_video
from codec.encode import Encoder, encode
from service.config import load_settings
from service.run.model_loader import ModelChoice, load_model
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.evaluate import MethodResult, SequenceResult, read_picture, run_sequence, warm_up
from vos.evaluation.summary import summarize
from vos.runtime.protocol import SegmenterLike
from vos.types import MaskSource, Options

_KEPT = ("J", "F", "JF", "fps", "key_share", "loss", "speedup", "copy")
"""What is written of each sequence, over all its encodings."""


@dataclass(frozen=True)
class Method:
    """How frames between key frames get their masks, and which are key.

    Attributes:
        keyframes: "adaptive", "codec" or "every:N".
        quality: The dial of adaptive.
        max_key_share: The bound of adaptive.
        refine: Whether carried masks are repaired.
    """

    keyframes: str
    quality: str = "balanced"
    max_key_share: float = 1.0
    refine: bool = True

    @property
    def family(self) -> str:
        """What its points of a curve have in common."""
        return self.keyframes.partition(":")[0]

    @property
    def name(self) -> str:
        """What tables call it."""
        dial = f" {self.quality}" if self.family == "adaptive" else ""
        bound = f", keys at most {100 * self.max_key_share:.0f} %" if self.max_key_share < 1 else ""
        return f"{self.keyframes}{dial}{bound}{'' if self.refine else ', not repaired'}"


BASELINE = Method("every:1", refine=False)


def load(method: Method, arguments: argparse.Namespace) -> tuple[SegmenterLike, dict[str, Any]]:
    """A method's segmenter, and the description of its network; all share one network and one refiner."""
    choice = ModelChoice(arguments.model, arguments.weights, refine=method.refine)
    options = Options(keyframes=method.keyframes, quality=method.quality, max_key_share=method.max_key_share)
    engine = load_model(choice, options, load_settings())
    return engine.segmenter, engine.description


def compare(
    sequences: Iterable[DavisSequence],
    encoders: Sequence[Encoder],
    methods: Sequence[Method],
    arguments: argparse.Namespace,
    motion: str = "auto",
) -> dict[str, Any]:
    """Run the network on every frame and all methods over every sequence in every encoding; figures are over all clips.

    Returns:
        `encoders`: name and options of each; `motion_source`, `sequences`, `model`; `frames`: of all clips, so those of
        a sequence as often as it was encoded; `baseline`: J, F, JF, fps and `by_sequence` of the network on every
        frame; `runs`: a method's name -> the summary of `keymask eval --baseline`, with `method` and `correct_ms`.
    """
    segmenters = {method: load(method, arguments)[0] for method in (BASELINE, *methods)}
    warmed: set[tuple[int, int]] = set()
    results: dict[Method, list[SequenceResult]] = {method: [] for method in methods}
    clips = ((sequence, encoder) for sequence in sequences for encoder in encoders)
    for turn, (sequence, encoder) in enumerate(clips):
        clip = encode(map(read_picture, sequence.pictures), encoder)
        if sequence.size not in warmed:
            for segmenter in segmenters.values():
                warm_up(clip, sequence, segmenter, motion)
            warmed.add(sequence.size)
        with open_video(clip, motion=motion) as video:
            source = video.info.motion_source
        outcomes: dict[Method, MethodResult] = {}
        for method in rotated(list(segmenters), turn):
            outcomes[method] = run_sequence(clip, sequence, segmenters[method], motion)
        for method in methods:
            base = outcomes[BASELINE]
            results[method].append(
                SequenceResult(sequence.name, len(sequence.pictures), len(clip), source, outcomes[method], base)
            )
        print(f"   {encoder.name} {_given(encoder)}: {sequence.name} done", flush=True)
    runs = {method.name: summary(method, results[method]) for method in methods}
    some = results[methods[0]]
    return {
        "encoders": [{"name": encoder.name, "options": encoder.all_options} for encoder in encoders],
        "motion_source": " and ".join(dict.fromkeys(result.motion_source.value for result in some)),
        "sequences": list(dict.fromkeys(result.name for result in some)),
        "frames": sum(result.frames for result in some),
        "model": load(BASELINE, arguments)[1],
        "baseline": baseline(some),
        "runs": runs,
    }


def rotated(methods: list[Method], turn: int) -> list[Method]:
    """The methods, beginning with another one each turn."""
    start = turn % len(methods)
    return methods[start:] + methods[:start]


def baseline(results: Sequence[SequenceResult]) -> dict[str, Any]:
    """What the base network on every frame reached, in all and by sequence."""
    single = {name: found["baseline"] for name, found in by_sequence(results).items()}
    return {**summarize(results)["baseline"], "by_sequence": single}


def summary(method: Method, results: Sequence[SequenceResult]) -> dict[str, Any]:
    """The summary of one method, with what the correction cost a carried frame.

    `correct_ms` is the stage "correct" over the frames that were carried: the look at key frames is part of it, and so
    are repairs that were thrown away because the policy made the frame key after all. Null where nothing is repaired.
    """
    found = summarize(results)
    stats = [result.method.stats for result in results]
    carried = sum(s.frames.get(MaskSource.PROPAGATED, 0) + s.frames.get(MaskSource.FALLBACK, 0) for s in stats)
    seconds = sum(s.seconds.get("correct", 0.0) for s in stats)
    single = {name: {key: one[key] for key in _KEPT} for name, one in by_sequence(results).items()}
    return {
        "method": asdict(method),
        **{key: value for key, value in found.items() if key not in ("baseline", "sequences")},
        "correct_ms": round(1000 * seconds / carried, 2) if method.refine and carried else None,
        "by_sequence": single,
    }


def by_sequence(results: Sequence[SequenceResult]) -> dict[str, dict[str, Any]]:
    """A sequence's name -> the summary of all its encodings, made as the one of all sequences is."""
    groups: dict[str, list[SequenceResult]] = {}
    for result in results:
        groups.setdefault(result.name, []).append(result)
    return {name: summarize(group) for name, group in groups.items()}


def first_frames(sequence: DavisSequence, count: int | None) -> DavisSequence:
    """A sequence cut after so many frames, or all of it."""
    if count is None:
        return sequence
    annotations = {index: file for index, file in sequence.annotations.items() if index < count}
    return replace(sequence, pictures=sequence.pictures[:count], annotations=annotations)


def _given(encoder: Encoder) -> str:
    return ",".join(f"{key}={value}" for key, value in encoder.all_options.items())
