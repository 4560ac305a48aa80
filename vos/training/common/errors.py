"""Errors of training."""

from __future__ import annotations

from vos.errors import VosError


class TrainingDataError(VosError):
    """A data folder is missing, empty or malformed."""


class CheckpointError(VosError):
    """A checkpoint is missing, damaged or of another run."""
