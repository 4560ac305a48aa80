"""A run with prompts on several frames, or in both directions: walk back, walk forward, join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain

from codec.types import CompressedFrame, VideoInfo
from service.run.directions.backward import BackwardWalk
from service.run.directions.given import with_known_absences
from service.run.directions.join import PromptDistances, join
from service.run.directions.spool import MaskSpool
from service.run.resume.kept_walk import KeptWalk
from service.run.source.analyzed_video import FrameCallback
from vos.runtime.protocol import SegmenterLike
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Prompt, Stats


class JoinedRun:
    """Masks of a video from the prompts on both sides of each frame.

    The walk back comes first and its masks wait on the disk; then masks are emitted as the walk forward yields them. So
    memory does not grow with the video. Frames that are segmented in both directions count twice in the statistics.

    Args:
        segmenter: Segmenter with loaded networks.
        prompts: Prompts in presentation order.
        walk: The walk back; None for the forward direction alone.
        start: Presentation index of the first mask to emit.
        end: Presentation index after the last one; None for the end of the video.
    """

    def __init__(
        self,
        segmenter: SegmenterLike,
        prompts: Sequence[Prompt],
        walk: BackwardWalk | None,
        start: int,
        end: int | None,
    ) -> None:
        first = next(place for place, prompt in enumerate(prompts) if prompt.object_ids)
        self._ahead = with_known_absences(
            p for p in prompts[first:] if end is None or p.index < end or p is prompts[first]
        )
        self._distances = PromptDistances(prompts)
        self._walk, self._start, self._end = walk, start, end
        begin = self._ahead[0].index
        if walk is None:
            self._forward = segmenter.beside(start, end)
        else:
            self._forward = segmenter.beside(None, end if end is not None and end > begin else None)
        self._backward = segmenter.beside(None, None)
        self._counts: Counter[MaskSource] = Counter()
        self._not_emitted: Counter[MaskSource] = Counter()
        self._state: RunState | None = None
        self._kept: KeptWalk | None = None
        self._emitted = -1

    def resume(self, state: RunState) -> None:
        """Start after the masks that an earlier run emitted."""
        self._state = state
        self._counts = Counter(state.counts)
        if self._walk is not None:
            self._not_emitted = Counter(state.before_start)

    def keep_walk(self, kept: KeptWalk) -> None:
        """Keep the masks of the walk back, and begin with those that an earlier run kept."""
        self._kept = kept

    @property
    def stats(self) -> Stats:
        """Statistics so far; frames that are segmented and not emitted count as before the start."""
        seconds = Counter(self._forward.stats.seconds) + Counter(self._backward.stats.seconds)
        return Stats(dict(self._counts), dict(seconds), self._before_start)

    @property
    def state(self) -> RunState | None:
        """Resume state; None before the first prompt frame is emitted."""
        state = self._forward.state
        if state is None or state.next_index != self._emitted + 1:
            return None
        return replace(state, counts=dict(self._counts), before_start=self._before_start)

    @property
    def _before_start(self) -> dict[MaskSource, int]:
        return dict(+self._not_emitted if self._walk is not None else Counter(self._forward.stats.before_start))

    @property
    def frames_back(self) -> int:
        """Frames of the walk back."""
        return 0 if self._walk is None else self._walk.frames

    def masks(
        self, open_frames: Callable[[], Iterable[CompressedFrame]], info: VideoInfo, on_frame: FrameCallback
    ) -> Iterator[FrameMask]:
        """Yield the masks in presentation order.

        Args:
            open_frames: Opens the video to be read forwards; called after the walk back.
            info: Sizes and orientation of the video.
            on_frame: Called with each frame of the walk back.
        """
        begin = self._ahead[0].index
        start = self._start if self._state is None else self._state.next_index
        with ExitStack() as stack:
            spool: MaskSpool | None = None
            if self._walk is not None and start < self._walk.first:
                spool = self._walk_back(self._walk, info, on_frame, stack)
            forward = self._forward.run(open_frames(), info, self._ahead[0], self._state, later=self._ahead[1:])
            first = next(forward, None)  # reads the frames before it, in which cuts are looked for
            if spool is not None and self._state is None:
                for index in range(start, begin if self._end is None else min(begin, self._end)):
                    yield self._emit(index, None, spool.mask(index))
            for mask in chain(() if first is None else (first,), forward):
                if self._end is not None and mask.index >= self._end:
                    return
                self._not_emitted[mask.source] += 1
                if mask.index < self._start:
                    continue
                yield self._emit(mask.index, mask, None if spool is None else spool.mask(mask.index))

    def _walk_back(self, walk: BackwardWalk, info: VideoInfo, on_frame: FrameCallback, stack: ExitStack) -> MaskSpool:
        """Return the masks of the walk back, which an earlier run may have begun."""
        kept, size = self._kept, (info.display_width, info.display_height)
        state = None if kept is None else kept.state
        is_done = state is not None and state.next_index == walk.frames
        with closing(walk.masks(self._backward, on_frame, state=state)) as masks:
            first = None if is_done else next(masks, None)  # bad input has failed by then
            spool = MaskSpool(walk.first, *size) if kept is None else kept.open(walk.first, *size)
            stack.callback(spool.close)
            if self._state is None:  # a later state counts them
                self._not_emitted += spool.sources
            try:
                for mask in () if first is None else chain((first,), masks):
                    self._not_emitted[mask.source] += 1
                    if kept is None:
                        spool.append(mask)
                    else:
                        kept.append(mask, spool, lambda: self._backward.state)
            finally:  # also where a worker has to exit in the middle
                if kept is not None and not is_done:
                    kept.save(spool, self._backward.state)
        return spool

    def _emit(self, index: int, forward: FrameMask | None, backward: FrameMask | None) -> FrameMask:
        ahead = None if forward is None else self._distances.side(forward, forward=True)
        back = None if backward is None else self._distances.side(backward, forward=False)
        mask = join(ahead, back)
        if self._walk is not None:
            self._not_emitted[mask.source] -= 1  # it was counted when its side was segmented
        self._counts[mask.source] += 1
        self._emitted = index
        return mask
