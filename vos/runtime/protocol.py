"""The segmenter as its callers see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from codec.types import CompressedFrame, VideoInfo
from vos.types import FrameMask, Prompt, Stats

if TYPE_CHECKING:
    from vos.runtime.run_state import RunState


class SegmenterLike(Protocol):
    """What a run needs of `vos.segmenter.Segmenter`."""

    @property
    def stats(self) -> Stats:
        """What the run cost so far."""

    def run(
        self, frames: Iterable[CompressedFrame], info: VideoInfo, prompt: Prompt, state: RunState | None = None
    ) -> Iterator[FrameMask]:
        """One mask a frame, in presentation order; after `state` only those that are missing."""

    @property
    def state(self) -> RunState | None:
        """Where the run stands."""
