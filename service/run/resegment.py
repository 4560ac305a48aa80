"""Compute the masks that a correction changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from codec.reader import open_video
from codec.types import CompressedFrame
from service.config import Settings, load_settings
from service.prompts.shapes import Shapes, frames_of
from service.run.model_loader import LoadedModel, ModelLoader, choice_of, load_model
from service.run.options import RunOptions
from service.run.stored_masks import StoredMasks
from vos.types import FrameMask, MaskSource


def resegment(
    video: Path,
    stored: StoredMasks,
    earlier: Shapes,  # noqa: ARG001 - what they can change is not computed yet
    new: Shapes,
    options: RunOptions | None = None,
    *,
    settings: Settings | None = None,
    load: ModelLoader = load_model,
    on_frame: Callable[[CompressedFrame], None] = lambda _frame: None,  # noqa: ARG001
) -> Correction:
    """Return the masks that a correction changes, in presentation order.

    Args:
        video: The video.
        stored: The masks before the correction.
        earlier: Prompts before the correction, as masks or absent objects.
        new: Prompts of the correction, likewise.
        options: How the video was segmented.
        settings: Settings of the service; read from the environment by default.
        load: Loads the network.
        on_frame: Called with each frame that is decoded.
    """
    options = options or RunOptions()
    model = load(choice_of(options), options.for_segmenter(), settings or load_settings())
    return Correction(video, stored, new, model)


class Correction:
    """The masks of the frames that are given."""

    def __init__(self, video: Path, stored: StoredMasks, new: Shapes, model: LoadedModel) -> None:
        with closing(open_video(video)) as reader:
            self.info = reader.info
        self.model = model
        self.notes: tuple[str, ...] = ()
        self._stored = stored
        self._new = new

    def __enter__(self) -> Correction:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[FrameMask]:
        for index, shapes in frames_of(self._new).items():
            mask = self._stored.mask(index)
            if mask is None:
                continue
            labels, scores = mask.labels.copy(), dict(mask.scores)
            for shape in shapes:
                labels[labels == shape.object] = 0
                scores[shape.object] = 0.0 if shape.absent else 1.0
                if shape.rle is not None:
                    labels[shape.rle.mask()] = shape.object
            yield replace(mask, source=MaskSource.CORRECTED, labels=labels, scores=scores)
