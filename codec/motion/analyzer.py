"""Turn a decoded picture with its vectors into a CompressedFrame: motion field, references and residual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.scaler import Scaler
from codec.h264.dpb import DecodedPictureBuffer, ReferenceFrame
from codec.h264.parameter_sets import MAX_NUM_REF_FRAMES
from codec.motion.block_grid import GridGeometry, build_block_grid
from codec.motion.compensation import MotionCompensation
from codec.motion.reference_pictures import ReferencePictures
from codec.motion.reference_selection import ReferenceSelector
from codec.types import CompressedFrame, Int16Array, MotionField, UInt8Array


class FrameAnalyzer:
    """Analyzes pictures in decode order and keeps the reference pictures that later ones need.

    Args:
        scaler: Scales pictures to analysis size.
        first: Presentation index of the first picture whose motion is wanted. Those before it may be references.
    """

    def __init__(self, scaler: Scaler, first: int = 0) -> None:
        self._scaler, self._first = scaler, first
        self._references = ReferencePictures(scaler.size, MAX_NUM_REF_FRAMES)
        self._dpb = DecodedPictureBuffer(capacity=1)
        self._decode_index = 0
        self._vector_size = (0, 0)

    def analyze(self, picture: DecodedPicture) -> CompressedFrame:
        """Analyze the next picture in decode order."""
        luma = self._scaler.luma(picture.frame) if picture.luma is None else picture.luma
        if picture.is_idr or picture.vector_size != self._vector_size:
            self._dpb.clear()
        self._vector_size = picture.vector_size
        motion, residual = self._compensate(picture, luma)
        if picture.is_reference:
            self._dpb.capacity = min(max(1, picture.max_reference_frames), MAX_NUM_REF_FRAMES)
            self._dpb.add(ReferenceFrame(self._decode_index, picture.index), picture.marking)
            self._references.add(self._decode_index, luma, keep=self._dpb.decode_indices)
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
            available_references=self._dpb.decode_indices,
            to_rgb=self._scaler.rgb(picture.frame),
            to_planes=self._scaler.planes(picture.frame),
        )
        self._decode_index += 1
        return frame

    def _compensate(self, picture: DecodedPicture, luma: UInt8Array) -> tuple[MotionField, Int16Array]:
        """Motion field and residual of a picture."""
        geometry = GridGeometry.between(picture.vector_size, self._scaler.size, picture.vector_crop)
        frames = self._dpb.frames
        if picture.index < self._first or picture.vectors is None or not len(picture.vectors) or not frames:
            return MotionField.empty(geometry.rows, geometry.columns), np.zeros(luma.shape, np.int16)
        grid = build_block_grid(picture.vectors, geometry)
        selector = ReferenceSelector(self._references, frames, picture.index)
        slots = selector.nearest(grid)
        if picture.is_interlaced:
            grid = replace(grid, vectors=selector.scale_field_vectors(grid, slots, luma))
        compensation = MotionCompensation(grid, slots, self._references, luma)
        if len(frames) > 1:
            compensation.update_slots(selector.reselect(grid, slots, luma, compensation.excess))
        return compensation.motion_field(), compensation.residual
