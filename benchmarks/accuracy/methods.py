"""Compares methods: the base network and all methods segment each encoding of each sequence in turns."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from codec.encode import Encoder, encode
from service.config import load_settings
from service.run.model_loader import choice_of, load_model
from service.run.options import RunOptions
from service.run.segment import segment
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.evaluate import MethodResult, SegmentClip, SequenceResult, read_picture, run_sequence, warm_up
from vos.evaluation.summary import summarize
from vos.types import MaskSource

_KEPT = ("J", "F", "JF", "fps", "key_share", "loss", "speedup", "copy")
"""Figures kept per sequence, over all its encodings."""


@dataclass(frozen=True)
class Method:
    """A choice of key frames and of how propagated masks are treated.

    Attributes:
        keyframes: "adaptive", "codec" or "every:N".
        quality: Quality level of adaptive.
        max_key_share: Largest share of key frames of adaptive, 0 to 1.
        refine: Whether propagated masks are refined.
    """

    keyframes: str
    quality: str = "balanced"
    max_key_share: float = 1.0
    refine: bool = True

    @property
    def family(self) -> str:
        """Policy without its number."""
        return self.keyframes.partition(":")[0]

    @property
    def name(self) -> str:
        """Name in tables."""
        quality = f" {self.quality}" if self.family == "adaptive" else ""
        bound = f", keys at most {100 * self.max_key_share:.0f} %" if self.max_key_share < 1 else ""
        return f"{self.keyframes}{quality}{bound}{'' if self.refine else ', not refined'}"


BASELINE = Method("every:1", refine=False)


def load(method: Method, arguments: argparse.Namespace) -> tuple[SegmentClip, dict[str, Any]]:
    """Return how a method segments a clip, and the description of its networks, which all methods share."""
    options = RunOptions(model=arguments.model, weights=arguments.weights, **asdict(method))
    model = load_model(choice_of(options), options.for_segmenter(), load_settings())
    return partial(segment, options=options, load=lambda *_: model), model.description


def compare(
    sequences: Iterable[DavisSequence],
    encoders: Sequence[Encoder],
    methods: Sequence[Method],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Run the network on every frame, and all methods, over every sequence in every encoding.

    Returns:
        `encoders` holds name and options of each encoder; `motion_source`, `sequences` and `model` describe the clips
        and the network. `frames` counts the frames of all clips. `baseline` holds J, F, JF, fps and `by_sequence` of
        the network on every frame. `runs` maps a method's name to the summary of `keymask eval --baseline`, extended
        by `method` and `correct_ms`.
    """
    segmenters = {method: load(method, arguments)[0] for method in (BASELINE, *methods)}
    warmed: set[tuple[int, int]] = set()
    results: dict[Method, list[SequenceResult]] = {method: [] for method in methods}
    clips = ((sequence, encoder) for sequence in sequences for encoder in encoders)
    for turn, (sequence, encoder) in enumerate(clips):
        clip = encode(map(read_picture, sequence.pictures), encoder)
        if sequence.size not in warmed:
            for segmenter in segmenters.values():
                warm_up(clip, sequence, segmenter)
            warmed.add(sequence.size)
        outcomes: dict[Method, MethodResult] = {}
        for method in rotated(list(segmenters), turn):
            outcomes[method] = run_sequence(clip, sequence, segmenters[method])
        for method in methods:
            base, source = outcomes[BASELINE], outcomes[method].motion_source
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
    """Return the methods, starting with another one each turn."""
    start = turn % len(methods)
    return methods[start:] + methods[:start]


def baseline(results: Sequence[SequenceResult]) -> dict[str, Any]:
    """Summarize the base network on every frame, overall and by sequence."""
    single = {name: found["baseline"] for name, found in by_sequence(results).items()}
    return {**summarize(results)["baseline"], "by_sequence": single}


def summary(method: Method, results: Sequence[SequenceResult]) -> dict[str, Any]:
    """Summarize one method, with the cost of refinement per propagated frame.

    `correct_ms` is the time of stage "correct" over the number of propagated frames. It includes key frames, and
    refinements of frames that the policy then made key. It is null without refinement.
    """
    found = summarize(results)
    stats = [result.method.stats for result in results]
    propagated = sum(s.frames.get(MaskSource.PROPAGATED, 0) + s.frames.get(MaskSource.FALLBACK, 0) for s in stats)
    seconds = sum(s.seconds.get("correct", 0.0) for s in stats)
    single = {name: {key: one[key] for key in _KEPT} for name, one in by_sequence(results).items()}
    return {
        "method": asdict(method),
        **{key: value for key, value in found.items() if key not in ("baseline", "sequences")},
        "correct_ms": round(1000 * seconds / propagated, 2) if method.refine and propagated else None,
        "by_sequence": single,
    }


def by_sequence(results: Sequence[SequenceResult]) -> dict[str, dict[str, Any]]:
    """Summarize all encodings of each sequence."""
    groups: dict[str, list[SequenceResult]] = {}
    for result in results:
        groups.setdefault(result.name, []).append(result)
    return {name: summarize(group) for name, group in groups.items()}


def first_frames(sequence: DavisSequence, count: int | None) -> DavisSequence:
    """Return the first `count` frames of a sequence, or all frames if `count` is None."""
    if count is None:
        return sequence
    annotations = {index: file for index, file in sequence.annotations.items() if index < count}
    return replace(sequence, pictures=sequence.pictures[:count], annotations=annotations)


def _given(encoder: Encoder) -> str:
    return ",".join(f"{key}={value}" for key, value in encoder.all_options.items())
