"""What decoding hands to analysis.

Two sources of `DecodedPicture` exist in `codec.decode.pictures`: with the stream's own vectors, in decode order; and
with
a proxy's vectors, in presentation order. A picture and its vectors need not have the same size: `vector_size` says in
whose pixels the vectors are.
"""

from __future__ import annotations

from dataclasses import dataclass

import av

from codec.h264.slice_header import Marking
from codec.types import FrameType, UInt8Array, VectorArray


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
        is_idr: Whether no later frame (in decode order) refers to one before it (IDR).
        vectors: AVMotionVector records [n]; None if the frame has none.
        vector_size: (width, height) of the picture in whose pixels the vectors are, after cropping.
        vector_crop: (left, top) pixels that cropping took off that picture.
        max_reference_frames: Frames kept as references at once (H.264 max_num_ref_frames; 2 in MPEG-1, -2 and -4).
        has_fields: Whether vectors may count the lines of a field.
        luma: uint8 at analysis size where it was needed already; None: it is made from `frame`.
        marking: H.264: what the picture does to the references before it, None where that is not known.
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
    has_fields: bool = False
    luma: UInt8Array | None = None
    marking: Marking | None = None
