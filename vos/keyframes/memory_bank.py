"""Memory of key frames, bounded however long the video is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from torch import Tensor

from vos.modeling.network import Memory
from vos.runtime.run_state import MemoryLayout


class MemoryBank:
    """Keys and values of the first key frame, of spaced ones, and of the latest one.

    Slots: 0 holds the first frame for ever; the latest frame has a slot that the next one overwrites, unless it lies
    `spacing` or more frames after the last one that was kept: then it stays, and the oldest spaced one makes room.

    Args:
        capacity: Most frames held, at least 2.
        spacing: Least distance of kept frames, in presentation indices.
        layout: The frames that it is to hold; `refill` brings their contents.
    """

    def __init__(self, capacity: int, spacing: int, layout: MemoryLayout | None = None) -> None:
        self._capacity = capacity
        self._spacing = spacing
        self._indices = list(layout.indices) if layout else []
        self._latest = layout.latest if layout else 0
        self._kept = deque(layout.kept if layout else ())
        self._key: Tensor | None = None
        self._value: Tensor | None = None
        self._coming: tuple[int, Callable[[], Memory]] | None = None

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def indices(self) -> tuple[int, ...]:
        """Presentation indices of the frames held, by slot."""
        return tuple(self._indices)

    @property
    def layout(self) -> MemoryLayout:
        """The frames held, to make a bank that holds the same."""
        return MemoryLayout(self.indices, self._latest, tuple(self._kept))

    def add(self, index: int, coming: Callable[[], Memory]) -> None:
        """Remember a key frame: key [Kk, Ck, h*w] and value [K, Cv, h*w], which are asked for when they are needed."""
        self._settle()
        self._coming = self._slot_for(index), coming

    def refill(self, index: int, entry: Memory) -> None:
        """Bring the contents of a frame of the layout that the bank was made with."""
        self._put(self._indices.index(index), entry)

    def _settle(self) -> None:
        if self._coming is not None:
            slot, coming = self._coming
            self._put(slot, coming())
            self._coming = None

    def _put(self, slot: int, entry: Memory) -> None:
        if self._key is None or self._value is None:
            self._key = _slots(entry.key, self._capacity)
            self._value = _slots(entry.value, self._capacity)
        positions = entry.key.shape[-1]
        where = slice(slot * positions, (slot + 1) * positions)
        self._key[..., where] = entry.key
        self._value[..., where] = entry.value

    def view(self) -> Memory:
        """All that is refiner_keys, side by side; waits for what is coming."""
        self._settle()
        if self._key is None or self._value is None:
            raise LookupError("the memory is empty: add a key frame first")
        used = self._key.shape[-1] // self._capacity * len(self._indices)
        return Memory(self._key[..., :used], self._value[..., :used])

    def _slot_for(self, index: int) -> int:
        """The slot of a new latest frame, after the one before it was kept or given up."""
        held = self._indices
        if len(held) > 1:
            last_kept = held[self._kept[-1]] if self._kept else held[0]
            if abs(held[self._latest] - last_kept) < self._spacing:
                held[self._latest] = index
                return self._latest
            self._kept.append(self._latest)
        if len(held) < self._capacity:
            held.append(index)
            self._latest = len(held) - 1
        else:
            self._latest = self._kept.popleft()
            held[self._latest] = index
        return self._latest


def _slots(entry: Tensor, capacity: int) -> Tensor:
    """Room for `capacity` entries [A, C, n]: [A, C, capacity * n], laid out position by position, as reads fetch it."""
    objects, channels, positions = entry.shape
    return entry.new_zeros(capacity * positions, objects, channels).permute(1, 2, 0)
