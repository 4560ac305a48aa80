"""A segmenter without a network, so that tests of the service layer are quick and their numbers known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codec.types import CompressedFrame, VideoInfo
from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Options, Prompt, Stats


@dataclass
class StillSegmenter:
    """Gives every frame the prompt's mask with score 0.5; the first is `prompt`, the others `propagated`."""

    options: Options
    given: dict[MaskSource, int] = field(default_factory=dict)

    @property
    def stats(self) -> Stats:
        """Frames by source."""
        return Stats(dict(self.given), {"decode": 0.0})

    @property
    def state(self) -> None:
        """Nothing to go on from: an interrupted run starts over."""

    def run(
        self, frames: Iterable[CompressedFrame], _info: VideoInfo, prompt: Prompt, _state: RunState | None = None
    ) -> Iterator[FrameMask]:
        """One mask a frame, held back until its turn in presentation order."""
        waiting: dict[int, CompressedFrame] = {}
        wanted = 0
        for frame in frames:
            waiting[frame.index] = frame
            while wanted in waiting:
                ready = waiting.pop(wanted)
                wanted += 1
                if prompt.index <= ready.index < (self.options.end or 1 << 30):
                    yield self._mask(ready, prompt)

    def _mask(self, frame: CompressedFrame, prompt: Prompt) -> FrameMask:
        source = MaskSource.PROMPT if frame.index == prompt.index else MaskSource.PROPAGATED
        self.given[source] = self.given.get(source, 0) + 1
        scores = dict.fromkeys(prompt.object_ids, 0.5)
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, prompt.labels, scores)


def load_still(_choice: ModelChoice, options: Options, _settings: Settings) -> LoadedModel:
    """Stands in for `service.run.model_loader.load_model`."""
    return LoadedModel(StillSegmenter(options), {"name": "still"})
