"""One video being segmented, wave by wave: propagate -> decide -> segment or refine -> store -> emit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, VideoInfo
from vos.keyframes.base_network import BaseNetwork, VideoSetup
from vos.keyframes.history import KeyframeHistory
from vos.keyframes.identity import KNOWN_COVERAGE, Presence, distant_parts, without_parts
from vos.keyframes.keyframe_segmenter import begin_video
from vos.keyframes.policy import FrameContext, KeyframePolicy
from vos.keyframes.scene_change import SceneWatch
from vos.masks.geometry import prompt_to_soft, to_grid
from vos.masks.labels import Labeler
from vos.modeling.aggregate import without_objects
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner
from vos.propagation.propagate import Propagated, propagate
from vos.propagation.warp import ReferenceStore
from vos.refinement.mask_refiner import BUDGETS, MaskRefiner
from vos.runtime.run_state import HeldReference, RunState
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools, one_thread
from vos.runtime.waves import Wave, one_by_one, waves
from vos.types import FrameMask, MaskSource, Options, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class _Estimate:
    """Masks of a frame that the base network has not segmented, and the uncertainty per object, float32 [K]."""

    frame: CompressedFrame
    masks: Propagated
    uncertainty: Tensor


class Session:
    """State of one video: the memory of key frames, the references to propagate from, and masks not yet emitted.

    Args:
        network: Base network, in eval mode.
        refiner: Refines propagated masks, in eval mode; None leaves them as they are.
        options: How to segment.
        policy: Decides which frames are key frames.
        pools: Threads for the frames of a wave.
        timer: Takes the time of each stage.
        info: Sizes and orientation of the video.
        prompt: Mask of one frame.

    Attributes:
        next_index: Presentation index of the next mask to emit.

    Raises:
        PromptError: The prompt mask does not match the video's display size.
    """

    def __init__(
        self, *, network: VOSNetwork | BaseNetwork, refiner: Refiner | None, options: Options, policy: KeyframePolicy,
        pools: ThreadPools, timer: StageTimer, info: VideoInfo, prompt: Prompt,
    ) -> None:  # fmt: skip
        self._policy, self._pools, self._timer = policy, pools, timer
        self._prompt, self._labeler = prompt, Labeler(prompt, info, timer, options.edges == "refined")
        self._device = next(network.parameters()).device
        self._object_ids = prompt.object_ids
        self._prompt_masks = torch.from_numpy(prompt_to_soft(prompt.labels, self._object_ids, info)).to(self._device)
        self._refiner = None if refiner is None else MaskRefiner(refiner, BUDGETS[options.quality])
        # Without refinement, propagated frames take too little time to hide other work behind them.
        self._refines = refiner is not None and policy.propagates
        beside = pools if self._refines and pools.can_work_beside else None
        setup = VideoSetup(info.analysis_height, info.analysis_width, options, beside, timer)
        self._base = begin_video(network, setup)
        self._size = self._base.size
        self._presence, self._scene = Presence(len(self._object_ids)), SceneWatch()
        self._history = KeyframeHistory(prompt.index, len(self._object_ids), self._device)
        light = 0 if refiner is None else LIGHT_CHANNELS
        self._references = ReferenceStore(len(self._object_ids) + light + 1, *self._size.grid, self._device)
        self._early: list[CompressedFrame] = []
        self._waves_seen = self._waves_done = 0
        self._unordered: dict[int, FrameMask] = {}
        self.next_index = prompt.index

    def schedule(self, frames: Iterable[CompressedFrame]) -> Iterator[Wave]:
        """Group frames in decode order into waves. Only refinement takes long enough to be worth it."""
        return waves(frames, self._prompt.index) if self._refines else one_by_one(frames)

    def process(self, wave: Wave, end: int | None) -> Iterator[FrameMask]:
        """Process the next wave and emit the masks before `end` that are next in presentation order."""
        self._waves_seen += 1
        for frame in wave.frames:
            self._scene.observe(frame)
        if self._waves_seen <= self._waves_done:
            for frame in wave.frames:
                self._restore_key(frame)
        else:
            for mask in self._segment(wave) if self._history.recent else self._await_prompt(wave):
                self._unordered[mask.index] = mask
            self._references.keep(wave.needed)
            self._waves_done = self._waves_seen
        while self.next_index in self._unordered and (end is None or self.next_index < end):
            self.next_index += 1
            yield self._unordered.pop(self.next_index - 1)

    @torch.inference_mode()
    def _segment(self, wave: Wave) -> list[FrameMask]:
        """Segment the frames of a wave, which do not depend on each other. Return their masks, key frames first."""
        masks: list[FrameMask] = []
        estimates: list[_Estimate] = []

        # Propagate masks from the references along the motion vectors.
        with self._timer.stage("warp"):
            propagated = self._pools.map(self._propagate, [f for f in wave.frames if f.index > self._prompt.index])

        for estimate in propagated:
            is_known = estimate.masks.reference_coverage >= KNOWN_COVERAGE
            if not is_known and self._scene.has_changed(estimate.frame.index):
                self._presence.note_cut()

        # Decide. Key frames are segmented first, so that the refiner can match the other frames with them.
        for estimate in propagated:
            if self._policy.is_key(estimate.frame, self._context(estimate, estimate.uncertainty)):
                masks.append(self._segment_key(estimate))
            else:
                estimates.append(estimate)

        # Refine the other masks. If one stays too uncertain, segment its frame after all.
        if estimates:
            self._prefetch_next_key(wave.ahead)
        for estimate in self._refine(estimates):
            excess = (estimate.uncertainty - self._history.uncertainty()).clamp(min=0)
            if self._policy.is_key_after_refinement(estimate.frame, self._context(estimate, excess)):
                masks.append(self._segment_key(estimate))
            else:
                self._store(estimate.frame, estimate.masks)
                source = MaskSource.PROPAGATED if estimate.masks.reference_coverage else MaskSource.FALLBACK
                masks.append(
                    self._labeler.label(estimate.frame, source, estimate.masks.soft, STRIDE, 1 - estimate.uncertainty)
                )
        return masks

    @one_thread()
    def _propagate(self, frame: CompressedFrame) -> _Estimate:
        masks = propagate(frame, self._references, len(self._object_ids))
        return _Estimate(frame, masks, masks.uncertainty_per_object())

    @one_thread()
    def _context(self, estimate: _Estimate, uncertainty: Tensor) -> FrameContext:
        return self._history.context(
            estimate.frame,
            uncertainty=float(uncertainty.max()),
            reference_coverage=estimate.masks.reference_coverage,
            lost=estimate.masks.loses_object(),
        )

    def _segment_key(self, estimate: _Estimate) -> FrameMask:
        """Segment a frame with the base network, which takes the estimate as a hint."""
        frame = estimate.frame
        features = self._base.encode(frame)
        prediction = self._base.segment(features, estimate.masks.soft)
        logits, full = self._plausible(features, prediction.logits, estimate.masks)
        presence = prediction.presence
        confidence = torch.ones(len(full)) if presence is None else torch.sigmoid(presence.float())
        self._store_key(frame, full)
        if not self._presence.absent.all():
            self._base.memorize(frame.index, features, full)
        self._note_key(frame, logits)
        return self._labeler.label(frame, MaskSource.KEY, self._size.crop(full), 1, confidence)

    def _plausible(self, features: Any, logits: Tensor, expected: Propagated) -> tuple[Tensor, Tensor]:
        """Take away parts where an object cannot be, and objects that are not in the picture.

        Returns:
            What remains: logits as `_base.segment` returns them, and soft masks [K, padded_height, padded_width].
        """
        is_known = expected.reference_coverage >= KNOWN_COVERAGE
        full = self._base.to_full(logits)
        soft, kept = to_grid(self._size.crop(full)), logits
        if is_known and (parts := distant_parts(soft, expected.soft)) is not None:
            kept = without_parts(kept, self._size.pad_grid(parts))
        if (distances := self._base.match_distances(features, soft)) is not None:
            absent = self._presence.judge(distances)
            kept = without_objects(kept, absent) if absent.any() else kept
        return kept, full if kept is logits else self._base.to_full(kept)

    def _refine(self, estimates: list[_Estimate]) -> list[_Estimate]:
        """Refine the estimates that need it, in their order; without a refiner, none does."""
        refiner = self._refiner
        if refiner is None:
            return estimates

        def refine(estimate: _Estimate) -> _Estimate:
            return _Estimate(estimate.frame, *refiner.refine(estimate.frame, estimate.masks))

        chosen = [e for e in estimates if refiner.needs_refinement(e.frame, e.uncertainty)]
        with self._timer.stage("correct"):
            refined = {e.frame.index: e for e in self._pools.map(refine, chosen)}
        return [refined.get(e.frame.index, e) for e in estimates]

    @torch.inference_mode()
    def _await_prompt(self, wave: Wave) -> list[FrameMask]:
        """Before the prompt frame, keep frames that are shown after it; segment them as soon as it arrives."""
        masks: list[FrameMask] = []
        for frame in wave.frames:
            if frame.index == self._prompt.index:
                full = self._size.pad(self._prompt_masks)
                self._store_key(frame, full)
                self._base.prompt(frame.index, self._base.encode(frame), dict(enumerate(full)))
                self._note_key(frame, None)
                masks.append(self._labeler.label_prompt(frame))
                for early in self._early:
                    masks += self._segment(Wave((early,), ()))
                self._early.clear()
            elif frame.index > self._prompt.index:
                self._early.append(frame)
        return masks

    def _store_key(self, frame: CompressedFrame, full: Tensor) -> None:
        """Keep a key frame's soft masks [K, padded_height, padded_width] for the refiner and as a reference."""
        soft = to_grid(self._size.crop(full))
        with self._timer.stage("correct"):
            light = soft[:0] if self._refiner is None else self._refiner.add_keyframe(frame, soft)
        self._store(frame, Propagated(soft, light, torch.zeros_like(soft[0]), 1.0))

    def _note_key(self, frame: CompressedFrame, logits: Tensor | None) -> None:
        """Add a memorized key frame to the history; the prompt frame has no logits."""
        self._history.add(frame.index, logits, memorized={*self._base.indices, *self._refiner_keys})

    def _prefetch_next_key(self, ahead: tuple[CompressedFrame, ...]) -> None:
        """Start to encode the first frame ahead that will be key if no uncertainty arises before it."""
        if not self._base.can_prefetch:
            return
        for frame in ahead:
            context = self._history.context(frame, uncertainty=0.0, reference_coverage=1.0, lost=False)
            if self._policy.will_be_key(frame, replace(context, frame_count=context.position)):
                self._base.prefetch(frame)
                return

    @property
    def _refiner_keys(self) -> tuple[int, ...]:
        return () if self._refiner is None else self._refiner.keys

    @one_thread()
    def _store(self, frame: CompressedFrame, masks: Propagated) -> None:
        """Keep the masks of a frame for the frames that refer to it."""
        self._history.frame_count += 1
        self._references.put(frame.decode_index, masks.channels())

    def capture(self, counts: Counter[MaskSource], before_start: Counter[MaskSource]) -> RunState | None:
        """Return the resume state between two masks; None before the first one.

        Args:
            counts: Masks in the output so far, by source.
            before_start: Masks before the start of the output, by source.
        """
        if not self._history.recent:
            return None
        held = self._references.held().items()
        return RunState(
            next_index=self.next_index,
            waves=self._waves_done,
            keys=self._history.recent,
            key_count=self._history.key_count,
            frame_count=self._history.frame_count,
            memory=self._base.layout,
            refiner_keys=self._refiner_keys,
            logits={i: logits.cpu().numpy() for i, logits in self._history.logits.items()},
            references=tuple(HeldReference(i, slot, channels.cpu().numpy()) for i, (slot, channels) in held),
            pending=tuple(self._unordered.values()),
            counts=dict(counts),
            before_start=dict(before_start),
            network={**self._base.capture(), **self._presence.capture()},
        )

    def restore(self, state: RunState) -> None:
        """Continue from a captured state. Call before the first wave; key frames are memorized again on the way."""
        self.next_index, self._waves_done = state.next_index, state.waves
        self._history.recent, self._history.key_count = state.keys, state.key_count
        self._history.frame_count = state.frame_count
        self._base.reserve(state.memory, state.network)
        self._presence.restore(state.network)
        if self._refiner is not None:
            self._refiner.reserve(state.refiner_keys)
        self._history.logits = {i: torch.from_numpy(logits) for i, logits in state.logits.items()}
        for held in state.references:
            self._references.put_at(held.slot, held.decode_index, torch.from_numpy(held.channels).to(self._device))
        self._unordered = {mask.index: mask for mask in state.pending}

    @torch.inference_mode()
    def _restore_key(self, frame: CompressedFrame) -> None:
        """Memorize a frame of an earlier run again, if the memory bank or the refiner held it."""
        in_memory, in_refiner = frame.index in self._base.indices, frame.index in self._refiner_keys
        if not (in_memory or in_refiner):
            return
        logits = self._history.logits.get(frame.index)
        full = self._size.pad(self._prompt_masks) if logits is None else self._base.to_full(logits)
        if in_memory:
            self._base.restore(frame, full)
        if in_refiner and self._refiner is not None:
            self._refiner.add_keyframe(frame, to_grid(self._size.crop(full)))
