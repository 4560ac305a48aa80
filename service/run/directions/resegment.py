"""Segment again only the frames that a correction changes.

From a corrected frame, masks of the corrected objects are propagated forwards to their next prompt and backwards to the
one before. What lies behind a seek is not decoded, other objects keep their masks, and each direction ends early where
the new masks agree with the stored ones.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from time import perf_counter
from types import TracebackType
from typing import Any

from codec.types import CompressedFrame, VideoInfo
from service.config import Settings, load_settings
from service.prompts.objects import PromptObject
from service.prompts.read_prompt import ReadPrompt
from service.run.bitstream_stats import BitstreamStats
from service.run.directions.backward import BackwardWalk
from service.run.directions.corrected_frame import CorrectedFrame, changes_of
from service.run.directions.given import (
    Given,
    check_objects,
    given_by_frame,
    joined_prompts,
    make_masks,
    marked_objects,
    read_prompts,
)
from service.run.directions.remaining_frames import continuation_of
from service.run.directions.stored_masks import ChangedMasks, StoredMasks
from service.run.model_loader import LoadedModel, ModelLoader, choice_of, load_model
from service.run.options import RunOptions
from service.run.report import Report
from service.run.resume.kept_walk import KeptWalk
from service.run.source.analysis_size import sufficient_side
from service.run.source.analyzed_video import AnalyzedVideo, FrameCallback
from service.run.source.frame_range import check_frames
from service.run.source.video_input import Video, timestamps_of
from vos.errors import OptionError
from vos.runtime.protocol import SegmenterLike
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Prompt, Stats


def resegment(
    video: Video,
    stored: StoredMasks,
    earlier: Given,
    new: Given,
    options: RunOptions | None = None,
    *,
    rest_from: int | None = None,
    settings: Settings | None = None,
    load: ModelLoader = load_model,
    on_frame: FrameCallback = lambda _frame: None,
) -> Correction:
    """Correct a result; iterate over what is returned for the masks of the frames that change.

    Args:
        video: As for `service.run.segment.segment`.
        stored: Masks of the result.
        earlier: Prompts of the result, and of corrections before this one.
        new: Prompts of this correction. Objects that they do not give keep their masks.
        options: Those of the result.
        rest_from: Presentation index of the first frame that the result lacks, because its run ended early. Frames from
            it on are computed, too. None for a whole result.
        settings: As for `segment`.
        load: Loads the network.
        on_frame: Called with each frame that is decoded for a walk; it may raise to stop the correction.

    Raises:
        CodecError: The video cannot be read.
        VosError: A prompt, an option or the weights cannot be used.
        MaskFileError: A mask file cannot be used.
        TooManyObjectsError: The masks mark more objects than the setting `max_objects` allows.
        UsageError: An object is marked twice in a frame.
        OptionError: A corrected frame is not in the result.
    """
    options, settings = options or RunOptions(), settings or load_settings()
    started = perf_counter()
    # What is corrected lies anywhere, and shapes have no mask to be read in some mode.
    free = RunOptions(**options.model_dump(exclude={"prompt_frame", "mask_mode"}, exclude_unset=True))
    given, _ = given_by_frame(earlier, options if not isinstance(earlier, tuple) else free)
    changes, _ = given_by_frame(new, free)
    check_frames(video, options, max(changes))
    timestamps = timestamps_of(video)
    made, made_changes = make_masks(video, given, timestamps), make_masks(video, changes, timestamps)
    side = options.least_analysis_side
    source = AnalyzedVideo(video, timestamps, side, options.max_side, options.motion)
    info = source.info()
    before = read_prompts(made, info, options)
    if options.analysis_side == "auto":
        source = replace(source, short_side=sufficient_side(marked_objects(before), info))
    reads = read_prompts(made_changes, info, options, before)
    for read in reads:
        if stored.mask(read.prompt.index) is None:
            raise OptionError(f"frame {read.prompt.index} has no mask in the result, so it cannot be corrected")
    objects = marked_objects((*before, *reads))
    check_objects(len(objects), settings.max_objects)
    opened = perf_counter()
    model = load(choice_of(options), options.for_segmenter(), settings)
    seconds = {"open": opened - started, "load": perf_counter() - opened}
    return Correction(
        source,
        options,
        info,
        ChangedMasks(stored),
        joined_prompts([read.prompt for read in before], [read.prompt for read in reads]),
        model=model,
        reads=reads,
        objects=objects,
        rest_from=rest_from,
        on_frame=on_frame,
        seconds=seconds,
    )


class Correction:
    """A result that is being corrected: iterate over it once, inside `with`, for the masks of the frames that change.

    Attributes:
        info: Sizes and orientation of the video.
        model: The loaded network.
        options: Options of the result.
        bitstream: What the bitstream has offered so far.
        notes: What the user should know, in plain words.
        objects: Objects of all prompts.
        masks: The masks of the result, with changes so far; but not all that are yielded, which the caller may add.
    """

    def __init__(
        self,
        source: AnalyzedVideo,
        options: RunOptions,
        info: VideoInfo,
        masks: ChangedMasks,
        prompts: Mapping[int, Prompt],
        *,
        model: LoadedModel,
        reads: Sequence[ReadPrompt],
        objects: tuple[PromptObject, ...],
        rest_from: int | None,
        on_frame: FrameCallback,
        seconds: dict[str, float],
    ) -> None:
        self.info, self.model, self.options, self.objects = info, model, options, objects
        self.notes = [note for read in reads for note in read.notes]
        self.bitstream = BitstreamStats()
        self._source, self.masks, self._prompts = source, masks, prompts
        self._corrected = [read.prompt for read in reads]
        self._rest_from = rest_from
        self._keep: Callable[[int, int], KeptWalk] | None = None
        self._walk_count = 0
        self._on_frame, self._seconds = on_frame, seconds
        self._done = 0
        self._stages: Counter[str] = Counter()
        self._segmented: Counter[MaskSource] = Counter()
        self._changed: Counter[MaskSource] = Counter()

    def __enter__(self) -> Correction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Generator[FrameMask]:
        """Yield the masks of the frames that change, in presentation order.

        Raises:
            BrokenStreamError: Decoding stopped in the middle.
        """
        *others, final = self._corrected
        for prompt in self._corrected:  # exact in every walk, also of the other corrected frames
            self.masks.change(self._frame(prompt).mask)
        for prompt in others:
            for mask in self._walks(prompt):
                self.masks.change(mask)
        waiting: deque[int] | None = None
        for mask in self._walks(final):
            if mask.index < final.index or self._rest_from is not None:
                self.masks.change(mask)
            if mask.index < final.index:
                continue
            waiting = deque(self.masks.indices) if waiting is None else waiting  # all before this frame are known now
            while waiting and waiting[0] < mask.index:
                yield self._emit(waiting.popleft())
            if waiting and waiting[0] == mask.index:
                waiting.popleft()
            self._changed[mask.source] += 1
            yield mask
        for index in waiting or ():
            yield self._emit(index)
        if self._rest_from is not None and (self.options.end is None or self._rest_from < self.options.end):
            yield from self._rest(self._rest_from)

    def keep_walks(self, keep: Callable[[int, int], KeptWalk]) -> None:
        """Keep the masks of all walks, and begin with those that an earlier attempt kept.

        Args:
            keep: Returns a walk, by its number from 0 and the index of its first mask as the segmenter counts.
        """
        self._keep = keep

    @property
    def steps(self) -> tuple[int, int | None]:
        """Frames read so far in either direction, and how many there are at most; None if unknown."""
        return self._done, None if self._most is None else max(self._done, self._most)

    @property
    def stats(self) -> Stats:
        """Changed frames by source and seconds; frames that were segmented and do not change are before the start."""
        return Stats(dict(self._changed), dict(self._stages), dict(self._segmented - self._changed))

    def report(self, seconds: dict[str, float], notes: Iterable[str] = (), **other: Any) -> Report:
        """Return the report so far, as `service.run.segment.Segmentation.report` does."""
        return Report(
            codec=self.bitstream.to_json(self.info),
            model=self.model.description,
            options=self.options,
            stats=self.stats,
            seconds=self._seconds | seconds,
            notes=(*self.notes, *notes),
            prompt=self.objects,
            pixels=self.info.display_width * self.info.display_height,
            **other,
        )

    def close(self) -> None:
        """Remove temporary files."""
        self.masks.close()

    @cached_property
    def _most(self) -> int | None:
        """Frames that are read if no direction ends early."""
        timestamps = self._source.timestamps
        count = self.info.frames_from_header if timestamps is None else len(timestamps)
        total = 0
        for prompt in self._corrected:
            corrected = self._frame(prompt)
            end = corrected.end(self.options.end)
            ends = [number for number in (end, count, self._rest_from) if number is not None]
            if not ends:
                return None
            total += min(ends) - corrected.last(self.options.first_frame)
        if self._rest_from is not None:
            ends = [number for number in (self.options.end, count) if number is not None]
            total += max(0, min(ends) - self._rest_from) if ends else 0
        return total

    def _frame(self, prompt: Prompt) -> CorrectedFrame:
        return CorrectedFrame(prompt, self._prompts, self.masks, both=self.options.direction == "both")

    def _emit(self, index: int) -> FrameMask:
        mask = self.masks.mask(index)
        assert mask is not None
        self._changed[mask.source] += 1
        return mask

    def _walks(self, prompt: Prompt) -> Iterator[FrameMask]:
        """Yield what one corrected frame changes: frames before it, backwards; the frame; frames after it."""
        corrected = self._frame(prompt)
        whole, last, end = corrected.whole, corrected.last(self.options.first_frame), corrected.end(self.options.end)
        remembered = [(self._source.frame(index), given) for index, given in corrected.remembered.items()]
        if whole is None:
            yield corrected.mask
            return
        with ExitStack() as stack:
            if self._source.is_shared:  # decode up to the frame beside the walk back
                frames = iter(stack.enter_context(self._source.open(prompt.index)[0]))
            if last < prompt.index:
                walk = BackwardWalk(self._source, [whole], last)
                turned = [(replace(frame, index=prompt.index - frame.index), given) for frame, given in remembered]
                back = self.model.segmenter.beside(None, None)

                def behind(state: RunState | None) -> Generator[FrameMask]:
                    return walk.masks(back, self._count, turned, state)

                with closing(self._masks(behind, back, prompt.index, -1, walk.frames)) as new:
                    yield from changes_of(corrected, new, self.masks)
                self._stages.update(back.stats.seconds)
            yield corrected.mask
            if not self._source.is_shared:
                frames = iter(stack.enter_context(self._source.open(prompt.index)[0]))
            segmenter = self.model.segmenter.beside(None, end)

            def ahead(state: RunState | None) -> Generator[FrameMask]:
                yield from segmenter.run(self._observed(frames), self.info, whole, state, remembered=remembered)

            with closing(self._masks(ahead, segmenter, prompt.index)) as new:
                yield from changes_of(corrected, new, self.masks)
            self._stages.update(segmenter.stats.seconds)

    def _rest(self, end: int) -> Iterator[FrameMask]:
        """Yield the masks of the frames that the result lacks, from `end` on. They are propagated forwards."""
        going_on = continuation_of(self.masks, self._prompts, end)
        self.notes.append(
            f"masks of the frames from {end} on were computed with this correction; the result ended there"
        )
        remembered = [(self._source.frame(index), given) for index, given in going_on.remembered.items()]
        segmenter = self.model.segmenter.beside(None, self.options.end)

        def run(state: RunState | None) -> Generator[FrameMask]:
            with closing(self._source.open(end - 1)[0]) as reader:
                yield from segmenter.run(
                    self._observed(reader),
                    self.info,
                    going_on.prompt,
                    state,
                    later=going_on.later,
                    remembered=remembered,
                )

        with closing(self._masks(run, segmenter, end - 1)) as masks:
            for mask in masks:
                if mask.index >= end:
                    self._changed[mask.source] += 1
                    yield mask
        self._stages.update(segmenter.stats.seconds)

    def _masks(
        self,
        run: Callable[[RunState | None], Generator[FrameMask]],
        segmenter: SegmenterLike,
        first: int,
        step: int = 1,
        frames: int | None = None,
    ) -> Generator[FrameMask]:
        """Yield the masks of a walk, and count them; those that an earlier attempt kept are not computed again.

        Args:
            run: Returns the masks after those that belong to a resume state.
            segmenter: Segments the frames.
            first: Presentation index of the first mask.
            step: From one mask to the next, 1 or -1.
            frames: Number of masks if the walk does not end early; None if unknown.
        """
        if self._keep is None:
            masks = run(None)
        else:
            kept = self._keep(self._walk_count, first if step > 0 else 0)
            self._walk_count += 1
            spool = kept.open(first, self.info.display_width, self.info.display_height, step)
            masks = kept.masks(run(kept.state), spool, lambda: segmenter.state, frames)
        with closing(masks):
            for mask in masks:
                self._segmented[mask.source] += 1
                yield mask

    def _observed(self, reader: Iterable[CompressedFrame]) -> Iterator[CompressedFrame]:
        for frame in self.bitstream.count(reader):
            self._count(frame)
            yield frame

    def _count(self, frame: CompressedFrame) -> None:
        self._done += 1
        self._on_frame(frame)
