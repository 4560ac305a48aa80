"""The segmenter as its callers see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from codec.types import CompressedFrame, VideoInfo
from vos.types import FrameMask, Prompt, Remembered, Stats

if TYPE_CHECKING:
    from vos.runtime.run_state import RunState


class SegmenterLike(Protocol):
    """The part of `vos.segmenter.Segmenter` that a run needs."""

    @property
    def stats(self) -> Stats:
        """Statistics of the run so far."""

    def beside(self, start: int | None, end: int | None) -> SegmenterLike:
        """Return a segmenter with the same networks for another range of frames, to run beside this one."""

    def run(
        self,
        frames: Iterable[CompressedFrame],
        info: VideoInfo,
        prompt: Prompt,
        state: RunState | None = None,
        *,
        later: Sequence[Prompt] = (),
        remembered: Sequence[Remembered] = (),
    ) -> Iterator[FrameMask]:
        """Yield one mask per frame, in presentation order; after `state`, only the masks not yielded before."""

    @property
    def state(self) -> RunState | None:
        """Resume state of the run; None before its first mask."""
