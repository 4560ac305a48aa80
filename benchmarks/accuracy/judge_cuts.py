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
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.segmenter import Segmenter
from vos.types import Options, Prompt
from vos.weights.catalog import DEFAULT
from vos.weights.load import load_network

LENGTH = 20
"""Frames per part."""
PAIRS = 5


class PresenceRecorder(WrappedNetwork):
    """Records the presence logits of a network frame by frame."""

    def __init__(self, inner: VOSNetwork) -> None:
        super().__init__(inner)
        self.presence_logits: list[float] = []

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Segment with the inner network and record the presence of the first object."""
        predicted = self.inner.predict(features, memory, previous, top_k)
        if predicted.presence is not None:
            self.presence_logits.append(float(predicted.presence[0]))
        return predicted.logits


def cuts(weights: Path, sequences: Sequence[DavisSequence]) -> dict[str, Any]:
    """Run the network on every frame of clips A-B-A, made of each sequence and the next one.

    Returns:
        `invented`: share of frames in B with a mask; `invented_score`: their mean score; `returned`: mean J of the
        frames after B; `presence_auroc`: AUROC of the presence head for frames of A against frames of B, if there is
        such a head.
    """
    loaded = load_network(DEFAULT, weights=str(weights))
    assert isinstance(loaded, VOSNetwork)
    network = PresenceRecorder(loaded)
    segmenter = Segmenter(network, Options(keyframes="every:1"))
    invented: list[float] = []
    invented_scores: list[float] = []
    returned: list[float] = []
    logits: dict[bool, list[float]] = {True: [], False: []}
    for first, second in list(zip(sequences, [*sequences[1:], sequences[0]], strict=True))[:PAIRS]:
        network.presence_logits.clear()
        clip = encode(pictures(first, second), Encoder())
        with open_video(clip) as video:
            masks = list(segmenter.run(video, video.info, Prompt(first.labels(0))))
        for mask in masks:
            if LENGTH <= mask.index < 2 * LENGTH:
                invented.append(float(mask.labels.any()))
                invented_scores += [max(mask.scores.values())] if mask.labels.any() else []
            elif mask.index >= 2 * LENGTH:
                found = score_objects(mask.labels, first.labels(mask.index - LENGTH), first.object_ids)
                returned.append(float(np.mean([score.j for score in found.values()])))
        for index, logit in enumerate(network.presence_logits, start=1):
            logits[not LENGTH <= index < 2 * LENGTH].append(logit)
    result: dict[str, Any] = {"invented": float(np.mean(invented)), "returned": float(np.mean(returned))}
    if invented_scores:
        result["invented_score"] = float(np.mean(invented_scores))
    if logits[False]:
        result["presence_auroc"] = auroc(logits[True], logits[False])
    return result


def pictures(first: DavisSequence, second: DavisSequence) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """RGB frames of A-B-A; those of B are resized to the size of A."""
    shown, other = ([read_picture(file) for file in one.pictures[: 2 * LENGTH]] for one in (first, second))
    between = [np.asarray(cv2.resize(picture, first.size), np.uint8) for picture in other[:LENGTH]]
    return [*shown[:LENGTH], *between, *shown[LENGTH:]]


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Share of pairs in which the positive value is larger; ties count half."""
    a, b = np.array(positive)[:, None], np.array(negative)[None]
    return float((a > b).mean() + (a == b).mean() / 2)
