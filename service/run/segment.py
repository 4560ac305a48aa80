"""The one way from a video and a prompt to masks.

The command line, the workers of the service, `eval`, `bench` and the Python API take their masks from `segment`; they
differ only in what they do with each mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from time import perf_counter
from types import TracebackType
from typing import Any

from codec.reader import VideoReader
from codec.types import CompressedFrame, VideoInfo
from service.config import Settings, load_settings
from service.errors import RunError
from service.prompts.read_prompt import ReadPrompt
from service.run.bitstream_stats import BitstreamStats
from service.run.directions.backward import BackwardWalk
from service.run.directions.given import (
    Given,
    check_objects,
    given_by_frame,
    make_masks,
    marked_objects,
    read_prompts,
)
from service.run.directions.joined_run import JoinedRun
from service.run.model_loader import LoadedModel, ModelLoader, choice_of, load_model
from service.run.options import RunOptions
from service.run.per_object import check_labels
from service.run.report import Report
from service.run.resume.kept_walk import KeptWalk
from service.run.review.cuts import CutDetector
from service.run.review.reviewer import ObjectFacts, Reviewer, ReviewRange
from service.run.source.analysis_size import size_notes, sufficient_side
from service.run.source.analyzed_video import AnalyzedVideo, FrameCallback
from service.run.source.frame_range import check_frames, final_notes
from service.run.source.video_input import Video, timestamps_of
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Stats

_MOST_JUMPS = 5
"""Jumps of the stream's clock that a note lists."""


def segment(
    video: Video,
    prompt: Given,
    options: RunOptions | None = None,
    *,
    settings: Settings | None = None,
    load: ModelLoader = load_model,
    on_frame: FrameCallback = lambda _frame: None,
) -> Segmentation:
    """Segment a video: open it, check the prompts, load the network; iterate over the result for the masks.

    Example:
        with segment("dog.mp4", Path("mask.png"), RunOptions(quality="fast")) as masks:
            for mask in masks:
                print(mask.index, mask.labels.shape)

    Args:
        video: Path, bytes or binary file of a video; a folder or list of pictures; RGB pictures uint8 [T, H, W, 3].
        prompt: Mask of the prompt frame: path or bytes of a picture, or an array such as object ids [height, width]; or
            boxes, points and masks of single objects, from which the mask is made. For several frames, shapes that name
            them, or masks and shapes by presentation index.
        options: How to segment.
        settings: Where pulled weights lie, and how many objects are allowed; read from the environment by default.
        load: Loads the network.
        on_frame: Called with each frame, in decode order, before it is segmented; it may raise to stop the run. With
            `direction` "both", frames come backwards first.

    Raises:
        CodecError: The video cannot be read.
        VosError: A prompt, an option or the weights cannot be used.
        MaskFileError: A mask file cannot be used.
        TooManyObjectsError: The masks mark more objects than the setting `max_objects` allows.
        UsageError: `labels` names an object that no prompt has.
    """
    options, settings = options or RunOptions(), settings or load_settings()
    started = perf_counter()
    given, options = given_by_frame(prompt, options)
    check_frames(video, options, max(given))
    both = options.direction == "both"
    timestamps = timestamps_of(video) if both or len(given) > 1 else None
    made = make_masks(video, given, timestamps)
    side = options.least_analysis_side
    source = AnalyzedVideo(video, timestamps, side, options.max_side, options.motion)
    reader, notes = source.open()
    try:
        prompts = read_prompts(made, reader.info, options)
        objects = marked_objects(prompts)
        check_objects(len(objects), settings.max_objects)
        check_labels(options.labels, [item.object for item in objects])
        if options.analysis_side == "auto" and (larger := sufficient_side(objects, reader.info)) > side:
            reader.close()
            side = larger
            source = replace(source, short_side=side)
            reader, notes = source.open()
        notes += size_notes(options, side, objects, reader.info)
        opened = perf_counter()
        model = load(choice_of(options), options.for_segmenter(), settings)
        notes += model.notes
        seconds = {"open": opened - started, "load": perf_counter() - opened}
        joined = None
        if both or len(prompts) > 1:
            plain = [read.prompt for read in prompts]
            walk = BackwardWalk(source, plain, options.first_frame) if both else None
            walk = None if walk is None or walk.frames < 2 else walk
            joined = JoinedRun(model.segmenter, plain, walk, options.first_frame, options.end)
            notes += walk.notes if walk is not None else []
        return Segmentation(
            reader,
            prompts,
            options,
            model,
            on_frame=on_frame,
            seconds=seconds,
            notes=notes,
            joined=joined,
            source=source,
        )
    except BaseException:
        reader.close()
        raise


class Segmentation:
    """A video that is being segmented: iterate over it once, inside `with`.

    Attributes:
        info: Sizes and orientation of the video.
        model: The loaded network.
        bitstream: What the bitstream has offered so far.
        options: How it is segmented.
        seconds: Seconds spent before the first frame: "open" and "load".
        prompts: The prompts that were read, in presentation order.
        prompt: The first of them, with the objects of all.
        notes: What the user should know, in plain words.
    """

    def __init__(
        self,
        reader: VideoReader,
        prompts: tuple[ReadPrompt, ...],
        options: RunOptions,
        model: LoadedModel,
        *,
        on_frame: FrameCallback,
        seconds: dict[str, float],
        notes: list[str],
        joined: JoinedRun | None,
        source: AnalyzedVideo,
    ) -> None:
        self.info: VideoInfo = reader.info
        self.model = model
        self.options = options
        self.bitstream = BitstreamStats()
        self.seconds = seconds
        self.notes = [*notes, *chain.from_iterable(prompt.notes for prompt in prompts)]
        self.prompts = prompts
        self.prompt = replace(prompts[0], objects=marked_objects(prompts))
        self._reviewer = Reviewer()
        self._absent = {prompt.prompt.index: prompt.prompt.absent for prompt in prompts}
        self._cuts = CutDetector()
        self._reader = reader
        self._source = source
        self._joined = joined
        self._frames_back = 0
        self._on_frame = on_frame
        self._resume_state: RunState | None = None

    def __enter__(self) -> Segmentation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FrameMask]:
        """Masks in presentation order, one per frame from `options.start` to `options.end`.

        Raises:
            BrokenStreamError: Decoding stopped in the middle; the masks of the frames before have been yielded.
            OptionError: The prompt frame or the range lies outside the video.
            RunError: The video yields no frame to segment.
        """
        if self._joined is None:
            masks = self.model.segmenter.run(self._frames(), self.info, self.prompt.prompt, self._resume_state)
        else:
            if self._joined.frames_back:
                self._reader.close()  # a file object is read by one reader at a time
            masks = self._joined.masks(self._frames_again, self.info, self._observe_back)
        is_empty = self._resume_state is None
        for mask in masks:
            is_empty = False
            yield mask
        if is_empty:
            raise RunError("the video yields no frame to segment")
        self.notes += final_notes(self.options, self.info, self.bitstream)

    def add_to_review(self, index: int, source: MaskSource, objects: Mapping[int, ObjectFacts]) -> None:
        """Judge whether a frame needs review. Call this for each mask in presentation order, also of an earlier run."""
        self._reviewer.add(index, source, objects, self._cuts.since_cut(index), self._absent.get(index, ()))

    @property
    def review(self) -> tuple[ReviewRange, ...]:
        """Ranges of frames to look at first, the most urgent first."""
        return tuple(self._reviewer.ranges())

    def resume(self, state: RunState) -> None:
        """Start after the masks that an earlier run with the same video, prompt, options and network returned."""
        self._resume_state = state
        if self._joined is not None:
            self._joined.resume(state)

    def keep_walk(self, kept: KeptWalk) -> None:
        """Keep the masks of the walk back, if there is one, and begin with those that an earlier run kept."""
        if self._joined is not None:
            self._joined.keep_walk(kept)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of all objects that a prompt marks, ascending."""
        return tuple(item.object for item in self.prompt.objects)

    @property
    def stats(self) -> Stats:
        """Frames and seconds so far; with a resume state, including the earlier run's frames."""
        return self.model.segmenter.stats if self._joined is None else self._joined.stats

    @property
    def state(self) -> RunState | None:
        """Resume state of the run; None before the first mask, and while frames before the first prompt are emitted."""
        return self.model.segmenter.state if self._joined is None else self._joined.state

    @property
    def walks_back(self) -> bool:
        """Whether masks are propagated backwards, too, before the first one is emitted."""
        return self._joined is not None and self._joined.frames_back > 0

    @property
    def steps(self) -> tuple[int, int | None]:
        """Frames read so far in either direction, and how many there are by the video's header; None if unknown."""
        done, back = self.back_steps
        ends = [end for end in (self.options.end, self.info.frames_from_header) if end is not None]
        return done + self.bitstream.frames, back + min(ends) if ends else None

    @property
    def back_steps(self) -> tuple[int, int]:
        """Frames of the walk back that were read so far, and how many there are; both 0 without such a walk."""
        return self._frames_back, 0 if self._joined is None else self._joined.frames_back

    @property
    def mask_count(self) -> int | None:
        """Masks that are expected, by the video's header; None if unknown."""
        return self.options.mask_count(self.info.frames_from_header)

    def report(self, seconds: dict[str, float], notes: Iterable[str] = (), **other: Any) -> Report:
        """Return the report so far.

        Args:
            seconds: What the caller measured: "write" and "total".
            notes: What the caller noted, after the notes of the run itself.
            other: Further attributes of the report.
        """
        return Report(
            codec=self.bitstream.to_json(self.info),
            model=self.model.description,
            options=self.options,
            stats=self.stats,
            seconds=self.seconds | seconds,
            notes=(*self.notes, *self._clock_notes(), *notes),
            prompt=self.prompt.objects,
            pixels=self.prompt.prompt.labels.size,
            review=self.review,
            **other,
        )

    def close(self) -> None:
        """Stop decoding and close the video."""
        self._reader.close()

    def _frames(self) -> Iterator[CompressedFrame]:
        return self._observed(self.bitstream.count(self._reader))

    def _frames_again(self) -> Iterator[CompressedFrame]:
        if self.walks_back:
            self._reader, _ = self._source.open()
            _, self._frames_back = self.back_steps  # an earlier run may have read some of them
        return self._frames()

    def _observe_back(self, frame: CompressedFrame) -> None:
        self._frames_back += 1
        self._on_frame(frame)

    def _clock_notes(self) -> Iterator[str]:
        jumps = [i for i in self._reader.clock_jumps if self.options.end is None or i < self.options.end]
        if jumps:
            where = ("frame " if len(jumps) == 1 else "frames ") + ", ".join(map(str, jumps[:_MOST_JUMPS]))
            more = f" and {len(jumps) - _MOST_JUMPS} more" if len(jumps) > _MOST_JUMPS else ""
            yield f"the clock of the stream jumps at {where}{more}; times go on from the frame before"

    def _observed(self, frames: Iterator[CompressedFrame]) -> Iterator[CompressedFrame]:
        for frame in frames:
            self._on_frame(frame)
            self._cuts.observe(frame.index, frame.luma)
            yield frame
