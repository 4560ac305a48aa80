"""Process-wide settings of the libraries under torch."""

from __future__ import annotations

import os
import sys

SWITCH_SECONDS = 0.0005
"""After so long a thread that holds Python's interpreter is asked to let another have it."""


def prepare_torch() -> None:
    """Choose how torch's libraries work, unless the environment does; call it before torch is loaded.

    Threads that spin while they wait starve the decoder's on machines of few cores, where a frame then takes up to ten
    times as long. A few microseconds of it save the way through the kernel between two layers of a network: small
    networks take a fifth less time so. oneDNN prepares a layer for each new shape, which takes longer than running it:
    the refiner's regions have many shapes, more than it remembers by default. And a thread of Python's that does not
    give way, such as the one that reads the video, is asked to after half a millisecond instead of five: a network asks
    for its turn between any two layers.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
