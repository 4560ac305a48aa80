"""Memory of key frames, of bounded size however long the video is and however often it is corrected."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from vos.modeling.network import Memory
from vos.runtime.run_state import MemoryLayout


class MemoryBank:
    """Keys and values of the first key frame, of permanent and spaced ones, and of the latest one.

    The first frame stays forever. Permanent frames stay until there are more than `capacity - 3`; the oldest of them is
    then treated as the oldest spaced frame. The latest frame has a slot that the next frame overwrites, unless it is
    permanent or lies `spacing` or more frames after the last spaced one. Then it becomes a spaced frame itself, and the
    oldest spaced frame is dropped once the bank is full.

    Entries of windows have fewer positions than those of whole pictures. The first entry has the most.

    Args:
        capacity: Maximum number of frames, at least 2.
        spacing: Minimum distance of spaced frames, in presentation order.
    """

    def __init__(self, capacity: int, spacing: int) -> None:
        self._capacity = capacity
        self._spacing = spacing
        self._indices: list[int] = []
        self._latest = 0
        self._spaced: deque[int] = deque()
        self._permanent: deque[int] = deque()
        self._most_permanent = max(0, capacity - 3)
        self._key: Tensor | None = None
        self._value: Tensor | None = None
        self._positions = [0] * capacity
        self._pending: tuple[int, Callable[[], Memory]] | None = None

    @property
    def layout(self) -> MemoryLayout:
        """Which frames the bank holds, and in which slots."""
        return MemoryLayout(tuple(self._indices), self._latest, tuple(self._spaced), tuple(self._permanent))

    def reserve(self, layout: MemoryLayout) -> None:
        """Reserve the slots of another bank's layout; `refill` restores their contents."""
        self._indices, self._latest = list(layout.indices), layout.latest
        self._spaced, self._permanent = deque(layout.spaced), deque(layout.permanent)

    def refill(self, index: int, entry: Memory) -> None:
        """Fill the reserved slot of a frame, given by its presentation index."""
        self._write(self._indices.index(index), entry)

    def add(self, index: int, entry: Callable[[], Memory], *, permanent: bool = False) -> None:
        """Add a key frame.

        Args:
            index: Its presentation index.
            entry: Returns its key [Kk, Ck, h*w] and value [K, Cv, h*w]; called when the bank is next used.
            permanent: Whether its masks were given, so that it stays.
        """
        self._write_pending()
        slot = self._slot_for(index)
        self._pending = slot, entry
        if permanent and slot and self._most_permanent:
            self._permanent.append(slot)
            if len(self._permanent) > self._most_permanent:
                self._spaced.appendleft(self._permanent.popleft())

    def view(self) -> Memory:
        """Return the keys and values of all frames side by side.

        Raises:
            LookupError: The bank is empty.
        """
        self._write_pending()
        if self._key is None or self._value is None:
            raise LookupError("the memory is empty: add a key frame first")
        room, positions = self._key.shape[-1] // self._capacity, self._positions[: len(self._indices)]
        if all(count == room for count in positions):
            used = room * len(positions)
            return Memory(self._key[..., :used], self._value[..., :used])
        parts = [slice(slot * room, slot * room + count) for slot, count in enumerate(positions)]
        return Memory(_joined(self._key, parts), _joined(self._value, parts))

    def _write_pending(self) -> None:
        if self._pending is not None:
            slot, entry = self._pending
            self._write(slot, entry())
            self._pending = None

    def _write(self, slot: int, entry: Memory) -> None:
        if self._key is None or self._value is None:
            self._key = _slots(entry.key, self._capacity)
            self._value = _slots(entry.value, self._capacity)
        positions, room = entry.key.shape[-1], self._key.shape[-1] // self._capacity
        where = slice(slot * room, slot * room + positions)
        self._positions[slot] = positions
        self._key[..., where] = entry.key
        self._value[..., where] = entry.value

    def _slot_for(self, index: int) -> int:
        """Return the slot of a new latest frame, after deciding whether the one before it becomes a spaced frame."""
        held = self._indices
        if len(held) > 1 and self._latest not in self._permanent:
            last_spaced = held[self._spaced[-1]] if self._spaced else held[0]
            if abs(held[self._latest] - last_spaced) < self._spacing:
                held[self._latest] = index
                return self._latest
            self._spaced.append(self._latest)
        if len(held) < self._capacity:
            held.append(index)
            self._latest = len(held) - 1
        else:
            self._latest = self._spaced.popleft()
            held[self._latest] = index
        return self._latest


def _slots(entry: Tensor, capacity: int) -> Tensor:
    """Room for `capacity` entries [A, C, n]: [A, C, capacity * n], stored position by position, as reads fetch it."""
    objects, channels, positions = entry.shape
    return entry.new_zeros(capacity * positions, objects, channels).permute(1, 2, 0)


def _joined(slots: Tensor, parts: list[slice]) -> Tensor:
    """Parts of slots [A, C, capacity * n] side by side, stored position by position as well."""
    rows = slots.permute(2, 0, 1)
    return torch.cat([rows[part] for part in parts]).permute(1, 2, 0)
