"""Every number of a training run, in one frozen place that is written into the weights' metadata."""

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
"""Sets that are coarse, not made of objects, or in which many objects are unlabelled weigh little."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of the run with one shape of batch.

    Attributes:
        steps: How many batches.
        frames: Of a clip.
        clips: Of a batch.
        crop: Side of a frame in pixels.
        widest_gap: Most frames of a video from one frame of a real clip to the next.
    """

    steps: int
    frames: int
    clips: int
    crop: int
    widest_gap: int = 12


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the base network is trained.

    Attributes:
        stages: Short clips with small gaps first, then longer ones with larger gaps, then larger crops.
        set_weights: How often a set's items are drawn, per item; 1 for sets that are not named.
        spacing: Frames of the film from one to the next that a set of sparse sequences holds; 1 for others.
        least_share: Smallest share of a still's area that an object needs.
        backbone_rate: The backbone's learning rate as a share of the others'; 0 leaves it as it is.
        hardest: Share of the pixels that the loss is taken over in the end, the worst ones.
        presence: Weight of the loss of the presence head.
        real_clips: Share of clips cut from videos; the others are made from stills.
        copy_paste: Share of still clips whose objects are pasted over the still, which is a backdrop then.
        followed: Number of objects in a batch's clips -> share of the batches.
        tiny: Share of pasted objects that are only 8 to 40 pixels large.
        absent: Share of clips that an object leaves, or that are cut to another one, for some frames or for good.
        rivals: Share of clips in which something that looks like the object moves too, and is not to be followed.
        occluders: Share of clips with something that passes over an object.
        zoomed: Share of clips of videos whose zoom changes throughout, up to three times.
        zoom_spread: How much of the range of zooms is drawn from, 1: all of it, 0: its middle alone.
        spoiled_memory: Share of frames whose masks in memory have parts lost or leaked.
        wrong_hints: Share of frames in which the mask that the network is told to expect is another one than its own.
        fold: "K/N" leaves out every N-th part of the sequences of `fold_sets`, the K-th; "" none.
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
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage of a step; the last one beyond the end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def scaled(self, steps: int) -> Recipe:
        """The same run in another number of steps, stages in the same proportion."""
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
        """Plain values for metadata."""
        return asdict(self)
