"""A segmenter without a network, which makes tests of the service layer quick and their numbers known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from codec.types import CompressedFrame, VideoInfo
from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from service.run.segment import segment
from tests.support.soft_masks import soft_of
from vos.evaluation.evaluate import SegmentClip
from vos.runtime.protocol import SegmenterLike
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Options, Prompt, Stats


@dataclass
class StillSegmenter:
    """Yields the prompt's mask for every frame with score 0.5; the first is `prompt`, the rest `propagated`.

    Soft masks are those of `tests.support.soft_masks`.
    """

    options: Options
    given: dict[MaskSource, int] = field(default_factory=dict)

    @property
    def stats(self) -> Stats:
        """Frames by source."""
        return Stats(dict(self.given), {"decode": 0.0})

    @property
    def state(self) -> None:
        """None: an interrupted run starts over."""

    def beside(self, start: int | None, end: int | None) -> StillSegmenter:
        """Another one for this range."""
        return StillSegmenter(replace(self.options, start=start, end=end))

    def run(
        self,
        frames: Iterable[CompressedFrame],
        info: VideoInfo,
        prompt: Prompt,
        _state: RunState | None = None,
        **_prompts: object,
    ) -> Iterator[FrameMask]:
        """One mask per frame, in presentation order."""
        waiting: dict[int, CompressedFrame] = {}
        wanted = 0
        for frame in frames:
            waiting[frame.index] = frame
            while wanted in waiting:
                ready = waiting.pop(wanted)
                wanted += 1
                if prompt.index <= ready.index < (self.options.end or 1 << 30):
                    yield self._mask(ready, prompt, info)

    def _mask(self, frame: CompressedFrame, prompt: Prompt, info: VideoInfo) -> FrameMask:
        source = MaskSource.PROMPT if frame.index == prompt.index else MaskSource.PROPAGATED
        self.given[source] = self.given.get(source, 0) + 1
        scores = dict.fromkeys(prompt.object_ids, 0.5)
        soft = None
        if self.options.soft:
            soft = {} if source is MaskSource.PROMPT else soft_of(prompt.labels, prompt.object_ids, info)
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, prompt.labels, scores, soft)


def load_still(_choice: ModelChoice, options: Options, _settings: Settings) -> LoadedModel:
    """Replace `service.run.model_loader.load_model`."""
    return LoadedModel(StillSegmenter(options), {"name": "still"})


def segment_with(segmenter: SegmenterLike) -> SegmentClip:
    """Return `segment` with this segmenter in place of the networks."""
    return partial(segment, load=lambda *_: LoadedModel(segmenter, {"name": "fake"}))
