"""Every number of a training run, in one frozen place that is written into the weights' metadata."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise


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
        hardest: Share of the pixels that the loss is taken over in the end, the worst ones.
        real_clips: Share of clips cut from videos; the others are made from stills.
        copy_paste: Share of still clips whose object moves over another still.
        absent: Share of these clips in which it is gone for some frames.
        distractors: Share of clips in which something that looks like the object moves too, and is not to be followed.
        occluders: Share of clips with something pasted over.
        two_objects: Share of batches with two objects.
        zoom_spread: How much of the range of zooms is drawn from, 1: all of it, 0: its middle alone.
        spoiled_memory: Share of frames whose masks in memory have parts lost or leaked.
        wrong_hints: Share of frames in which the mask that the network is told to expect is another one than its own.
    """

    seed: int = 1
    stages: tuple[Stage, ...] = (
        Stage(steps=1700, frames=3, clips=6, crop=256, widest_gap=2),
        Stage(steps=3200, frames=5, clips=4, crop=256, widest_gap=5),
        Stage(steps=850, frames=5, clips=2, crop=384, widest_gap=12),
    )
    learning_rate: float = 1e-3
    backbone_rate: float = 0.15
    weight_decay: float = 0.02
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema: float = 0.998
    top_k: int = 24
    hardest: float = 0.2
    real_clips: float = 0.62
    copy_paste: float = 0.45
    absent: float = 0.0
    distractors: float = 0.3
    occluders: float = 0.2
    two_objects: float = 0.25
    zoom_spread: float = 1.0
    spoiled_memory: float = 0.3
    wrong_hints: float = 0.45
    set_weights: dict[str, float] = field(
        default_factory=lambda: {
            "davis2016_train": 5.0,
            "chen_xiph": 1.5,
            "cdnet_highway": 0.7,
            "segtrack": 3.0,
            "pumavos_xmem2": 2.0,
            "ccp_clothing": 0.25,
            "bsds500_regions": 0.8,
            "weizmann_horse": 1.5,
            "coco128_seg": 5.0,
        }
    )

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
