"""Parts of a region, in which single objects are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COARSEST = 16
"""Stride of the coarsest map, whose positions bound a part."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a region.

    Attributes:
        rows, columns: Its first position in the stride-16 map, and the one after the last.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, maps: Tensor, stride: int) -> Tensor:
        """Return a view of this part of the region's maps [..., h, w] with a stride of 4, 8 or 16."""
        rows, columns = (slice(*(COARSEST // stride * end for end in span)) for span in (self.rows, self.columns))
        return maps[..., rows, columns]


def cut_parts(maps: Tensor, parts: Sequence[Part], stride: int) -> Tensor:
    """Cut parts of one size out of a region's maps with this stride.

    Args:
        maps: [1, C, h, w], from which all parts are cut, or [K, C, h, w], one for each part.
        parts: The K parts.
        stride: 4, 8 or 16.

    Returns:
        [K, C, h', w'].
    """
    return torch.cat([part.of(maps[k : k + 1] if len(maps) > 1 else maps, stride) for k, part in enumerate(parts)])
