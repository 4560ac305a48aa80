"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.run.torch_runtime import prepare_torch
from tests.support.paths import ROOT

# As the command line does, before anything loads torch.
prepare_torch()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with data and goldens beside the checkout, or KEYMASK_SHARED_DIR; skips the test where it is absent."""
    folder = Path(os.environ.get("KEYMASK_SHARED_DIR", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: this test needs the shared data folder (set KEYMASK_SHARED_DIR)")
    return folder
