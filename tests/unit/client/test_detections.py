"""Masks as `supervision.Detections`; what supervision makes of them is in `test_annotation_tools`."""

from __future__ import annotations

import sys

import keymask
import pytest


def test_detections_need_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it, and is an ImportError, too."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    frame = keymask.Frame(index=0, time=0.0, type="I", source="prompt", objects=(), height=4, width=4)
    with pytest.raises(ImportError, match="pip install supervision") as caught:
        frame.to_detections()
    assert isinstance(caught.value, keymask.PackageMissingError)
