"""Limits on what this process demuxes and decodes, for processes that read strangers' files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a process reads.

    Attributes:
        max_pixels: Most pixels per picture; None for what this package allows.
        formats: FFmpeg's names of container formats; None for all.
        decoders: FFmpeg's names of decoders; None for all.
    """

    max_pixels: int | None = None
    formats: frozenset[str] | None = None
    decoders: frozenset[str] | None = None


class _Process:
    limits = DecodeLimits()


def limit_decoding(limits: DecodeLimits) -> None:
    """Apply limits to all videos that this process opens from now on, whichever code opens them."""
    _Process.limits = limits


def decode_limits() -> DecodeLimits:
    """Return the limits of this process."""
    return _Process.limits
