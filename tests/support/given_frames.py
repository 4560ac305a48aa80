"""A stand-in for `service.run.directions.resegment`: without a network, only the frames change that are given."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from codec.reader import open_video
from codec.types import VideoInfo
from service.prompts.shapes import Shapes, frames_of
from service.run.bitstream_stats import BitstreamStats
from service.run.model_loader import LoadedModel
from service.run.options import RunOptions
from service.run.report import Report
from tests.support.still_engine import StillSegmenter
from vos.types import FrameMask, MaskSource, Options, Stats


@dataclass
class GivenFrames:
    """Yields the given frames: the stored mask with the objects that are given in place of its own.

    Frames that the result lacks get its last mask.
    """

    info: VideoInfo
    stored: Any
    new: Shapes
    missing: range
    notes: tuple[str, ...] = ()

    def __enter__(self) -> GivenFrames:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    @property
    def model(self) -> LoadedModel:
        """A network that does nothing."""
        return LoadedModel(StillSegmenter(Options()), {"name": "still", "weights": "/a/secret/path"})

    def keep_walks(self, _keep: object) -> None:
        """There are no walks."""

    def __iter__(self) -> Generator[FrameMask]:
        for index, shapes in frames_of(self.new).items():
            mask = self.stored.mask(index)
            labels, scores = mask.labels.copy(), dict(mask.scores)
            for shape in shapes:
                labels[labels == shape.object] = 0
                scores[shape.object] = 0.0 if shape.absent else 1.0
                if shape.rle is not None:
                    labels[shape.rle.mask()] = shape.object
            given = {shape.object for shape in shapes}
            soft = None if mask.soft is None else {i: one for i, one in mask.soft.items() if i not in given}
            yield replace(mask, source=MaskSource.CORRECTED, labels=labels, scores=scores, soft=soft)
        for index in self.missing:
            last = self.stored.mask(self.missing.start - 1)
            yield replace(last, index=index, pts=index, source=MaskSource.PROPAGATED)

    def report(self, seconds: dict[str, float]) -> Report:
        """The report of a run without a network."""
        return Report(
            codec={},
            model=self.model.description,
            options=RunOptions(),
            stats=Stats({}, {}),
            seconds=seconds,
            pixels=self.info.display_width * self.info.display_height,
        )

    @property
    def bitstream(self) -> BitstreamStats:
        """Nothing was decoded."""
        return BitstreamStats()


def correct_given_frames(
    video: Any, stored: Any, _earlier: Shapes, new: Shapes, _options: Any, *, rest_from: int | None, **_other: Any
) -> GivenFrames:
    """Replace `service.run.directions.resegment.resegment`."""
    with closing(open_video(video)) as reader:
        frames = reader.info.frames_from_header or 0
        return GivenFrames(reader.info, stored, new, range(frames if rest_from is None else rest_from, frames))
