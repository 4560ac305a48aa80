"""A decoded picture with its vectors -> CompressedFrame: the one place where motion, references and residual meet.

Two sources of `DecodedPicture` exist in `codec.bitstream`: with the stream's own vectors, in decode order; and with
a proxy's vectors, in presentation order. A picture and its vectors need not have the same size: `vector_size` says in
whose pixels the vectors are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import av
import numpy as np

from codec.atlas import Atlas
from codec.motion import Geometry, VectorArray, cells_of, lay_blocks
from codec.picture import Scaler
from codec.prediction import Prediction, Workspace
from codec.references import Matcher, Reach, Reference, nearest
from codec.types import CompressedFrame, FrameType, Int16Array, MotionField, UInt8Array

MOST_REFERENCES = 16
"""Most frames in reach (H.264 max_num_ref_frames, clause 7.4.2.1.1)."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """What decoding gives of one frame.

    Attributes:
        frame: The picture, of any size and format.
        index: Position in presentation order, from 0.
        pts: Presentation time in stream units, None if unknown.
        time: Presentation time in seconds.
        type: I, P or B.
        is_reference: Whether later frames may be predicted from it.
        is_refresh: Whether no later frame (in decode order) refers to one before it (IDR).
        vectors: AVMotionVector records [n]; None if the frame has none.
        vector_size: (width, height) of the picture in whose pixels the vectors are, after cropping.
        vector_crop: (left, top) pixels that cropping took off that picture.
        reach: Most reference frames that a frame may refer to (H.264 max_num_ref_frames; 2 in MPEG-1, -2 and -4).
        has_fields: Whether vectors may count the lines of a field.
        luma: uint8 at analysis size where it was needed already; None: it is made from `frame`.
    """

    frame: av.VideoFrame
    index: int
    pts: int | None
    time: float
    type: FrameType
    is_reference: bool
    is_refresh: bool
    vectors: VectorArray | None
    vector_size: tuple[int, int]
    vector_crop: tuple[int, int]
    reach: int
    has_fields: bool = False
    luma: UInt8Array | None = None


class FrameAnalyzer:
    """Turns decoded pictures, given in decode order, into frames; remembers the reference frames in reach."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._atlas = Atlas(scaler.size, MOST_REFERENCES + 1)
        self._space = Workspace(*cells_of(scaler.size))
        self._reach = Reach(capacity=1)
        self._decode_index = 0
        self._vector_size = (0, 0)

    def analyze(self, picture: DecodedPicture) -> CompressedFrame:
        """Describe the next picture in decode order."""
        luma = self._scaler.luma(picture.frame) if picture.luma is None else picture.luma
        if picture.is_refresh or picture.vector_size != self._vector_size:
            self._reach.clear()
        self._vector_size = picture.vector_size
        self._atlas.keep(self._reach.decode_indices)
        self._atlas.put(self._decode_index, luma)
        motion, residual = self._compensate(picture, luma)
        if picture.is_reference:
            self._reach.capacity = min(max(1, picture.reach), MOST_REFERENCES)
            self._reach.add(Reference(self._decode_index, picture.index))
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
            references_in_reach=self._reach.decode_indices,
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
        reference = nearest(blocks, frames, picture.index)
        if picture.has_fields:
            matcher = Matcher(blocks, self._atlas, self._decode_index, picture.index, frames)
            blocks = replace(blocks, vectors=matcher.unfold(reference))
        prediction = Prediction(blocks, reference, self._atlas, self._decode_index, self._space)
        if len(frames) > 1:
            matcher = Matcher(blocks, self._atlas, self._decode_index, picture.index, frames)
            reference = matcher.improve(reference, prediction.error(luma))
            prediction.change(reference)
        vectors = np.where((reference >= 0)[:, None], blocks.vectors, np.float32(0))
        return MotionField(np.take(vectors, blocks.block, axis=0), prediction.reference), prediction.residual(luma)
