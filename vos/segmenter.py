"""From the frames of a compressed video and a prompt to a mask a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame, VideoInfo
from vos.errors import OptionError
from vos.geometry import Canvas, prompt_to_soft, rgb_to_tensor, soft_to_labels, to_cells
from vos.keyframes import Situation, parse_policy
from vos.memory import MemoryBank
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Features, VOSNetwork
from vos.propagate import Carried, Corrector, carry
from vos.stopwatch import Stopwatch
from vos.types import FrameMask, Options, Prompt, Source, Stats
from vos.warp import ReferenceStore

_RECENT_KEYS = 32
"""Key frames whose places are remembered, to tell how far a frame is from the nearest one."""


class Segmenter:
    """Segments one video after another with one network.

    Args:
        network: Base network for key frames, in eval mode.
        options: How to segment.
        corrector: Repairs masks that motion carried; None leaves them as they are.
    """

    def __init__(self, network: VOSNetwork, options: Options | None = None, corrector: Corrector | None = None) -> None:
        self.network = network
        self.options = options or Options()
        self.corrector = corrector
        self._policy = parse_policy(self.options.keyframes)
        self._counts: Counter[Source] = Counter()
        self._watch = Stopwatch()

    @property
    def stats(self) -> Stats:
        """What the latest run cost so far."""
        return Stats(dict(self._counts), self._watch.seconds)

    def run(self, frames: Iterable[CompressedFrame], info: VideoInfo, prompt: Prompt) -> Iterator[FrameMask]:
        """Segment a video.

        Args:
            frames: Its frames in decode order, as `codec.open_video` yields them.
            info: Its sizes and orientation.
            prompt: Mask of one frame.

        Yields:
            One mask a frame from `options.start` to `options.end`, in presentation order.

        Raises:
            PromptError: The mask does not have the video's display size.
            OptionError: The prompt's frame or the range lies outside the video.
        """
        self._counts, self._watch = Counter(), Stopwatch()
        first = prompt.index if self.options.start is None else self.options.start
        if first < prompt.index:
            raise OptionError(
                f"start is {first}, before the prompt's frame {prompt.index}; masks are carried forward only, "
                f"so start must be {prompt.index} or more"
            )
        last = self.options.end
        if last is not None and last <= prompt.index:
            raise OptionError(f"end is {last}; it must be more than the prompt's frame, which is {prompt.index}")
        pass_ = _Pass(self, info, prompt)
        waiting: dict[int, FrameMask] = {}
        wanted = prompt.index
        seen = 0
        for frame in self._watch.waiting("decode", frames):
            seen += 1
            for mask in pass_.take(frame):
                waiting[mask.index] = mask
            while wanted in waiting and (last is None or wanted < last):
                mask = waiting.pop(wanted)
                wanted += 1
                if mask.index >= first:
                    self._counts[mask.source] += 1
                    yield mask
            if last is not None and wanted >= last:
                return
        if wanted <= max(prompt.index, first):
            name = "the prompt's frame" if wanted == prompt.index else "start"
            raise OptionError(f"{name} is {max(prompt.index, first)}; the video has {seen} frames, 0 to {seen - 1}")


class _Pass:
    """State of one video: memory of key frames, masks of references."""

    def __init__(self, segmenter: Segmenter, info: VideoInfo, prompt: Prompt) -> None:
        self._segmenter = segmenter
        self._network = segmenter.network
        self._watch = segmenter._watch
        self._info = info
        self._prompt = prompt
        self._soft_prompt = torch.from_numpy(prompt_to_soft(prompt.labels, prompt.object_ids, info))
        parameter = next(self._network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        options = segmenter.options
        self._canvas = Canvas.of(info.analysis_height, info.analysis_width, self._network.stride)
        self._memory = MemoryBank(options.memory_frames, options.memory_spacing)
        self._references = ReferenceStore(len(prompt.object_ids) + 1, *self._canvas.grid, self._device)
        self._early: list[CompressedFrame] = []
        self._keys: list[int] = []

    def take(self, frame: CompressedFrame) -> Iterator[FrameMask]:
        """Segment a frame, and with the prompt's frame those that were decoded before it but are shown after."""
        if self._keys:
            if frame.index > self._prompt.index:
                yield self._segment(frame)
        elif frame.index == self._prompt.index:
            yield self._start(frame)
            for early in self._early:
                yield self._segment(early)
            self._early.clear()
        elif frame.index > self._prompt.index:
            self._early.append(frame)

    @torch.inference_mode()
    def _start(self, frame: CompressedFrame) -> FrameMask:
        """The prompt's frame: its mask is given."""
        full = self._soft_prompt.to(self._device)
        self._memorize(frame, self._encode(frame), self._canvas.pad(full))
        self._hold(frame, self._certain(full))
        labels = self._prompt.labels.copy()
        return FrameMask(
            frame.index,
            frame.pts,
            frame.time,
            frame.type,
            Source.PROMPT,
            labels,
            dict.fromkeys(self._prompt.object_ids, 1.0),
        )

    @torch.inference_mode()
    def _segment(self, frame: CompressedFrame) -> FrameMask:
        with self._watch.stage("warp"):
            carried = carry(frame, self._references)
            doubt = carried.doubt_by_object()
        situation = Situation(
            from_prompt=frame.index - self._prompt.index,
            latest_key=max(self._keys) - self._prompt.index,
            since_key=min(abs(frame.index - key) for key in self._keys),
            doubt=float(doubt.max()),
            support=carried.support,
        )
        if self._segmenter._policy.is_key(frame, situation):
            return self._segment_key(frame, carried)
        if self._segmenter.corrector is not None:
            with self._watch.stage("correct"):
                carried = self._segmenter.corrector(frame, carried)
                doubt = carried.doubt_by_object()
        self._hold(frame, carried)
        source = Source.PROPAGATED if carried.support else Source.FALLBACK
        return self._emit(frame, source, carried.soft, STRIDE, 1 - doubt)

    def _segment_key(self, frame: CompressedFrame, carried: Carried) -> FrameMask:
        """Segment with the base network; what motion carried here is its hint."""
        features = self._encode(frame)
        with self._watch.stage("read"):
            hint = self._canvas.pad_cells(carried.soft).unsqueeze(1).to(self._dtype)
            logits = self._network.segment(features, self._memory.view(), hint, self._segmenter.options.top_k)
            full = F.interpolate(logits.float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)
            full = soft_aggregate(torch.sigmoid(full.squeeze(1)))[1:]
        self._memorize(frame, features, full)
        picture = self._canvas.crop(full)
        self._hold(frame, self._certain(picture))
        return self._emit(frame, Source.KEY, picture, 1, torch.ones(len(full)))

    def _encode(self, frame: CompressedFrame) -> Features:
        with self._watch.stage("encode"):
            picture = self._network.normalize(rgb_to_tensor(frame.rgb(), self._device)).to(self._dtype)
            return self._network.encode(self._canvas.pad(picture))

    def _memorize(self, frame: CompressedFrame, features: Features, masks: Tensor) -> None:
        """Remember a key frame with its soft masks [K, padded_height, padded_width]."""
        with self._watch.stage("memorize"):
            entry = self._network.memorize(features, masks.unsqueeze(1).to(self._dtype))
            self._memory.add(frame.index, entry)
        self._keys = [*self._keys[-_RECENT_KEYS:], frame.index]

    def _certain(self, picture: Tensor) -> Carried:
        """What a key frame passes on: its masks [K, height, width] by cells, without doubt."""
        soft = to_cells(picture)
        return Carried(soft, torch.zeros_like(soft[0]), 1.0)

    def _hold(self, frame: CompressedFrame, carried: Carried) -> None:
        """Keep a frame's masks for those that refer to it, and drop what no frame can refer to any more."""
        self._references.put(frame.decode_index, carried.channels())
        self._references.keep(frame.references_in_reach)

    def _emit(self, frame: CompressedFrame, source: Source, soft: Tensor, stride: int, belief: Tensor) -> FrameMask:
        with self._watch.stage("labels"):
            labels = soft_to_labels(soft.cpu().numpy(), stride, self._prompt.object_ids, self._info)
            scores = (_certainty(soft) * belief.to(soft.device)).tolist()
        named = dict(zip(self._prompt.object_ids, scores, strict=True))
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, named)


def _certainty(soft: Tensor) -> Tensor:
    """Mean of each object's soft mask where it is above one half: float [K, h, w] -> [K], 0 where it is nowhere."""
    inside = soft.flatten(1) > 0.5
    return (soft.flatten(1) * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
