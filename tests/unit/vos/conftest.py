"""Fixtures of several tests in this folder."""

from __future__ import annotations

import pytest
import torch

from vos.runtime.thread_pools import ThreadPools


@pytest.fixture
def pools() -> ThreadPools:
    """Thread pools for two cores, however many the machine has."""
    pools = ThreadPools(torch.device("cpu"))
    pools._count = 2
    return pools
