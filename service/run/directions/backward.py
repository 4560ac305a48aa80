"""Walk a video backwards from its last prompt, with the segmenter that walks it forwards."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from codec.types import CompressedFrame
from service.run.directions.given import with_known_absences
from service.run.source.analyzed_video import AnalyzedVideo, FrameCallback
from vos.runtime.protocol import SegmenterLike
from vos.runtime.run_state import RunState
from vos.types import FrameMask, Prompt, Remembered


@dataclass(frozen=True, slots=True, eq=False)
class BackwardWalk:
    """The frames from the last prompt back to another frame.

    Attributes:
        source: The video.
        prompts: Prompts in presentation order. The walk begins with the last of them that marks an object.
        last: Presentation index of the frame to end with.
    """

    source: AnalyzedVideo
    prompts: Sequence[Prompt]
    last: int

    @property
    def first(self) -> int:
        """Presentation index of the frame to begin with."""
        return max(prompt.index for prompt in self.prompts if prompt.object_ids)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.first - self.last + 1

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return [f"masks of the frames before {self.first} were propagated backwards, too, from the prompts after them"]

    def masks(
        self,
        segmenter: SegmenterLike,
        on_frame: FrameCallback,
        remembered: Sequence[Remembered] = (),
        state: RunState | None = None,
    ) -> Generator[FrameMask]:
        """Yield the masks of all frames, that of `first` first.

        Args:
            segmenter: Segments them; its range must be open.
            on_frame: Called with each frame, with its presentation index.
            remembered: Further frames with the masks of all objects.
            state: Resume state of an earlier walk, after whose masks this one begins.
        """
        first = self.first
        covered = with_known_absences(p for p in reversed(self.prompts) if self.last <= p.index <= first)
        prompts = [replace(prompt, index=first - prompt.index) for prompt in covered]
        reader = self.source.open_backwards(first, self.last)
        with closing(reader):

            def observed() -> Iterator[CompressedFrame]:
                for frame in reader:
                    on_frame(replace(frame, index=first - frame.index))
                    yield frame

            masks = segmenter.run(observed(), reader.info, prompts[0], state, later=prompts[1:], remembered=remembered)
            for mask in masks:
                yield replace(mask, index=first - mask.index)
