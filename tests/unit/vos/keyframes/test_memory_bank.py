"""The memory bank is bounded and holds the first frame, the latest one and spaced ones."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vos.keyframes.memory_bank import MemoryBank
from vos.modeling.network import Memory


def entry(index: int) -> Memory:
    """Memory of a frame, filled with its index."""
    return Memory(torch.full((1, 2, 3), float(index)), torch.full((2, 4, 3), float(index)))


def held(bank: MemoryBank) -> list[int]:
    """Frames that the tensors of the memory hold."""
    memory = bank.view()
    keys = memory.key[0, 0, ::3].tolist()
    values = memory.value[1, 3, ::3].tolist()
    assert keys == values
    return sorted(int(k) for k in keys)


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([0], [0]),
        ([0, 1], [0, 1]),
        ([0, 1, 2, 3], [0, 3]),
        (list(range(12)), [0, 5, 10, 11]),
        (list(range(100)), [0, 90, 95, 99]),
        ([0, 10, 20, 30, 40], [0, 20, 30, 40]),
        ([7, 9, 15, 16, 30], [7, 15, 30]),
    ],
)
def test_bank_holds_first_spaced_and_latest_frames(indices: list[int], expected: list[int]) -> None:
    """A bank for 4 frames with spacing 5 holds the first, the latest, and the most recent ones 5 or more apart."""
    bank = MemoryBank(capacity=4, spacing=5)
    for index in indices:
        bank.add(index, partial(entry, index))
    assert held(bank) == sorted(bank.layout.indices) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [([0, 12], [0, 12, 30, 35, 39]), ([0, 12, 14], [0, 12, 14, 35, 39]), ([0, 3, 12, 14], [0, 12, 14, 35, 39])],
)
def test_given_frames_stay(given: list[int], expected: list[int]) -> None:
    """Permanent frames outlive all others, as long as room for a spaced and the latest frame remains."""
    bank = MemoryBank(capacity=5, spacing=5)
    for index in range(40):
        bank.add(index, partial(entry, index), permanent=index in given)
        assert len(set(bank.layout.indices)) == len(bank.layout.indices) <= 5
    assert held(bank) == sorted(bank.layout.indices) == expected


def test_reading_an_empty_bank_is_an_error() -> None:
    """The message says what to do."""
    with pytest.raises(LookupError, match="add a key frame first"):
        MemoryBank(2, 5).view()


def test_an_entry_is_requested_once_and_only_when_needed() -> None:
    """Adding a frame reserves its slot; the next read or the next frame requests its entry, once."""
    bank, requested = MemoryBank(capacity=3, spacing=1), []

    def request(index: int) -> Memory:
        requested.append(index)
        return entry(index)

    bank.add(0, partial(request, 0))
    assert bank.layout.indices == (0,)
    assert requested == []
    bank.add(7, partial(request, 7))
    assert requested == [0]
    assert held(bank) == [0, 7]
    assert held(bank) == [0, 7]
    assert requested == [0, 7]


def test_a_reserved_bank_continues_like_the_one_it_copies() -> None:
    """A bank with another bank's layout and refilled contents, in any order, replaces the same frames later on."""
    whole, resumed = MemoryBank(capacity=3, spacing=2), MemoryBank(capacity=3, spacing=2)
    for index in range(6):
        whole.add(index, partial(entry, index))
    resumed.reserve(whole.layout)
    for index in reversed(whole.layout.indices):
        resumed.refill(index, entry(index))
    for index in range(6, 10):
        whole.add(index, partial(entry, index))
        resumed.add(index, partial(entry, index))
        assert torch.equal(whole.view().key, resumed.view().key)
        assert whole.layout == resumed.layout


def test_entries_may_be_shorter_than_the_first() -> None:
    """The view holds all positions of all entries and nothing between them, also when a slot is written again."""
    bank, sizes = MemoryBank(capacity=3, spacing=2), [7, 3, 5, 7, 2, 4]
    entries = [Memory(torch.rand(1, 2, n), torch.rand(2, 4, n)) for n in sizes]
    for index, part in enumerate(entries):
        bank.add(index, partial(lambda part: part, part))
        kept = [entries[i] for i in bank.layout.indices]
        assert torch.equal(bank.view().key, torch.cat([part.key for part in kept], dim=2))
        assert torch.equal(bank.view().value, torch.cat([part.value for part in kept], dim=2))
