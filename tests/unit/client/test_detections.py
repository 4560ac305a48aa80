"""Masks for supervision and CVAT; what these make of them is in `test_annotation_tools`."""

from __future__ import annotations

import sys

import keymask
import pytest

from tests.support.scripted_service import job


def test_detections_need_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it, and is an ImportError, too."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    frame = keymask.Frame(index=0, time=0.0, type="I", source="prompt", objects=(), height=4, width=4)
    with pytest.raises(ImportError, match="pip install supervision") as caught:
        frame.to_detections()
    assert isinstance(caught.value, keymask.PackageMissingError)


def test_uploads_to_cvat_need_its_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it; nothing is sent."""
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    track = keymask.Track(keymask.Job.model_validate(job("succeeded")), ())
    with pytest.raises(keymask.PackageMissingError, match="pip install cvat-sdk"):
        track.to_cvat(7, token="t")
