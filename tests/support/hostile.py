"""A seeded corpus of hostile videos, masks and options for the service.

Each input says what it is, but not what must become of it: a refusal or a correct result are both right; a crash, a
hang, or the content of another file never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.growing_videos import KINDS, growing
from tests.support.hostile_masks import good_mask, masks
from tests.support.hostile_videos import (
    damaged,
    good_clips,
    lying_durations,
    lying_headers,
    not_videos,
    odd_videos,
    pointers,
)

LARGE = (4200, 2400)
"""A size with more pixels than the service allows."""


@dataclass(frozen=True)
class Hostile:
    """One submission.

    Attributes:
        name: A description of the input.
        video: Content of the video file.
        mask: Content of the mask file.
        options: The form's part `options`; None for a form without it.
        filename: The client's name of the video file.
    """

    name: str
    video: bytes
    mask: bytes
    options: str | None = None
    filename: str = "clip.mp4"


def corpus(seed: int, secret: Path) -> Iterator[Hostile]:
    """Yield at least 300 inputs, the same ones for the same seed.

    Args:
        seed: Seed of everything random.
        secret: A file on this machine that contains `hostile_videos.SECRET`, for playlists to point at.
    """
    rng = np.random.default_rng(seed)
    good = good_clips()
    mask = good_mask()
    for kind, clip in good.items():
        yield from (Hostile(name, video, mask) for name, video in damaged(kind, clip, rng))
    yield from (Hostile(name, video, mask) for name, video in not_videos(rng))
    yield from (Hostile(name, video, mask) for name, video in pointers(secret))
    yield from (Hostile(name, video, mask) for name, video in lying_headers(good["mp4"]))
    yield from (Hostile(name, video, mask) for name, video in lying_durations())
    yield from (Hostile(f"growing pictures in {kind}", growing(kind, LARGE), mask) for kind in KINDS)
    yield from (Hostile(name, video, picture) for name, video, picture in odd_videos())
    yield from (Hostile(name, good["mp4"], picture) for name, picture in masks())
    yield from (Hostile(f"options {text[:30]}", good["mp4"], mask, text) for text in OPTIONS)
    yield from (Hostile(f"file name {name[:30]!r}", good["mp4"], mask, filename=name) for name in NAMES)


OPTIONS = (
    "", "{}", "null", "[]", "1", '"x"', "{", "\x00", "NaN", '{"end": NaN}', '{"end": 1e999}', '{"end": 1.5}',
    '{"end": "3"}', '{"end": -1}', '{"end": 0}',
    '{"end": 99999999999999999999}', '{"start": 9, "end": 9}', '{"prompt_frame": 9}',
    '{"prompt_frame": 10}', '{"prompt_frame": true}', '{"keyframes": "every:1"}', '{"keyframes": "every:0"}',
    '{"keyframes": "every:99999999999999999999"}', '{"keyframes": "EVERY:2"}', '{"keyframes": ""}', '{"max_side": 16}',
    '{"max_side": 1}', '{"max_side": 1000000}', '{"model": "../../etc/passwd"}', '{"model": ""}', '{"model": "stcn"}',
    '{"a": {"b": {"c": []}}}', "[" * 8000, '{"end": 3, "end": 4}', '{"\\u0000": 1}', '{"model": "\\ud800"}',
)  # fmt: skip
"""Values of the form's part `options`; some are allowed."""

NAMES = (
    "../../../../etc/passwd", "/etc/passwd", "a\\..\\b", "x" * 5000, "clip.m3u8", "clip.txt", "", ".", "..", "nul",
    "café\u202e4pm.mp4", "a;b=c.mp4", 'quote".mp4', "%2e%2e%2f",
)  # fmt: skip
"""Names that a client may give a file; none may reach the disk."""
