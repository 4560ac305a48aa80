"""Track which decoded frames later frames may refer to (ITU-T H.264, clause 8.2.5).

MPEG-1, MPEG-2 and MPEG-4 keep the last two reference frames. H.264 keeps a sliding window of short-term references and
a set of long-term ones; memory management control operations (MMCO) change both. Encoders use them for B pyramids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from codec.h264.slice_header import RefPicMarking


@dataclass(frozen=True, slots=True)
class ReferenceFrame:
    """A decoded frame that is marked as a reference.

    Attributes:
        decode_index: Position in decode order, from 0.
        index: Position in presentation order, from 0.
        frame_num: Number as a short-term reference (H.264), None if unknown.
        long_term_frame_idx: Number as a long-term reference, None for a short-term one.
    """

    decode_index: int
    index: int
    frame_num: int | None = None
    long_term_frame_idx: int | None = None


class DecodedPictureBuffer:
    """The reference frames of the next frame.

    Args:
        capacity: Most frames to hold (`max_num_ref_frames`).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._frames: dict[int, ReferenceFrame] = {}

    @property
    def frames(self) -> tuple[ReferenceFrame, ...]:
        """Reference frames in decode order."""
        return tuple(self._frames.values())

    @property
    def decode_indices(self) -> tuple[int, ...]:
        """Decode indices of the reference frames, ascending."""
        return tuple(self._frames)

    def clear(self) -> None:
        """Remove all frames, as an IDR picture does."""
        self._frames.clear()

    def add(self, frame: ReferenceFrame, marking: RefPicMarking | None = None) -> None:
        """Apply a frame's marking, then add the frame.

        If the buffer is full, the oldest short-term frame is removed (sliding window, clause 8.2.5.3).
        """
        if marking is not None:
            long_term_frame_idx = 0 if marking.long_term_reference_flag else None
            frame = replace(frame, frame_num=marking.frame_num, long_term_frame_idx=long_term_frame_idx)
            for operation in marking.mmco or ():
                frame = self._apply_mmco(frame, marking, *operation)
        while len(self._frames) >= self.capacity:
            short_term = [index for index, held in self._frames.items() if held.long_term_frame_idx is None]
            del self._frames[next(iter(short_term or self._frames))]
        self._frames[frame.decode_index] = frame

    def _apply_mmco(
        self, frame: ReferenceFrame, marking: RefPicMarking, operation: int, first: int, second: int
    ) -> ReferenceFrame:
        """Apply one memory management control operation (clause 8.2.5.4); returns the current frame, updated."""
        match operation:
            case 1:
                self._remove(self._short_term(marking, first))
            case 2:
                self._remove(self._long_term(first))
            case 3:
                held = self._short_term(marking, first)
                self._remove(self._long_term(second))
                if held is not None:
                    self._frames[held.decode_index] = replace(held, long_term_frame_idx=second)
            case 4:
                for held in self.frames:
                    if held.long_term_frame_idx is not None and held.long_term_frame_idx >= first:
                        self._remove(held)
            case 5:
                self.clear()
                return replace(frame, frame_num=0)
            case 6:
                self._remove(self._long_term(first))
                return replace(frame, long_term_frame_idx=first)
        return frame

    def _short_term(self, marking: RefPicMarking, difference_of_pic_nums_minus1: int) -> ReferenceFrame | None:
        """The short-term frame that precedes the marking's by this difference (equation 8-39)."""
        frame_num = (marking.frame_num - difference_of_pic_nums_minus1 - 1) % marking.max_frame_num
        held = (f for f in self.frames if f.long_term_frame_idx is None and f.frame_num == frame_num)
        return next(held, None)

    def _long_term(self, long_term_frame_idx: int) -> ReferenceFrame | None:
        return next((f for f in self.frames if f.long_term_frame_idx == long_term_frame_idx), None)

    def _remove(self, frame: ReferenceFrame | None) -> None:
        if frame is not None:
            del self._frames[frame.decode_index]
