"""All numbers of a training run of the base network; the weights' metadata record them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

_SET_WEIGHTS = {
    "davis2016_train": 5.0,
    "chen_xiph": 1.5,
    "cdnet_highway": 0.7,
    "segtrack": 3.0,
    "pumavos_xmem2": 2.0,
    "moseg_bms26": 1.5,
    "nyu_clevrer": 1.5,
    "droplets": 0.5,
    "ccp_clothing": 0.2,
    "bsds500_regions": 0.3,
    "weizmann_horse": 0.8,
    "coco128_seg": 3.0,
    "coco_minis": 3.0,
    "coco_minis2": 1.5,
    "feral_cats": 1.5,
    "soccer_via": 2.0,
    "cars_via": 1.5,
    "pigs_via": 0.7,
    "food_via": 0.7,
    "kangaroo_via": 0.7,
    "droplets_stills": 0.5,
    "tower_blocks": 0.5,
    "davis17_testch_first": 6.0,
    "pets_sample": 1.5,
    "tools_via": 1.5,
    "cow_coseg": 1.5,
    "voc_few": 3.0,
}
"""Weight per set: small for coarse masks, for regions that are not objects, and for many unlabelled objects."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with one shape of batch.

    Attributes:
        steps: Number of batches.
        frames: Frames per clip.
        clips: Clips per batch.
        crop: Side of a frame in pixels.
        widest_gap: Largest distance of neighbouring clip frames, in video frames.
    """

    steps: int
    frames: int
    clips: int
    crop: int
    widest_gap: int = 12


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers of a training run of the base network.

    Attributes:
        seed: Seed of everything random.
        stages: Short clips with small gaps first, then longer clips with larger gaps, then larger crops.
        learning_rate: Peak learning rate.
        backbone_rate: Learning rate of the backbone as a share of the learning rate; 0 freezes the backbone.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up.
        clip_norm: Largest norm of the gradient.
        ema: Decay of the moving average of the weights.
        top_k: Memory positions that each query position reads.
        hardest: Share of the hardest pixels that the cross-entropy is taken over at the end of the run.
        presence: Weight of the presence loss.
        real_clips: Share of clips cut from videos; all other clips are made from stills.
        copy_paste: Share of still clips in which the still is only a backdrop for pasted objects.
        followed: Number of followed objects per clip -> share of the batches.
        tiny: Share of pasted objects with a side of only 8 to 40 pixels.
        absent: Share of clips that an object leaves, or that cut to another clip, for some frames or until the end.
        rivals: Share of clips with a moving rival, which looks like an object but is not followed.
        occluders: Share of clips in which something passes over an object.
        zoomed: Share of video clips whose zoom changes throughout, by up to three times.
        zoom_spread: Share of the range of zooms that is drawn from; 0 draws its middle only.
        spoiled_memory: Share of frames whose masks in memory have lost or leaked parts.
        wrong_hints: Share of frames in which the expected mask is not the network's own.
        least_share: Smallest share of a still's area for an object to be followed.
        spacing: Video frames between neighbouring frames of a set of sparse sequences; 1 for all other sets.
        fold: "K/N" leaves out part K of N of the sequences of `fold_sets`; "" leaves out none.
        fold_sets: Sets that folds divide.
        set_weights: Weight with which each item of a set is drawn; 1 for sets that are not named.
    """

    seed: int = 1
    stages: tuple[Stage, ...] = (
        Stage(steps=500, frames=3, clips=4, crop=256, widest_gap=5),
        Stage(steps=6000, frames=5, clips=2, crop=256, widest_gap=12),
        Stage(steps=2500, frames=7, clips=2, crop=320, widest_gap=20),
    )
    learning_rate: float = 1e-3
    backbone_rate: float = 0.15
    weight_decay: float = 0.02
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema: float = 0.998
    top_k: int = 24
    hardest: float = 0.2
    presence: float = 0.2
    real_clips: float = 0.55
    copy_paste: float = 0.5
    followed: dict[int, float] = field(default_factory=lambda: {1: 0.55, 2: 0.25, 3: 0.13, 5: 0.07})
    tiny: float = 0.25
    absent: float = 0.3
    rivals: float = 0.3
    occluders: float = 0.25
    zoomed: float = 0.25
    zoom_spread: float = 1.0
    spoiled_memory: float = 0.3
    wrong_hints: float = 0.45
    least_share: float = 0.002
    spacing: dict[str, int] = field(default_factory=lambda: {"moseg_bms26": 10, "borrat_teacher": 30, "ytvos_opn": 15})
    fold: str = ""
    fold_sets: tuple[str, ...] = ("davis2016_train", "segtrack", "moseg_bms26")
    set_weights: dict[str, float] = field(default_factory=lambda: dict(_SET_WEIGHTS))

    @property
    def steps(self) -> int:
        """Total steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """Return the stage of a step; beyond the end, the last stage."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def scaled(self, steps: int) -> Recipe:
        """Return the recipe with another number of steps, stages in the same proportion."""
        bounds = [0]
        for stage in self.stages:
            bounds.append(bounds[-1] + stage.steps)
        cuts = [round(bound * steps / self.steps) for bound in bounds]
        lengths = [after - before for before, after in pairwise(cuts)]
        return replace(
            self,
            stages=tuple(replace(stage, steps=n) for stage, n in zip(self.stages, lengths, strict=True)),
        )

    def as_dict(self) -> dict[str, object]:
        """Return plain values for metadata."""
        return asdict(self)
