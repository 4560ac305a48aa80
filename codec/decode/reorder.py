"""Restore decode order, in which references come first, from the presentation order of a decoder's output.

Each picture carries the number of its packet in decode order. Some packets have no picture of their own (second fields,
edit lists, damage). So a picture cannot wait for all smaller numbers: it waits until each of them has arrived or can
no longer arrive.
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


class DecodeOrderBuffer(Generic[Item]):
    """Holds pictures until they are next in decode order.

    A missing packet is awaited until a picture with a later presentation time arrives, since decoders output pictures
    by increasing time. If times are missing or do not increase, it is awaited until `limit` pictures are held.

    Args:
        limit: Most pictures to hold. To keep the order, it must be at least the stream's reorder depth (H.264: 16).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[_Held[Item]] = []
        self._next = 0
        self._arrivals = 0
        self._awaited: dict[int, int | None] = {}
        self._last_pts: int | None = None
        self._pts_increase = True

    def expect(self, number: int, pts: int | None) -> None:
        """Note that packet `number` was sent to the decoder. Numbers start at 0 and increase by 1."""
        self._awaited[number] = pts

    def push(self, item: Item, number: int, pts: int | None) -> Iterator[Item]:
        """Add the next picture in presentation order and yield the pictures that are due, in decode order."""
        if pts is None or (self._last_pts is not None and pts <= self._last_pts):
            self._pts_increase = False
        self._last_pts = pts
        self._awaited.pop(number, None)
        heapq.heappush(self._heap, _Held(number, self._arrivals, item))
        self._arrivals += 1
        while self._heap and (len(self._heap) > self._limit or self._is_next(self._heap[0].number)):
            yield self._pop()

    def flush(self) -> Iterator[Item]:
        """Yield all remaining pictures in decode order."""
        while self._heap:
            yield self._pop()

    def _pop(self) -> Item:
        held = heapq.heappop(self._heap)
        for number in range(self._next, held.number):
            self._awaited.pop(number, None)
        self._next = max(self._next, held.number + 1)
        return held.item

    def _is_next(self, number: int) -> bool:
        while self._next < number and self._cannot_come(self._next):
            self._awaited.pop(self._next, None)
            self._next += 1
        return self._next >= number

    def _cannot_come(self, number: int) -> bool:
        if number not in self._awaited:
            return True
        pts = self._awaited[number]
        return self._pts_increase and pts is not None and self._last_pts is not None and pts <= self._last_pts
