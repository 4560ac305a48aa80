"""What several tests of this folder start from."""

from __future__ import annotations

import pytest
import torch

from vos.runtime.thread_pools import ThreadPools


@pytest.fixture
def pools() -> ThreadPools:
    """Two of them, whatever the machine."""
    made = ThreadPools(torch.device("cpu"))
    made._count = 2
    return made
