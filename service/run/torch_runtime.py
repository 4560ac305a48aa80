"""Process-wide settings for torch and its libraries."""

from __future__ import annotations

import sys

from service.config import set_default_variables

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread that holds the interpreter lock is asked to release it."""


def prepare_torch() -> None:
    """Configure torch's libraries unless the environment does; call it before torch is loaded.

    OpenMP threads that spin while they wait starve the decoder's threads on machines with few cores: a frame then takes
    up to ten times as long. Spinning for a few microseconds avoids a system call between two layers, which saves small
    networks a fifth of their time. oneDNN prepares each layer for each new shape, which takes longer than running it;
    the refiner's regions have more shapes than its cache holds by default. A network requests the interpreter lock
    between any two layers; with a shorter switch interval, the thread that reads the video releases it sooner.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    set_default_variables(
        {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192"}
    )
