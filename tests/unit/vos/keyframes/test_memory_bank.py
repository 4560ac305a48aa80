"""The memory bank: bounded, first frame for ever, latest always, others spaced."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vos.keyframes.memory_bank import MemoryBank
from vos.modeling.network import Memory


def entry(index: int) -> Memory:
    """A frame of memory that is recognised by its values."""
    return Memory(torch.full((1, 2, 3), float(index)), torch.full((2, 4, 3), float(index)))


def held(bank: MemoryBank) -> list[int]:
    """Which frames the memory's own tensors hold."""
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
def test_bank_holds_first_spaced_and_latest(indices: list[int], expected: list[int]) -> None:
    """With room for 4 and a spacing of 5: the first, the latest, and the youngest that lie 5 or more apart."""
    bank = MemoryBank(capacity=4, spacing=5)
    for index in indices:
        bank.add(index, partial(entry, index))
    assert held(bank) == sorted(bank.indices) == expected


def test_an_empty_bank_says_so() -> None:
    """Reading before anything was memorised is an error that names the remedy."""
    with pytest.raises(LookupError, match="add a key frame first"):
        MemoryBank(2, 5).view()


def test_what_is_coming_is_asked_for_when_it_is_needed() -> None:
    """A frame's place is taken at once; its contents are asked for by the next look or the next frame, and once."""
    bank, asked = MemoryBank(capacity=3, spacing=1), []

    def coming(index: int) -> Memory:
        asked.append(index)
        return entry(index)

    bank.add(0, partial(coming, 0))
    assert bank.indices == bank.layout.indices == (0,)
    assert asked == []
    bank.add(7, partial(coming, 7))
    assert asked == [0]
    assert held(bank) == [0, 7]
    assert held(bank) == [0, 7]
    assert asked == [0, 7]
