"""One video on its way: each wave of frames is propagated, refined or segmented, and leaves what later ones need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, VideoInfo
from vos.geometry import PaddedSize, mask_confidence, prompt_to_soft, soft_to_labels, to_grid
from vos.keyframes.keyframe_segmenter import KeyframeSegmenter
from vos.keyframes.policy import FrameContext, KeyframePolicy
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Features, VOSNetwork
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner
from vos.propagation.propagate import Propagated, propagate
from vos.propagation.warp import ReferenceStore
from vos.refinement.mask_refiner import BUDGETS, MaskRefiner, mask_uncertainty
from vos.runtime.run_state import HeldReference, RunState
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools, one_thread
from vos.runtime.waves import Wave, one_by_one, waves
from vos.types import FrameMask, MaskSource, Options, Prompt

_Brought: TypeAlias = tuple[CompressedFrame, Propagated, Tensor]
"""A frame, what was propagated there, and the uncertainty of each object, float32 [K]."""
_RECENT_KEYS = 32
"""Key frames whose places are refiner_keys, to tell how far a frame is from the nearest one."""


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What a pass works with.

    Attributes:
        network: Base network for key frames.
        refiner: Repairs propagated masks; None leaves them as they are.
        options: How to segment.
        policy: Says which frames are key.
        pools: Threads for frames side by side.
        watch: Takes the time of each stage.
    """

    network: VOSNetwork
    refiner: Refiner | None
    options: Options
    policy: KeyframePolicy
    pools: ThreadPools
    watch: StageTimer


class Session:
    """State of one video: memory of key frames, masks of references, masks whose turn has not come.

    Attributes:
        wanted: Presentation index of the next mask.
    """

    def __init__(self, tools: Tools, info: VideoInfo, prompt: Prompt, state: RunState | None) -> None:
        self._network = tools.network
        self._options = options = tools.options
        self._policy = tools.policy
        self._workers = tools.pools
        self._watch = tools.watch
        self._info = info
        self._prompt = prompt
        self._object_ids = prompt.object_ids  # looked up once, for the mask is searched for them
        self._soft_prompt = torch.from_numpy(prompt_to_soft(prompt.labels, self._object_ids, info))
        parameter = next(self._network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._canvas = PaddedSize.of(info.analysis_height, info.analysis_width, self._network.stride)
        # Without repairs, propagated frames cost too little to hide anything behind them.
        repairs = tools.refiner is not None and tools.policy.propagates
        beside = tools.pools if repairs and tools.pools.can_work_beside else None
        layout = state.memory if state else None
        self._base = KeyframeSegmenter(self._network, options, self._canvas, beside, tools.watch, layout)
        refiner, objects = tools.refiner, len(self._object_ids)
        self._correction = (
            None
            if refiner is None
            else MaskRefiner(refiner, state.refiner_keys if state else (), BUDGETS[options.quality])
        )
        light = 0 if refiner is None else LIGHT_CHANNELS
        self._references = ReferenceStore(objects + light + 1, *self._canvas.grid, self._device)
        self._early: list[CompressedFrame] = []
        self._keys = list(state.keys) if state else []
        self._key_count = state.key_count if state else 0
        self._frame_count = state.frame_count if state else 0
        self._logits = {i: torch.from_numpy(logits) for i, logits in state.logits.items()} if state else {}
        self._waves = 0
        self._done = state.waves if state else 0
        self._waiting = {mask.index: mask for mask in state.pending} if state else {}
        self.wanted = state.next_index if state else prompt.index
        self._key_doubt = self._doubt_of_key()
        for held in state.references if state else ():
            self._references.put_at(held.slot, held.decode_index, torch.from_numpy(held.channels).to(self._device))

    @property
    def _remembered(self) -> tuple[int, ...]:
        """Key frames that the refiner remembers."""
        return () if self._correction is None else self._correction.keys

    def state(self, counts: Counter[MaskSource]) -> RunState | None:
        """All of it, between two masks; None before the first one."""
        if not self._keys:
            return None
        held = self._references.held().items()
        return RunState(
            next_index=self.wanted,
            waves=self._done,
            keys=tuple(self._keys),
            key_count=self._key_count,
            frame_count=self._frame_count,
            memory=self._base.layout,
            refiner_keys=self._remembered,
            logits={i: logits.cpu().numpy() for i, logits in self._logits.items()},
            references=tuple(HeldReference(i, slot, channels.cpu().numpy()) for i, (slot, channels) in held),
            pending=tuple(self._waiting.values()),
            counts=dict(counts),
        )

    def schedule(self, frames: Iterable[CompressedFrame]) -> Iterator[Wave]:
        """Frames in decode order -> waves. Only repairs take long enough to be worth another order."""
        side_by_side = self._correction is not None and self._policy.propagates
        return waves(frames, self._prompt.index) if side_by_side else one_by_one(frames)

    def give(self, wave: Wave, last: int | None) -> Iterator[FrameMask]:
        """Take the next wave; give the masks before `last` whose turn in presentation order has come."""
        self._waves += 1
        if self._waves <= self._done:
            for frame in wave.frames:
                self._recall(frame)
        else:
            for mask in self._take(wave):
                self._waiting[mask.index] = mask
            self._done = self._waves
        while self.wanted in self._waiting and (last is None or self.wanted < last):
            mask = self._waiting.pop(self.wanted)
            self.wanted += 1
            yield mask

    @torch.inference_mode()
    def _recall(self, frame: CompressedFrame) -> None:
        """A frame that was done before the run went on: memorised again if the memory held it."""
        in_memory, refiner_keys = frame.index in self._base.indices, frame.index in self._remembered
        if not (in_memory or refiner_keys):
            return
        logits = self._logits.get(frame.index)
        full = self._canvas.pad(self._soft_prompt.to(self._device)) if logits is None else self._base.to_full(logits)
        if in_memory:
            self._base.restore(frame, full)
        if refiner_keys and self._correction is not None:
            self._correction.add_keyframe(frame, to_grid(self._canvas.crop(full)))

    def _take(self, wave: Wave) -> Iterator[FrameMask]:
        """Segment a wave, and with the prompt's frame those that were decoded before it but are shown after."""
        if self._keys:
            yield from self._segment(tuple(f for f in wave.frames if f.index > self._prompt.index), wave.ahead)
        else:
            yield from self._await_prompt(wave.frames)
        self._references.keep(wave.needed)

    def _await_prompt(self, frames: tuple[CompressedFrame, ...]) -> Iterator[FrameMask]:
        """Until the prompt's frame comes, keep those that are shown after it."""
        for frame in frames:
            if frame.index == self._prompt.index:
                yield self._start(frame)
                for early in self._early:
                    yield from self._segment((early,))
                self._early.clear()
            elif frame.index > self._prompt.index:
                self._early.append(frame)

    @torch.inference_mode()
    def _start(self, frame: CompressedFrame) -> FrameMask:
        """The prompt's frame: its mask is given."""
        full = self._soft_prompt.to(self._device)
        features = self._base.encode(frame)
        self._hold(frame, self._certain(frame, full))
        self._memorize(frame, features, self._canvas.pad(full))
        labels = self._prompt.labels.copy()
        return FrameMask(
            frame.index,
            frame.pts,
            frame.time,
            frame.type,
            MaskSource.PROMPT,
            labels,
            dict.fromkeys(self._object_ids, 1.0),
        )

    @torch.inference_mode()
    def _segment(self, frames: tuple[CompressedFrame, ...], ahead: tuple[CompressedFrame, ...] = ()) -> list[FrameMask]:
        """Frames that do not depend on each other: key frames first, so that the others' refine can look at them.

        While these are refined, the next key frame is begun, if it is among those ahead.
        """
        policy, masks, rest = self._policy, [], []
        with self._watch.stage("warp"):
            brought = self._workers.map(self._bring, frames)
        for frame, propagated, uncertainty in brought:
            if policy.is_key(frame, self._context(frame, uncertainty, propagated)):
                masks.append(self._segment_key(frame, propagated))
            else:
                rest.append((frame, propagated, uncertainty))
        if rest and self._base.works_ahead:
            self._begin_next_key(ahead)
        for frame, propagated, uncertainty in self._repaired(rest):
            beyond = (uncertainty - self._key_doubt).clamp(min=0)
            if policy.is_key_after_refinement(frame, self._context(frame, beyond, propagated)):
                masks.append(self._segment_key(frame, propagated))
            else:
                self._hold(frame, propagated)
                source = MaskSource.PROPAGATED if propagated.reference_coverage else MaskSource.FALLBACK
                masks.append(self._emit(frame, source, propagated.soft, STRIDE, 1 - uncertainty))
        return masks

    @one_thread()
    def _bring(self, frame: CompressedFrame) -> _Brought:
        """What motion propagates to a frame."""
        propagated = propagate(frame, self._references, len(self._object_ids))
        return frame, propagated, propagated.uncertainty_per_object()

    def _repaired(self, brought: list[_Brought]) -> list[_Brought]:
        """The same after the refiner, if there is one, has looked where that is worth it."""
        mask_refiner = self._correction
        if mask_refiner is None:
            return brought
        wanted = [task for task in brought if mask_refiner.needs_refinement(task[0], task[2])]

        def refine(task: _Brought) -> _Brought:
            return task[0], *mask_refiner.refine(task[0], task[1])

        with self._watch.stage("correct"):
            refined = {task[0].index: task for task in self._workers.map(refine, wanted)}
        return [refined.get(task[0].index, task) for task in brought]

    def _begin_next_key(self, frames: tuple[CompressedFrame, ...]) -> None:
        """Begin the first of some frames to come, in decode order, that will be key if all goes well until then."""
        for frame in frames:
            if self._policy.will_be_key(frame, self._expected(frame, frame.index - self._prompt.index)):
                self._base.begin(frame)
                return

    def _expected(self, frame: CompressedFrame, frame_count: int) -> FrameContext:
        """The context of a frame before which there are so many, if all goes well until then."""
        return FrameContext(
            from_prompt=frame.index - self._prompt.index,
            latest_key=max(self._keys) - self._prompt.index,
            since_key=min(abs(frame.index - key) for key in self._keys),
            uncertainty=0.0,
            reference_coverage=1.0,
            lost=False,
            key_count=self._key_count,
            frame_count=frame_count,
        )

    @one_thread()
    def _context(self, frame: CompressedFrame, uncertainty: Tensor, propagated: Propagated) -> FrameContext:
        lost = float(propagated.soft.flatten(1).amax(dim=1).min()) <= 0.5
        expected = self._expected(frame, self._frame_count)
        return replace(
            expected, uncertainty=float(uncertainty.max()), reference_coverage=propagated.reference_coverage, lost=lost
        )

    def _segment_key(self, frame: CompressedFrame, propagated: Propagated) -> FrameMask:
        """Segment with the base network; what motion propagated here is its hint."""
        features = self._base.encode(frame)
        logits = self._base.segment(features, propagated.soft)
        full = self._base.to_full(logits)
        picture = self._canvas.crop(full)
        self._hold(frame, self._certain(frame, picture))
        self._memorize(frame, features, full)
        wanted = {*self._base.indices, *self._remembered}
        self._logits = {i: kept for i, kept in self._logits.items() if i in wanted}
        self._logits[frame.index] = logits
        self._key_doubt = self._doubt_of_key()
        return self._emit(frame, MaskSource.KEY, picture, 1, torch.ones(len(full)))

    def _doubt_of_key(self) -> Tensor:
        """How mask_uncertainty the masks of the latest key frame were, float32 [K]; the prompt's were not.

        Another key frame would hardly take this much of the uncertainty away, so it is no reason for one.
        """
        logits = self._logits.get(self._keys[-1]) if self._keys and self._correction is not None else None
        if logits is None:
            return torch.zeros(len(self._object_ids), device=self._device)
        return mask_uncertainty(soft_aggregate(torch.sigmoid(logits.to(self._device).squeeze(1)))[1:])

    def _memorize(self, frame: CompressedFrame, features: Features, masks: Tensor) -> None:
        """Remember a key frame with its soft masks [K, padded_height, padded_width]."""
        self._base.memorize(frame.index, features, masks)
        self._keys = [*self._keys[-_RECENT_KEYS:], frame.index]
        self._key_count += 1

    def _certain(self, frame: CompressedFrame, picture: Tensor) -> Propagated:
        """What a key frame passes on: its masks [K, height, width] by cells, without uncertainty."""
        soft = to_grid(picture)
        with self._watch.stage("correct"):
            light = soft[:0] if self._correction is None else self._correction.add_keyframe(frame, soft)
        return Propagated(soft, light, torch.zeros_like(soft[0]), 1.0)

    @one_thread()
    def _hold(self, frame: CompressedFrame, propagated: Propagated) -> None:
        """Keep a frame's masks for those that refer to it."""
        self._frame_count += 1
        self._references.put(frame.decode_index, propagated.channels())

    @one_thread()
    def _emit(self, frame: CompressedFrame, source: MaskSource, soft: Tensor, stride: int, belief: Tensor) -> FrameMask:
        with self._watch.stage("labels"):
            masks = soft.cpu().numpy()
            labels = soft_to_labels(masks, stride, self._object_ids, self._info)
            scores = (mask_confidence(masks) * belief.cpu().numpy()).tolist()
        named = dict(zip(self._object_ids, scores, strict=True))
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, named)
