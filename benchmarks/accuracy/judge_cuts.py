"""Judge weights on clips that cut to another sequence and back (A-B-A)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from benchmarks.speed.stub_networks import WrappedNetwork
from codec import open_video
from codec.encode import Encoder, encode
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import score_objects
from vos.modeling.network import Features, FramePrediction, Memory, VOSNetwork
from vos.segmenter import Segmenter
from vos.types import Options, Prompt
from vos.weights.catalog import DEFAULT
from vos.weights.load import load_network, load_refiner

LENGTH = 20
"""Frames per part."""
PAIRS = 5


class PresenceRecorder(WrappedNetwork):
    """Records the presence logits of a network frame by frame."""

    def __init__(self, inner: VOSNetwork) -> None:
        super().__init__(inner)
        self.presence_logits: list[float] = []

    def predict(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> FramePrediction:
        """Predict with the inner network and record the presence of the first object."""
        predicted = self.inner.predict(features, memory, previous, top_k)
        if predicted.presence is not None:
            self.presence_logits.append(float(predicted.presence[0]))
        return predicted


def cuts(weights: Path, sequences: Sequence[DavisSequence]) -> dict[str, dict[str, float]]:
    """Run the network on every frame, and default options with refinement, over clips A-B-A.

    A clip is made of each sequence and the next one.

    Returns:
        Figures by policy. `invented`: share of frames in B with a mask; `invented_score`: their mean score; `returned`:
        mean J of the frames after B; `score_auroc`: AUROC of the score for frames in which an object is found (its
        true J is at least 0.5) against all others, if any is found; `presence_auroc`, where the network runs on every
        frame: AUROC of the presence head for frames of A against frames of B, if there is such a head.
    """
    loaded = load_network(DEFAULT, weights=str(weights))
    assert isinstance(loaded, VOSNetwork)
    pairs = list(zip(sequences, [*sequences[1:], sequences[0]], strict=True))[:PAIRS]
    network = PresenceRecorder(loaded)
    every = _run(Segmenter(network, Options(keyframes="every:1")), pairs)
    present, absent = _by_part(network.presence_logits, len(pairs))
    if absent:
        every["presence_auroc"] = auroc(present, absent)
    return {"every frame": every, "adaptive": _run(Segmenter(loaded, Options(), load_refiner()), pairs)}


def _run(segmenter: Segmenter, pairs: Sequence[tuple[DavisSequence, DavisSequence]]) -> dict[str, float]:
    """Return the figures of one policy."""
    invented: list[float] = []
    returned: list[float] = []
    scores: dict[bool, list[float]] = {True: [], False: []}
    for first, second in pairs:
        clip = encode(pictures(first, second), Encoder())
        with open_video(clip) as video:
            masks = list(segmenter.run(video, video.info, Prompt(first.labels(0))))
        for mask in masks[1:]:
            if LENGTH <= mask.index < 2 * LENGTH:
                scores[False] += mask.scores.values()
                invented.append(max(mask.scores.values()) if mask.labels.any() else np.nan)
                continue
            time = mask.index if mask.index < LENGTH else mask.index - LENGTH
            found = score_objects(mask.labels, first.labels(time), first.object_ids)
            for object_id, score in mask.scores.items():
                scores[found[object_id].j >= 0.5].append(score)
            if mask.index >= LENGTH:
                returned.append(float(np.mean([score.j for score in found.values()])))
    drawn = np.array(invented)[~np.isnan(invented)]
    result = {"invented": len(drawn) / len(invented), "returned": float(np.mean(returned))}
    if len(drawn):
        result["invented_score"] = float(drawn.mean())
    if scores[True]:
        result["score_auroc"] = auroc(scores[True], scores[False])
    return result


def _by_part(logits: Sequence[float], clips: int) -> tuple[list[float], list[float]]:
    """Divide presence logits, one per frame but the prompt frame of each clip, into those of A and those of B."""
    parts: tuple[list[float], list[float]] = [], []
    for number, logit in enumerate(logits):
        index = 1 + number % (len(logits) // clips)
        parts[LENGTH <= index < 2 * LENGTH].append(logit)
    return parts


def pictures(first: DavisSequence, second: DavisSequence) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """RGB frames of A-B-A; those of B are resized to the size of A."""
    shown, other = ([read_picture(file) for file in one.pictures[: 2 * LENGTH]] for one in (first, second))
    between = [np.asarray(cv2.resize(picture, first.size), np.uint8) for picture in other[:LENGTH]]
    return [*shown[:LENGTH], *between, *shown[LENGTH:]]


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Share of pairs in which the positive value is larger; ties count half."""
    a, b = np.array(positive)[:, None], np.array(negative)[None]
    return float((a > b).mean() + (a == b).mean() / 2)
