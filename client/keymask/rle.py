"""COCO's compressed run-length encoding of masks.

Runs of 0 and 1 alternate in column-major order, starting with 0. From the third run on, each is stored as the
difference to the run two before it. Numbers are signed, in groups of 5 bits, low groups first; a sixth bit says whether
another group follows. 48 is added to each group to make it printable ASCII.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def decode(counts: str, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Decode a compressed run-length encoding to a mask, bool [height, width].

    Raises:
        ValueError: The text does not encode a mask of this size.
    """
    runs = _runs(counts)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths cover {int(runs.sum())} pixels; a mask of {width}x{height} has {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def encode(mask: npt.NDArray[np.bool_]) -> str:
    """Encode a mask bool [height, width]."""
    pixels = np.concatenate([[False], mask.T.reshape(-1), [False]])
    runs = np.diff(np.flatnonzero(np.diff(pixels)), prepend=0, append=mask.size)
    runs = runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
    stored = runs.copy()
    stored[3:] -= runs[1:-2]
    text = bytearray()
    for run in stored.tolist():
        value, more = run, True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text.append(48 + group + 32 * more)
    return text.decode("ascii")


def _runs(counts: str) -> npt.NDArray[np.int64]:
    groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if len(groups) == 0 or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError(f"{counts[:40]!r} is not a compressed run-length encoding")
    last = (groups & 32) == 0
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(len(groups)) - np.repeat(starts, np.diff([*starts, len(groups)]))
    numbers = np.add.reduceat((groups & 31) << (5 * place), starts)
    negative = (groups[last] & 16) != 0
    numbers -= negative * (np.int64(1) << (5 * (place[last] + 1)))
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
