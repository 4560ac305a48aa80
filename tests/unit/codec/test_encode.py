"""Clips made for evaluation: the same in every process, with the options that were asked for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from codec import encode as module
from codec.encode import Encoder, parse_options

_MAKE = """
import hashlib, io, av, numpy as np
from codec.encode import Encoder, encode
rng = np.random.default_rng(0)
base = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
clip = encode((np.roll(base, 3 * t, axis=1) for t in range(40)), Encoder())
packets = b"".join(map(bytes, av.open(io.BytesIO(clip)).demux(video=0)))  # Matroska has a random number of its own
print(len(packets), hashlib.sha256(packets).hexdigest())
"""


def test_clips_are_the_same_in_every_process() -> None:
    """Three processes, with different things in their memory, make one and the same clip."""
    junk = [f"junk = bytes({size})\n" for size in (1, 10_000_000, 37_000_000)]
    runs = [subprocess.run([sys.executable, "-c", j + _MAKE], capture_output=True, text=True, check=True) for j in junk]
    assert len({run.stdout for run in runs}) == 1
    assert int(runs[0].stdout.split()[0]) > 10_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", module._UP_TO_AVX2),
        ("x264-params=scenecut=0", f"scenecut=0:{module._UP_TO_AVX2}"),
        ("x264-params=asm=SSE2Fast:scenecut=0", "asm=SSE2Fast:scenecut=0"),
    ],
)
def test_x264_is_kept_from_avx512(given: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor has it, x264's own options get a limit, unless they have one already."""
    monkeypatch.setattr(module, "_has_avx512", lambda: True)
    encoder = Encoder("libx264", parse_options(given))
    assert encoder.repeatable_options == {**encoder.all_options, "x264-params": expected}
    monkeypatch.setattr(module, "_has_avx512", lambda: False)
    assert encoder.repeatable_options == encoder.all_options


@pytest.mark.parametrize(
    ("simd", "has"),
    [
        ({"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4"]}, True),
        ({"baseline": ["SSE"], "found": ["AVX2", "AVX512F"]}, True),
        ({"baseline": ["X86_V4"]}, True),
        ({"baseline": ["X86_V2"], "found": ["X86_V3"], "not found": ["X86_V4"]}, False),
        ({"baseline": ["NEON"]}, False),
        (None, False),
    ],
)
def test_processors_are_told_apart(
    simd: dict[str, list[str]] | None, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what numpy found, under its newer and older names; on the smallest ones it says nothing."""
    monkeypatch.setattr(np, "show_config", lambda mode: {} if simd is None else {"SIMD Extensions": simd})  # noqa: ARG005
    assert module._has_avx512.__wrapped__() is has


def test_only_x264_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another encoder's options are the defaults and what was asked for."""
    monkeypatch.setattr(module, "_has_avx512", lambda: True)
    assert Encoder("mpeg4", {"b": "1M"}).repeatable_options == {"b": "1M"}
