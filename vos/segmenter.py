"""From the frames of a compressed video and a prompt to a mask a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from codec.types import CompressedFrame, VideoInfo
from vos.errors import OptionError
from vos.keyframes.policy import parse_policy
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.runtime.run_state import RunState
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.session import Session, Tools
from vos.types import FrameMask, MaskSource, Options, Prompt, Stats


class Segmenter:
    """Segments one video after another with one network.

    Args:
        network: Base network for key frames, in eval mode.
        options: How to segment.
        refiner: Repairs masks that motion propagated, in eval mode; None leaves them as they are.
    """

    def __init__(self, network: VOSNetwork, options: Options | None = None, refiner: Refiner | None = None) -> None:
        self.network = network
        self.options = options or Options()
        self.refiner = refiner
        self._policy = parse_policy(
            self.options.keyframes,
            quality=self.options.quality,
            max_key_share=self.options.max_key_share,
            refined=refiner is not None,
        )
        self._workers = ThreadPools(next(network.parameters()).device)
        self._counts: Counter[MaskSource] = Counter()
        self._watch = StageTimer()
        self._pass: Session | None = None

    @property
    def stats(self) -> Stats:
        """What the latest run cost so far."""
        return Stats(dict(self._counts), self._watch.seconds)

    @property
    def state(self) -> RunState | None:
        """Where the latest run stands: one that starts from here gives the masks after the one given last."""
        return self._pass.state(self._counts) if self._pass is not None else None

    def run(
        self, frames: Iterable[CompressedFrame], info: VideoInfo, prompt: Prompt, state: RunState | None = None
    ) -> Iterator[FrameMask]:
        """Segment a video.

        Args:
            frames: Its frames in decode order, as `codec.open_video` yields them.
            info: Its sizes and orientation.
            prompt: Mask of one frame.
            state: Where an earlier run on the same video, with the same prompt, options and network, stood.

        Yields:
            One mask a frame from `options.start` to `options.end`, in presentation order; after `state` only those that
            it did not give.

        Raises:
            PromptError: The mask does not have the video's display size.
            OptionError: The prompt's frame or the range lies outside the video.
        """
        self._counts, self._watch = Counter(state.counts if state else {}), StageTimer()
        first = prompt.index if self.options.start is None else self.options.start
        if first < prompt.index:
            raise OptionError(
                f"start is {first}, before the prompt's frame {prompt.index}; masks are propagated forward only, "
                f"so start must be {prompt.index} or more"
            )
        last = self.options.end
        if last is not None and last <= prompt.index:
            raise OptionError(f"end is {last}; it must be more than the prompt's frame, which is {prompt.index}")
        tools = Tools(self.network, self.refiner, self.options, self._policy, self._workers, self._watch)
        pass_ = self._pass = Session(tools, info, prompt, state)
        seen = 0
        for wave in pass_.schedule(self._watch.timed("decode", frames)):
            seen += len(wave.frames)
            for mask in pass_.give(wave, last):
                if mask.index >= first:
                    self._counts[mask.source] += 1
                    yield mask
            if last is not None and pass_.wanted >= last:
                return
        if pass_.wanted <= max(prompt.index, first):
            name = "the prompt's frame" if pass_.wanted == prompt.index else "start"
            raise OptionError(f"{name} is {max(prompt.index, first)}; the video has {seen} frames, 0 to {seen - 1}")
