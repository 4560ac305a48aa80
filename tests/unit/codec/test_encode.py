"""Encoding clips: reproducible in every process, with the given options."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from codec import encode as module
from codec.encode import Encoder, parse_options
from codec.reader import open_video

_MAKE = """
import hashlib, io, av, numpy as np
from codec.encode import Encoder, encode
rng = np.random.default_rng(0)
base = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
clip = encode((np.roll(base, 3 * t, axis=1) for t in range(40)), Encoder())
packets = b"".join(map(bytes, av.open(io.BytesIO(clip)).demux(video=0)))  # Matroska contains a random id
print(len(packets), hashlib.sha256(packets).hexdigest())
"""


def test_clips_are_the_same_in_every_process() -> None:
    """Three processes with different memory contents encode the same clip."""
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
def test_x264_does_not_use_avx512(given: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On processors with AVX-512, x264's options limit the instruction set, unless they have `asm` already."""
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
def test_avx512_is_detected(simd: dict[str, list[str]] | None, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX-512 is found in numpy's report under its newer and older names; the report may be empty."""
    monkeypatch.setattr(np, "show_config", lambda mode: {} if simd is None else {"SIMD Extensions": simd})  # noqa: ARG005
    assert module._has_avx512.__wrapped__() is has


def test_only_x264_gets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other encoders get the defaults and the given options."""
    monkeypatch.setattr(module, "_has_avx512", lambda: True)
    assert Encoder("mpeg4", {"b": "1M"}).repeatable_options == {"b": "1M"}


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
@pytest.mark.parametrize("name", ["libx264", "mpeg4", "mjpeg"])
def test_colors_survive_at_every_size(size: tuple[int, int], name: str) -> None:
    """The reader shows the colors that were encoded, in SD and in HD, whether the codec has tags or not."""
    color = (200, 60, 40)
    picture = np.full((size[1], size[0], 3), color, np.uint8)
    with open_video(module.encode([picture, picture], Encoder(name))) as video:
        first = next(iter(video)).rgb()
    assert first.reshape(-1, 3).mean(axis=0) == pytest.approx(color, abs=4)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux tells the scheduling policy")
def test_an_encoder_makes_no_thread_a_real_time_one() -> None:
    """SVT-AV1 does so as root, and the process and all that it starts would take the cores from others."""
    module.encode([np.zeros((64, 64, 3), np.uint8)] * 3, Encoder("libsvtav1"))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
