"""Coded clips for the refiner: random scenes, encoded by a random encoder and read back.

Clip number i is a function of the seed and i alone, so runs can be resumed and several processes can make clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import cv2
import numpy as np

from codec import CompressedFrame, VideoInfo, open_video
from codec.encode import encode
from codec.types import UInt8Array
from vos.training.common.errors import TrainingDataError
from vos.training.data.clips import Clip
from vos.training.data.datasets import LabeledStill, LabeledVideo, TrainingData
from vos.training.data.photometry import grade
from vos.training.data.random_encoders import describe, random_encoder
from vos.training.data.scene_sampler import Weighted, still_scene, video_scene

_DRAWS = 20


@dataclass(frozen=True, slots=True)
class CodedRecipe:
    """Numbers by which coded clips are drawn.

    Attributes:
        real: Share of clips that are runs of a video; all other clips are made of stills, some over a video.
        frames: Smallest and largest number of frames per clip.
        sizes: Candidates for the (height, width) of a clip in pixels, multiples of 16.
        least_share: Smallest share of the first frame for an object to be followed.
        most_objects: Largest number of followed objects per clip.
        set_weights: Weight with which each item of a set is drawn; 1 for sets that are not named. Videos shorter than
            a clip are never drawn.
    """

    real: float = 0.65
    frames: tuple[int, int] = (10, 14)
    sizes: tuple[tuple[int, int], ...] = ((384, 384), (352, 448), (384, 448), (416, 416), (448, 448))
    least_share: float = 0.003
    most_objects: int = 3
    set_weights: dict[str, float] = field(
        default_factory=lambda: {
            "davis2016_train": 5.0,
            "chen_xiph": 0.8,
            "cdnet_highway": 0.3,
            "segtrack": 3.0,
            "pumavos_xmem2": 2.0,
            "ytvos_opn": 0.0,
            "ccp_clothing": 0.3,
            "bsds500_regions": 0.3,
            "weizmann_horse": 1.5,
            "coco128_seg": 3.0,
        }
    )


@dataclass(frozen=True, slots=True, eq=False)
class CodedClip:
    """A clip as the reader yields it, and its truth.

    Attributes:
        frames: Frames in decode order, at the size of `labels`. They hold their RGB picture and can be pickled.
        labels: uint8 [T, H, W] by presentation index: 0 background, 1..K objects, all visible in the first frame.
        info: Stream information from the reader.
        name: Source of the pictures, for logs.
        settings: Encoder and options, for logs.
    """

    frames: tuple[CompressedFrame, ...]
    labels: UInt8Array
    info: VideoInfo
    name: str
    settings: str

    @property
    def objects(self) -> int:
        """Number of objects K."""
        return int(self.labels[0].max())


def coded_clips(
    data: TrainingData, seed: int, recipe: CodedRecipe | None = None, *, first: int = 0, every: int = 1
) -> Iterator[CodedClip]:
    """Yield clips number first, first + every, first + 2 * every, ... of a seed, without end.

    Raises:
        TrainingDataError: No sequence is long enough and no still has an object.
    """
    recipe = recipe or CodedRecipe()
    videos = Weighted[LabeledVideo].of(
        (name, [video for video in members if len(video.frames) >= recipe.frames[1]], recipe.set_weights)
        for name, members in sorted(data.videos.items())
    )
    stills = Weighted[LabeledStill].of(
        (name, members, recipe.set_weights) for name, members in sorted(data.stills.items())
    )
    if not videos.items and not stills.items:
        raise TrainingDataError(
            f"no training data for coded clips: they need sequences of at least {recipe.frames[1]} frames, or stills "
            "with objects"
        )
    for number in count(first, every):
        yield _coded_clip(np.random.default_rng([seed, number]), videos, stills, recipe)


def _coded_clip(
    rng: np.random.Generator, videos: Weighted[LabeledVideo], stills: Weighted[LabeledStill], recipe: CodedRecipe
) -> CodedClip:
    cv2.setNumThreads(0)
    clip, name = _scene(rng, videos, stills, recipe)
    encoder = random_encoder(rng)
    data = encode(grade(rng, clip.images), encoder)
    with open_video(data, short_side=min(clip.labels.shape[1:])) as reader:
        frames = tuple(replace(frame, to_rgb=_StoredPicture(frame.rgb()), to_planes=None) for frame in reader)
    if sorted(frame.index for frame in frames) != list(range(len(clip.labels))):
        raise ValueError(f"{len(clip.labels)} pictures became {len(frames)} frames: {name} by {describe(encoder)}")
    return CodedClip(frames, clip.labels, reader.info, name, describe(encoder))


def _scene(
    rng: np.random.Generator, videos: Weighted[LabeledVideo], stills: Weighted[LabeledStill], recipe: CodedRecipe
) -> tuple[Clip, str]:
    """Draw a scene, again and again until the first frame shows its objects."""
    for _ in range(_DRAWS):
        frames = int(rng.integers(recipe.frames[0], recipe.frames[1] + 1))
        size = recipe.sizes[int(rng.integers(len(recipe.sizes)))]
        live = bool(videos.items) and (not stills.items or rng.random() < recipe.real)
        scene = (
            video_scene(rng, videos, stills, frames, size) if live else still_scene(rng, videos, stills, frames, size)
        )
        if scene is not None and _choose(rng, scene[0], recipe):
            return scene
    raise TrainingDataError(f"no object large enough to follow in {_DRAWS} draws; check the masks of the training data")


def _choose(rng: np.random.Generator, clip: Clip, recipe: CodedRecipe) -> bool:
    """Relabel up to `most_objects` of the objects in the first frame as 1..K; return whether there are any."""
    sizes = np.bincount(clip.labels[0].ravel(), minlength=256)
    visible = [i for i in range(1, 256) if sizes[i] >= recipe.least_share * clip.labels[0].size]
    table = np.zeros(256, np.uint8)
    for number, i in enumerate(rng.permutation(visible)[: recipe.most_objects], start=1):
        table[int(i)] = number
    clip.labels = table[clip.labels]
    return bool(visible)


@dataclass(frozen=True, slots=True, eq=False)
class _StoredPicture:
    """Returns a stored RGB picture; unlike a function of the decoded picture, it can be pickled."""

    picture: UInt8Array

    def __call__(self) -> UInt8Array:
        return self.picture
