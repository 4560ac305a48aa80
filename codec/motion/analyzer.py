"""A decoded picture with its vectors -> CompressedFrame: the one place where motion, references and residual meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.scaler import Scaler
from codec.h264.dpb import Reach, Reference
from codec.motion.block_grid import Geometry, lay_blocks
from codec.motion.compensation import Prediction
from codec.motion.reference_pictures import Stack
from codec.motion.reference_selection import Matcher
from codec.types import CompressedFrame, Int16Array, MotionField, UInt8Array

MOST_REFERENCES = 16
"""Most frames in reach (H.264 max_num_ref_frames, clause 7.4.2.1.1)."""


class FrameAnalyzer:
    """Turns decoded pictures, given in decode order, into frames; remembers the reference frames in reach."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._stack = Stack(scaler.size, MOST_REFERENCES)
        self._reach = Reach(capacity=1)
        self._decode_index = 0
        self._vector_size = (0, 0)

    def analyze(self, picture: DecodedPicture) -> CompressedFrame:
        """Describe the next picture in decode order."""
        luma = self._scaler.luma(picture.frame) if picture.luma is None else picture.luma
        if picture.is_idr or picture.vector_size != self._vector_size:
            self._reach.clear()
        self._vector_size = picture.vector_size
        motion, residual = self._compensate(picture, luma)
        if picture.is_reference:
            self._reach.capacity = min(max(1, picture.max_reference_frames), MOST_REFERENCES)
            self._reach.add(Reference(self._decode_index, picture.index), picture.marking)
            self._stack.put(self._decode_index, luma, self._reach.decode_indices)
        frame = CompressedFrame(
            index=picture.index,
            decode_index=self._decode_index,
            pts=picture.pts,
            time=picture.time,
            type=picture.type,
            is_reference=picture.is_reference,
            luma=luma,
            motion=motion,
            residual=residual,
            available_references=self._reach.decode_indices,
            to_rgb=self._scaler.rgb(picture.frame),
        )
        self._decode_index += 1
        return frame

    def _compensate(self, picture: DecodedPicture, luma: UInt8Array) -> tuple[MotionField, Int16Array]:
        """Motion with its references, and what it leaves over."""
        geometry = Geometry.between(picture.vector_size, self._scaler.size, picture.vector_crop)
        frames = self._reach.frames
        if picture.vectors is None or not len(picture.vectors) or not frames:
            return MotionField.empty(geometry.rows, geometry.columns), np.zeros(luma.shape, np.int16)
        blocks = lay_blocks(picture.vectors, geometry)
        matcher = Matcher(self._stack, frames, picture.index)
        slot = matcher.nearest(blocks)
        if picture.has_fields:
            blocks = replace(blocks, vectors=matcher.unfold(blocks, slot, luma))
        prediction = Prediction(blocks, slot, self._stack, luma)
        if len(frames) > 1:
            prediction.change(matcher.improve(blocks, slot, luma, prediction.excess))
        return prediction.motion(), prediction.residual
