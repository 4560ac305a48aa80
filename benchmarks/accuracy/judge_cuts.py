"""Clips that cut away and back: frames of one sequence, as many of another, and the first one's again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

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
"""Frames of each of the three parts."""
PAIRS = 5


class Listening(VOSNetwork):
    """Another network, whose logits of presence are written down frame by frame.

    Args:
        inner: The network that works.
    """

    def __init__(self, inner: VOSNetwork) -> None:
        super().__init__()
        self.inner = inner
        self.name, self.stride = inner.name, inner.stride
        self.heard: list[float] = []

    def normalize(self, rgb: Tensor) -> Tensor:
        """As the network that works."""
        return self.inner.normalize(rgb)

    def encode(self, image: Tensor) -> Features:
        """As the network that works."""
        return self.inner.encode(image)

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """As the network that works."""
        return self.inner.memorize(features, masks)

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """As the network that works, of one object."""
        predicted = self.inner.predict(features, memory, previous, top_k)
        if predicted.presence is not None:
            self.heard.append(float(predicted.presence[0]))
        return predicted.logits


def cuts(weights: Path, sequences: Sequence[DavisSequence]) -> dict[str, Any]:
    """What the network on every frame makes of clips A-B-A of a sequence and the one after it.

    Returns:
        `invented`: share of B's frames with a mask; `invented_score`: their mean score; `returned`: mean J of A's
        frames after B; `presence_auroc`: how well the presence head tells A's frames from B's, if there is one.
    """
    network = Listening(load_network(DEFAULT, weights=str(weights)))
    segmenter = Segmenter(network, Options(keyframes="every:1"))
    invented: list[float] = []
    doubts: list[float] = []
    returned: list[float] = []
    heard: dict[bool, list[float]] = {True: [], False: []}
    for first, second in list(zip(sequences, [*sequences[1:], sequences[0]], strict=True))[:PAIRS]:
        network.heard.clear()
        clip = encode(pictures(first, second), Encoder())
        with open_video(clip) as video:
            masks = list(segmenter.run(video, video.info, Prompt(first.labels(0))))
        for mask in masks:
            if LENGTH <= mask.index < 2 * LENGTH:
                invented.append(float(mask.labels.any()))
                doubts += [max(mask.scores.values())] if mask.labels.any() else []
            elif mask.index >= 2 * LENGTH:
                found = score_objects(mask.labels, first.labels(mask.index - LENGTH), first.object_ids)
                returned.append(float(np.mean([score.j for score in found.values()])))
        for index, logit in enumerate(network.heard, start=1):
            heard[not LENGTH <= index < 2 * LENGTH].append(logit)
    result: dict[str, Any] = {"invented": float(np.mean(invented)), "returned": float(np.mean(returned))}
    if doubts:
        result["invented_score"] = float(np.mean(doubts))
    if heard[False]:
        result["presence_auroc"] = auroc(heard[True], heard[False])
    return result


def pictures(first: DavisSequence, second: DavisSequence) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """RGB frames of A-B-A, B's at A's size."""
    shown, other = ([read_picture(file) for file in one.pictures[: 2 * LENGTH]] for one in (first, second))
    between = [np.asarray(cv2.resize(picture, first.size), np.uint8) for picture in other[:LENGTH]]
    return [*shown[:LENGTH], *between, *shown[LENGTH:]]


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """How often a value of the first kind is larger than one of the second; half of the ties count."""
    a, b = np.array(positive)[:, None], np.array(negative)[None]
    return float((a > b).mean() + (a == b).mean() / 2)
