"""Segment a video: the frames of a compressed video and a prompt mask -> one mask per frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from codec.types import CompressedFrame, VideoInfo
from vos.errors import OptionError
from vos.keyframes.base_network import BaseNetwork
from vos.keyframes.policy import parse_policy
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.runtime.run_state import RunState
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.session import Session
from vos.types import FrameMask, MaskSource, Options, Prompt, Remembered, Stats


class Segmenter:
    """Segments one video after another with the same networks.

    Args:
        network: Base network for key frames, in eval mode.
        options: How to segment.
        refiner: Refines propagated masks, in eval mode; None leaves them as they are.

    Raises:
        OptionError: An option has a value that is not allowed.
    """

    def __init__(
        self, network: VOSNetwork | BaseNetwork, options: Options | None = None, refiner: Refiner | None = None
    ) -> None:
        self.network = network
        self.options = options or Options()
        self.refiner = refiner
        self._policy = parse_policy(
            self.options.keyframes,
            quality=self.options.quality,
            max_key_share=self.options.max_key_share,
            refined=refiner is not None,
        )
        self._pools = ThreadPools(next(network.parameters()).device)
        self._counts: Counter[MaskSource] = Counter()
        self._before_start: Counter[MaskSource] = Counter()
        self._timer = StageTimer()
        self._session: Session | None = None

    @property
    def stats(self) -> Stats:
        """Statistics of the latest run so far."""
        return Stats(dict(self._counts), self._timer.seconds, dict(self._before_start))

    @property
    def state(self) -> RunState | None:
        """Resume state of the latest run; None before its first mask. `run` continues from it with the next mask."""
        return self._session.capture(self._counts, self._before_start) if self._session is not None else None

    def beside(self, start: int | None, end: int | None) -> Segmenter:
        """Return a segmenter with the same networks for another range of frames, to run beside this one."""
        return Segmenter(self.network, replace(self.options, start=start, end=end), self.refiner)

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
        """Segment a video.

        Args:
            frames: Frames in decode order, as `codec.open_video` yields them.
            info: Sizes and orientation of the video.
            prompt: Mask of the first frame that is given.
            state: Resume state of an interrupted run with the same video, prompts, options and network.
            later: Masks of later frames, of the same or of other objects.
            remembered: Further frames with the masks of all objects, which the networks remember from the start.

        Yields:
            One mask per frame from `options.start` to `options.end`, in presentation order. After `state`, only the
            masks that the interrupted run has not yielded.

        Raises:
            PromptError: The mask does not match the video's display size.
            OptionError: A prompt frame or the range lies outside the video.
        """
        self._counts, self._timer = Counter(state.counts if state else {}), StageTimer()
        self._before_start = Counter(state.before_start if state else {})
        start, end = self._range(prompt.index)
        session = self._session = Session(
            network=self.network,
            refiner=self.refiner,
            options=self.options,
            policy=self._policy,
            pools=self._pools,
            timer=self._timer,
            info=info,
            prompts=(prompt, *(given for given in later if end is None or given.index < end)),
            remembered=remembered,
        )
        if state is not None:
            session.restore(state)
        frame_count = 0
        for wave in session.schedule(self._timer.timed("decode", frames)):
            frame_count += len(wave.frames)
            for mask in session.process(wave, end):
                if mask.index < start:
                    self._before_start[mask.source] += 1
                    continue
                self._counts[mask.source] += 1
                yield mask
            if end is not None and session.next_index >= end:
                return
        if session.next_index <= start:
            name = "the prompt frame" if session.next_index == prompt.index else "start"
            raise OptionError(f"{name} is {start}; the video has {frame_count} frames, 0 to {frame_count - 1}")
        if session.missed:
            raise OptionError(f"a prompt frame is {session.missed[0]}; the last frame is {session.next_index - 1}")

    def _range(self, prompt_index: int) -> tuple[int, int | None]:
        """Return the first frame of the output, and the one after the last."""
        start, end = self.options.start, self.options.end
        if start is not None and start < prompt_index:
            raise OptionError(
                f"start is {start}, before the prompt frame {prompt_index}; masks are propagated forward only, so "
                f"start must be {prompt_index} or more"
            )
        if end is not None and end <= prompt_index:
            raise OptionError(f"end is {end}; it must be more than the prompt frame, which is {prompt_index}")
        return prompt_index if start is None else start, end
