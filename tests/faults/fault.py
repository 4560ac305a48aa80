"""What a fault is: something that is broken now, and what has to be done later to end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

FollowUp: TypeAlias = Callable[[], object]
"""Ends a fault, in a thread of its own: it waits, and restarts or continues what was broken."""
Fault: TypeAlias = Callable[[], FollowUp | None]
"""Breaks something. Returns None if there was nothing to break. Its name is that of the kind of fault."""
WeightedFaults: TypeAlias = Sequence[tuple[int, Fault]]
"""Faults, each with how often it is injected in proportion to the others."""


def nothing() -> None:
    """End a fault that ends by itself."""
