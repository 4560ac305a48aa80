"""What a decoder attaches to a picture: its motion vectors, its display matrix."""

from __future__ import annotations

from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer

from codec.types import VectorArray

_container_of = cast(Any, SideDataContainer)
"""Its stub leaves out that it is made from a frame."""


def exported_vectors(frame: av.VideoFrame) -> VectorArray | None:
    """AVMotionVector records [n] of a decoded picture, None if it has none."""
    found = _side_data(frame, "MOTION_VECTORS")
    return None if found is None else found.to_ndarray()


def display_matrix(frame: av.VideoFrame) -> npt.NDArray[np.int32] | None:
    """The matrix [3, 3] by which a decoded picture is to be shown, as the container gives it, None if it has none."""
    found = _side_data(frame, "DISPLAYMATRIX")
    return None if found is None else np.frombuffer(found, np.int32, 9).reshape(3, 3)


def _side_data(frame: av.VideoFrame, kind: str) -> Any:
    """Side data by PyAV's name for its kind.

    Not by `frame.side_data`: the frame then keeps a container that keeps the frame, and both keep the picture until
    Python looks for cycles, which it does the less often the longer a program runs.
    """
    try:
        return _container_of(frame).get(kind)
    except ValueError:  # a kind of side data that PyAV has no name for hides the others
        return None
