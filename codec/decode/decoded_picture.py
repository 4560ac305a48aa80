"""The decoded picture that is handed to motion analysis."""

from __future__ import annotations

from dataclasses import dataclass

import av

from codec.h264.slice_header import RefPicMarking
from codec.types import FrameType, UInt8Array, VectorArray


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """A decoded picture with its motion vectors and its role as a reference.

    The picture and its vectors may differ in size: a proxy's vectors are in analysis pixels.

    Attributes:
        frame: The picture, of any size and pixel format.
        index: Position in presentation order, from 0.
        pts: Presentation time in units of the stream's time base, None if unknown.
        time: Presentation time in seconds from the start of the file.
        type: I, P or B.
        is_reference: Whether later frames may be predicted from this one.
        is_idr: Whether no later frame in decode order refers to a frame before this one.
        vectors: AVMotionVector records [n], None if the frame has none.
        vector_size: Size (width, height) after cropping of the picture whose pixels the vectors are in.
        vector_crop: Pixels (left, top) that were cropped from that picture.
        max_reference_frames: Most reference frames in use at once (H.264 `max_num_ref_frames`; 2 in MPEG-1, -2 and -4).
        is_interlaced: Whether vectors may count the lines of a field.
        luma: uint8 [height, width] at analysis size if it was computed already, else None.
        marking: How the picture marks earlier references (H.264), None if unknown.
    """

    frame: av.VideoFrame
    index: int
    pts: int | None
    time: float
    type: FrameType
    is_reference: bool
    is_idr: bool
    vectors: VectorArray | None
    vector_size: tuple[int, int]
    vector_crop: tuple[int, int]
    max_reference_frames: int
    is_interlaced: bool = False
    luma: UInt8Array | None = None
    marking: RefPicMarking | None = None
