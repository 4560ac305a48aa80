"""Read the side data of a decoded picture: motion vectors and display matrix."""

from __future__ import annotations

from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer

from codec.types import VectorArray

_container_of = cast(Any, SideDataContainer)
"""PyAV's type stub lacks the constructor, which takes a frame."""


def exported_vectors(frame: av.VideoFrame) -> VectorArray | None:
    """AVMotionVector records [n] of a decoded picture, None if it has none."""
    found = _side_data(frame, "MOTION_VECTORS")
    return None if found is None else found.to_ndarray()


def display_matrix(frame: av.VideoFrame) -> npt.NDArray[np.int32] | None:
    """The container's display matrix [3, 3] of a decoded picture, None if it has none."""
    found = _side_data(frame, "DISPLAYMATRIX")
    return None if found is None else np.frombuffer(found, np.int32, 9).reshape(3, 3)


def _side_data(frame: av.VideoFrame, kind: str) -> Any:
    """Side data by PyAV's name for its kind.

    `frame.side_data` would create a reference cycle, which keeps the picture in memory until the garbage collector
    runs.
    """
    try:
        return _container_of(frame).get(kind)
    except ValueError:  # PyAV fails on every lookup if one kind of side data is unknown to it
        return None
