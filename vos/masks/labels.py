"""Make the mask of a frame as it is emitted: a label image in display size, and a confidence per object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, UInt8Array, VideoInfo
from vos.masks.edges import refined_labels
from vos.masks.geometry import mask_confidence, soft_to_labels, to_grid, to_uint8
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import one_thread
from vos.types import FrameMask, MaskSource, Prompt, SoftMask


@dataclass(frozen=True, slots=True)
class Labeler:
    """Turns soft masks of one video into `FrameMask`s.

    Attributes:
        object_ids: Label of each of the K objects.
        info: Sizes and orientation of the video.
        timer: Takes the time of the stage "labels".
        refine_edges: Whether edges follow the picture at full size.
        keep_soft: Whether masks keep the soft masks.
    """

    object_ids: tuple[int, ...]
    info: VideoInfo
    timer: StageTimer
    refine_edges: bool
    keep_soft: bool = False

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
        ids = self.object_ids
        with self.timer.stage("labels"):
            soft = soft.cpu()
            scores = (mask_confidence(soft.numpy()) * confidence.cpu().numpy()).tolist()
            labels = self._labels(frame, soft, stride)
        scores_by_id = dict(zip(ids, scores, strict=True))
        kept = None
        if self.keep_soft:
            extent = self.info.analysis_height / stride, self.info.analysis_width / stride
            kept = {i: SoftMask(values, extent) for i, values in zip(ids, to_uint8(soft.numpy()), strict=True)}
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, scores_by_id, kept)

    def label_prompt(self, frame: CompressedFrame, prompt: Prompt, others: FrameMask | None) -> FrameMask:
        """Return the mask of a prompt frame: the given objects exactly, and what is known of others outside them.

        Args:
            frame: The frame.
            prompt: Its prompt.
            others: The frame's mask as the network sees it; None if no other object is known.
        """
        labels, scores = prompt.labels.copy(), dict.fromkeys(prompt.object_ids, 1.0)
        soft: Mapping[int, SoftMask] | None = {} if self.keep_soft else None
        if others is not None:
            free = (labels == 0) & ~np.isin(others.labels, prompt.given_ids)
            labels[free] = others.labels[free]
            scores = others.scores | scores
            if others.soft is not None:
                soft = {i: mask for i, mask in others.soft.items() if i not in prompt.given_ids}
        scores |= dict.fromkeys(prompt.absent, 0.0)
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, prompt.source, labels, scores, soft)

    def _labels(self, frame: CompressedFrame, soft: Tensor, stride: int) -> UInt8Array:
        ids = self.object_ids
        if self.refine_edges and frame.to_planes is not None:
            grid = soft if stride == STRIDE else to_grid(soft)
            return refined_labels(grid.numpy(), frame.luma, frame.to_planes(), ids, self.info)
        return soft_to_labels(soft.numpy(), stride, ids, self.info)
