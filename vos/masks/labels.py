"""Make the mask of a frame as it is emitted: a label image in display size, and a confidence per object."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from codec.types import CompressedFrame, VideoInfo
from vos.masks.geometry import mask_confidence, soft_to_labels
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import one_thread
from vos.types import FrameMask, MaskSource, Prompt


@dataclass(frozen=True, slots=True)
class Labeler:
    """Turns soft masks of one video into `FrameMask`s.

    Attributes:
        prompt: Mask of the prompt frame; its object ids are the labels.
        info: Sizes and orientation of the video.
        timer: Takes the time of the stage "labels".
    """

    prompt: Prompt
    info: VideoInfo
    timer: StageTimer

    @one_thread()
    def label(
        self, frame: CompressedFrame, source: MaskSource, soft: Tensor, stride: int, confidence: Tensor
    ) -> FrameMask:
        """Return the mask of a frame.

        Args:
            frame: The frame.
            source: Where the mask comes from.
            soft: Soft masks [K, rows, columns].
            stride: Analysis pixels per cell.
            confidence: Factor of each object's score, [K], 0 to 1.
        """
        ids = self.prompt.object_ids
        with self.timer.stage("labels"):
            masks = soft.cpu().numpy()
            labels = soft_to_labels(masks, stride, ids, self.info)
            scores = (mask_confidence(masks) * confidence.cpu().numpy()).tolist()
        scores_by_id = dict(zip(ids, scores, strict=True))
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, scores_by_id)

    def label_prompt(self, frame: CompressedFrame) -> FrameMask:
        """Return the given mask as the mask of the prompt frame."""
        labels = self.prompt.labels.copy()
        scores = dict.fromkeys(self.prompt.object_ids, 1.0)
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, MaskSource.PROMPT, labels, scores)
