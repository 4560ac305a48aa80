"""From presentation order, in which decoders give pictures, back to decode order: references come first (pure).

A picture's packet number says where it stood in decode order. Packets without a picture of their own (second fields,
edit lists, damage) leave gaps, so a picture cannot simply wait for all smaller numbers: it waits until they have come
or can no longer come.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(order=True)
class _Held(Generic[Item]):
    number: int
    arrival: int
    item: Item = field(compare=False)


class DecodeOrder(Generic[Item]):
    """Holds pictures until their turn in decode order.

    A missing packet is waited for until a picture with a later presentation time has come (decoders give pictures by
    rising time), or, where times are missing or do not rise, until `limit` pictures are held.

    Args:
        limit: Most pictures to hold. At least as many as a stream may reorder (H.264: 16) lose no order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[_Held[Item]] = []
        self._next = 0
        self._arrivals = 0
        self._missing: dict[int, int | None] = {}
        self._last_time: int | None = None
        self._times_rise = True

    def sent(self, number: int, time: int | None) -> None:
        """Note that packet `number` with presentation time `time` went into the decoder; numbers rise by 1 from 0."""
        self._missing[number] = time

    def push(self, item: Item, number: int, time: int | None) -> Iterator[Item]:
        """Take the next picture in presentation order; give those whose turn has come, in decode order."""
        if time is None or (self._last_time is not None and time <= self._last_time):
            self._times_rise = False
        self._last_time = time
        self._missing.pop(number, None)
        heapq.heappush(self._heap, _Held(number, self._arrivals, item))
        self._arrivals += 1
        while self._heap and (len(self._heap) > self._limit or self._is_turn(self._heap[0].number)):
            yield self._release()

    def flush(self) -> Iterator[Item]:
        """Give all that is left, in decode order."""
        while self._heap:
            yield self._release()

    def _release(self) -> Item:
        held = heapq.heappop(self._heap)
        for number in range(self._next, held.number):
            self._missing.pop(number, None)
        self._next = max(self._next, held.number + 1)
        return held.item

    def _is_turn(self, number: int) -> bool:
        while self._next < number and self._cannot_come(self._next):
            self._missing.pop(self._next, None)
            self._next += 1
        return self._next >= number

    def _cannot_come(self, number: int) -> bool:
        if number not in self._missing:
            return True
        time = self._missing[number]
        return self._times_rise and time is not None and self._last_time is not None and time <= self._last_time
