"""Which decoded frames later ones may refer to (H.264 clause 8.2.5; pure).

MPEG-1, -2 and -4 keep the last two. H.264 keeps a sliding window of short-term frames, from which a frame may take
some out of turn, and long-term frames, which stay until they are taken out. Encoders use that for B pyramids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from codec.h264.slice_header import Marking


@dataclass(frozen=True, slots=True)
class Reference:
    """A decoded frame that others may be predicted from.

    Attributes:
        decode_index, index: Its positions in decode and in presentation order.
        number: Its `frame_num` (H.264), None if not known.
        long_term: Its number as a long-term reference, None if it is a short-term one.
    """

    decode_index: int
    index: int
    number: int | None = None
    long_term: int | None = None


class Reach:
    """The frames that the next frame may refer to.

    Args:
        capacity: Most frames in reach.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._frames: dict[int, Reference] = {}

    @property
    def frames(self) -> tuple[Reference, ...]:
        """Frames in reach, oldest first."""
        return tuple(self._frames.values())

    @property
    def decode_indices(self) -> tuple[int, ...]:
        """Their decode indices, ascending."""
        return tuple(self._frames)

    def clear(self) -> None:
        """Forget all frames: nothing after this refers to them."""
        self._frames.clear()

    def add(self, frame: Reference, marking: Marking | None = None) -> None:
        """Take a frame in, after its commands; the oldest short-term one leaves when there are too many."""
        if marking is not None:
            frame = replace(frame, number=marking.number, long_term=0 if marking.is_long_term else None)
            for operation, first, second in marking.commands or ():
                frame = self._obey(frame, marking, operation, first, second)
        while len(self._frames) >= self.capacity:
            short_term = [name for name, held in self._frames.items() if held.long_term is None]
            del self._frames[next(iter(short_term or self._frames))]
        self._frames[frame.decode_index] = frame

    def _obey(self, frame: Reference, marking: Marking, operation: int, first: int, second: int) -> Reference:
        """Carry out one memory management control operation (clause 8.2.5.4); returns the new frame as it is then."""
        match operation:
            case 1:
                self._drop(self._short_term(marking, first))
            case 2:
                self._drop(self._long_term(first))
            case 3:
                held = self._short_term(marking, first)
                self._drop(self._long_term(second))
                if held is not None:
                    self._frames[held.decode_index] = replace(held, long_term=second)
            case 4:
                for held in self.frames:
                    if held.long_term is not None and held.long_term >= first:
                        self._drop(held)
            case 5:
                self.clear()
                return replace(frame, number=0)
            case 6:
                self._drop(self._long_term(first))
                return replace(frame, long_term=first)
        return frame

    def _short_term(self, marking: Marking, difference: int) -> Reference | None:
        """The short-term frame whose number is this much, and one, before the marking's."""
        number = (marking.number - difference - 1) % marking.modulus
        held = (frame for frame in self.frames if frame.long_term is None and frame.number == number)
        return next(held, None)

    def _long_term(self, number: int) -> Reference | None:
        return next((frame for frame in self.frames if frame.long_term == number), None)

    def _drop(self, frame: Reference | None) -> None:
        if frame is not None:
            del self._frames[frame.decode_index]
