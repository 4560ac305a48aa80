"""What several tests of this folder start from."""

from __future__ import annotations

import pytest
import torch

from vos.runtime.thread_pools import Workers


@pytest.fixture
def workers() -> Workers:
    """Two of them, whatever the machine."""
    made = Workers(torch.device("cpu"))
    made._count = 2
    return made
