"""One video being segmented, wave by wave: propagate -> decide -> segment or refine -> store -> emit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, MotionField, VideoInfo
from vos.keyframes.base_network import BaseNetwork, VideoSetup
from vos.keyframes.history import KeyframeHistory
from vos.keyframes.identity import KNOWN_COVERAGE, Presence, distant_parts, without_parts
from vos.keyframes.keyframe_segmenter import begin_video
from vos.keyframes.policy import FrameContext, KeyframePolicy
from vos.keyframes.scene_change import SceneWatch
from vos.masks.geometry import to_grid
from vos.masks.given import GivenMasks
from vos.masks.labels import Labeler
from vos.modeling.aggregate import without_objects
from vos.modeling.network import FramePrediction, VOSNetwork
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner
from vos.propagation.propagate import Propagated, propagate
from vos.propagation.warp import ReferenceStore
from vos.refinement.mask_refiner import BUDGETS, MaskRefiner
from vos.runtime.run_state import HeldReference, RunState
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools, one_thread
from vos.runtime.waves import Wave, in_prompt_order, one_by_one, waves
from vos.types import FrameMask, MaskSource, Options, Prompt, Remembered, object_ids_of


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
        prompts: Masks of one or more frames. Masks are emitted from the first of them on.
        remembered: Further frames with the masks of all objects. The networks remember them, but nothing is propagated
            from them.

    Attributes:
        next_index: Presentation index of the next mask to emit.

    Raises:
        PromptError: A prompt mask does not match the video's display size, or an object is only absent.
    """

    def __init__(
        self, *, network: VOSNetwork | BaseNetwork, refiner: Refiner | None, options: Options, policy: KeyframePolicy,
        pools: ThreadPools, timer: StageTimer, info: VideoInfo, prompts: Sequence[Prompt],
        remembered: Sequence[Remembered] = (),
    ) -> None:  # fmt: skip
        self._policy, self._pools, self._timer, self._remembered = policy, pools, timer, remembered
        self._device = next(network.parameters()).device
        # Without refinement, propagated frames take too little time to hide other work behind them.
        self._refines = refiner is not None and policy.propagates
        beside = pools if self._refines and pools.can_work_beside else None
        setup = VideoSetup(info.analysis_height, info.analysis_width, options, beside, timer)
        self._begin_base = partial(begin_video, network, setup)
        self._begin_refiner = partial(_begin_refiner, refiner, options)
        self._base, self._refiner = self._begin_base(), self._begin_refiner()
        self._size = self._base.size
        marked = (*prompts, *(prompt for _, prompt in remembered))
        self._given = GivenMasks(prompts, info, self._size, self._device, object_ids_of(marked))
        self._prompts, self._first, self._object_ids = self._given.by_frame, self._given.first, self._given.object_ids
        self._labeler = Labeler(self._object_ids, info, timer, options.edges == "refined", options.soft)
        self._known = torch.zeros(len(self._object_ids), dtype=torch.bool)
        self._presence, self._scene = Presence(len(self._object_ids)), SceneWatch()
        self._history = KeyframeHistory(self._first, len(self._object_ids), self._device)
        light = 0 if refiner is None else LIGHT_CHANNELS
        self._references = ReferenceStore(len(self._object_ids) + light + 1, *self._size.grid, self._device)
        self._shown_at: dict[int, int] = {}
        self._latest_prompt = self._first
        self._waves_seen = self._waves_done = 0
        self._unordered: dict[int, FrameMask] = {}
        self.next_index = self._first

    def schedule(self, frames: Iterable[CompressedFrame]) -> Iterator[Wave]:
        """Group frames in decode order into waves. Only refinement takes long enough to be worth it."""
        ordered = in_prompt_order(frames, self._prompts)
        return waves(ordered, self._first, self._prompts) if self._refines else one_by_one(ordered)

    @property
    def missed(self) -> tuple[int, ...]:
        """Presentation indices of the prompt frames that have not come."""
        return tuple(sorted(index for index in self._prompts if index >= self.next_index))

    def process(self, wave: Wave, end: int | None) -> Iterator[FrameMask]:
        """Process the next wave and emit the masks before `end` that are next in presentation order."""
        self._waves_seen += 1
        for frame in wave.frames:
            self._scene.observe(frame)
            self._shown_at[frame.decode_index] = frame.index
        if self._waves_seen <= self._waves_done:
            for frame in wave.frames:
                self._restore_key(frame)
        else:
            for mask in self._process(wave):
                self._unordered[mask.index] = mask
            self._references.keep(wave.needed)
            self._waves_done = self._waves_seen
        self._shown_at = {i: index for i, index in self._shown_at.items() if i in self._references}
        while self.next_index in self._unordered and (end is None or self.next_index < end):
            self.next_index += 1
            yield self._unordered.pop(self.next_index - 1)

    def _process(self, wave: Wave) -> list[FrameMask]:
        if (prompt := self._prompts.get(wave.frames[0].index)) is not None:
            return [self._take_prompt(wave.frames[0], prompt)]
        return self._segment(wave) if self._history.recent else []

    @torch.inference_mode()
    def _segment(self, wave: Wave) -> list[FrameMask]:
        """Segment the frames of a wave, which do not depend on each other. Return their masks, key frames first."""
        masks: list[FrameMask] = []
        estimates: list[_Estimate] = []

        # Propagate masks from the references along the motion vectors.
        with self._timer.stage("warp"):
            propagated = self._pools.map(self._propagate, [f for f in wave.frames if f.index > self._first])

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
                masks.append(self._label(estimate.frame, source, estimate.masks.soft, STRIDE, 1 - estimate.uncertainty))
        return masks

    @one_thread()
    def _propagate(self, frame: CompressedFrame) -> _Estimate:
        masks = propagate(self._from_latest_prompt(frame), self._references, len(self._object_ids))
        return _Estimate(frame, masks, masks.uncertainty_per_object())

    def _from_latest_prompt(self, frame: CompressedFrame) -> CompressedFrame:
        """Return the frame without references to frames shown before the latest prompt, if it is shown after it.

        Masks of those frames may be what the prompt corrects.
        """
        stale = [i for i, index in self._shown_at.items() if index < self._latest_prompt]
        if not stale or frame.index < self._latest_prompt:
            return frame
        reference = np.where(np.isin(frame.motion.reference, stale), np.int32(-1), frame.motion.reference)
        return replace(frame, motion=MotionField(frame.motion.vectors, reference))

    def _label(
        self, frame: CompressedFrame, source: MaskSource, soft: Tensor, stride: int, confidence: Tensor
    ) -> FrameMask:
        """Return the mask of a frame, without scores of objects that no prompt has marked so far."""
        mask = self._labeler.label(frame, source, soft, stride, confidence)
        if self._known.all():
            return mask
        known = {i for i, is_known in zip(self._object_ids, self._known.tolist(), strict=True) if is_known}
        return replace(mask, scores={i: score for i, score in mask.scores.items() if i in known})

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
        features = self._base.encode(frame, self._expected(estimate.masks))
        prediction = self._base.segment(features, estimate.masks.soft)
        logits, full = self._plausible(prediction, estimate.masks)
        presence = prediction.presence
        confidence = torch.ones(len(full)) if presence is None else torch.sigmoid(presence.float())
        self._store_key(frame, full)
        if not self._presence.absent.all():
            self._base.memorize(frame.index, features, full)
        self._note_key(frame, logits)
        return self._label(frame, MaskSource.KEY, self._size.crop(full), 1, confidence)

    def _expected(self, masks: Propagated) -> Tensor | None:
        """Soft masks of known objects, if propagation can say where they are."""
        return masks.soft[self._known] if masks.reference_coverage >= KNOWN_COVERAGE else None

    def _plausible(self, prediction: FramePrediction, expected: Propagated) -> tuple[Tensor, Tensor]:
        """Take away parts where an object cannot be, and objects that are not in the picture.

        Returns:
            What remains: logits as `_base.segment` returns them, and soft masks [K, padded_height, padded_width].
        """
        is_known = expected.reference_coverage >= KNOWN_COVERAGE
        full = self._base.to_full(prediction.logits)
        kept = prediction.logits
        if is_known and (parts := distant_parts(to_grid(self._size.crop(full)), expected.soft)) is not None:
            kept = without_parts(kept, self._size.pad_grid(parts))
        absent = ~self._known
        if prediction.presence is not None and not self._base.empties_absent:
            absent = absent | self._presence.judge(prediction.presence)
        kept = without_objects(kept, absent) if absent.any() else kept
        return kept, full if kept is prediction.logits else self._base.to_full(kept)

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
    def _take_prompt(self, frame: CompressedFrame, prompt: Prompt) -> FrameMask:
        """Take the masks that are given for a frame; objects that are not given keep what the session has of them."""
        given, others, logits = self._given.numbers(prompt.given_ids), None, None
        features, predicted = self._base.encode(frame), None
        if self._known[~given].any():
            estimate = self._propagate(frame)
            prediction = self._base.segment(features, estimate.masks.soft)
            logits, predicted = self._plausible(prediction, estimate.masks)
            others = self._label(frame, prompt.source, self._size.crop(predicted), 1, torch.ones(len(predicted)))
        full = self._given.merged(prompt, predicted)
        if self._history.recent and (given & ~self._known).any():
            # What is remembered of earlier frames says that new objects are background.
            self._base, self._refiner = self._begin_base(), self._begin_refiner()
        if not self._history.recent:
            self._remember()
        self._store_key(frame, full)
        self._base.prompt(frame.index, features, dict(enumerate(full)))
        self._note_key(frame, logits)
        self._note_prompt(prompt)
        self._presence.absent = (self._presence.absent & ~given) | self._given.numbers(prompt.absent)
        return self._labeler.label_prompt(frame, prompt, others)

    def _remember(self) -> None:
        """Let the networks remember further frames, before the first prompt."""
        for frame, prompt in self._remembered:
            self._known |= self._given.numbers(prompt.object_ids)
            full = self._given.merged(prompt, None)
            self._base.prompt(frame.index, self._base.encode(frame), dict(enumerate(full)))
            if self._refiner is not None:
                self._refiner.add_keyframe(frame, to_grid(self._size.crop(full)))

    def _note_prompt(self, prompt: Prompt) -> None:
        self._known |= self._given.numbers(prompt.given_ids)
        self._latest_prompt = prompt.index

    def _store_key(self, frame: CompressedFrame, full: Tensor) -> None:
        """Keep a key frame's soft masks [K, padded_height, padded_width] for the refiner and as a reference."""
        soft = to_grid(self._size.crop(full))
        with self._timer.stage("correct"):
            light = soft[:0] if self._refiner is None else self._refiner.add_keyframe(frame, soft)
        self._store(frame, Propagated(soft, light, torch.zeros_like(soft[0]), 1.0))

    def _note_key(self, frame: CompressedFrame, logits: Tensor | None) -> None:
        """Add a memorized key frame to the history; a prompt frame whose masks are all given has no logits."""
        self._history.add(frame.index, logits, memorized={*self._base.indices, *self._refiner_keys})

    def _prefetch_next_key(self, ahead: tuple[CompressedFrame, ...]) -> None:
        """Start to encode the first frame ahead that will be key if no uncertainty arises before it."""
        if not self._base.can_prefetch:
            return
        for frame in ahead:
            if frame.index in self._prompts:
                self._base.prefetch(frame)
                return
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
        for frame, prompt in self._remembered:
            self._known |= self._given.numbers(prompt.object_ids)
            self._memorize_again(frame, self._given.merged(prompt, None))

    @torch.inference_mode()
    def _restore_key(self, frame: CompressedFrame) -> None:
        """Memorize a frame of an earlier run again, if the memory bank or the refiner held it."""
        prompt = self._prompts.get(frame.index)
        if prompt is not None:
            self._note_prompt(prompt)
        if frame.index not in {*self._base.indices, *self._refiner_keys}:
            return
        logits = self._history.logits.get(frame.index)
        predicted = None if logits is None else self._base.to_full(logits)
        full = predicted if prompt is None else self._given.merged(prompt, predicted)
        if full is not None:  # else it is a remembered one
            self._memorize_again(frame, full)

    @torch.inference_mode()
    def _memorize_again(self, frame: CompressedFrame, full: Tensor) -> None:
        """Memorize a frame where the memory bank or the refiner held it."""
        if frame.index in self._base.indices:
            self._base.restore(frame, full)
        if frame.index in self._refiner_keys and self._refiner is not None:
            self._refiner.add_keyframe(frame, to_grid(self._size.crop(full)))


def _begin_refiner(refiner: Refiner | None, options: Options) -> MaskRefiner | None:
    return None if refiner is None else MaskRefiner(refiner, BUDGETS[options.quality])
