"""Random encoders, as varied as users' files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codec.encode import Encoder

_PRESETS = {
    "ultrafast": 0.06,
    "superfast": 0.12,
    "veryfast": 0.27,
    "faster": 0.13,
    "fast": 0.12,
    "medium": 0.22,
    "slow": 0.08,
}
_NO_B_FRAMES = 0.35
_BASELINE = 0.6
"""Share of clips without B frames that use the baseline profile."""


def random_encoder(rng: np.random.Generator) -> Encoder:
    """Draw an encoder with random options: mostly libx264, sometimes libx265 or mpeg4."""
    makers: tuple[Callable[[np.random.Generator], Encoder], ...] = (_x264, _x265, _mpeg4)
    return makers[int(rng.choice(3, p=[0.83, 0.12, 0.05]))](rng)


def describe(encoder: Encoder) -> str:
    """Return the encoder and all its options on one line."""
    return " ".join([encoder.name, *(f"{key}={value}" for key, value in encoder.all_options.items())])


def _x264(rng: np.random.Generator) -> Encoder:
    options = {
        "preset": str(rng.choice(list(_PRESETS), p=list(_PRESETS.values()))),
        "crf": f"{rng.uniform(18, 35):.1f}",
        "g": str(rng.choice([250, 48, 12])),
        "refs": str(rng.integers(1, 6)),
    }
    if rng.random() < _NO_B_FRAMES:
        options["bf"] = "0"
        if rng.random() < _BASELINE:
            options["profile"] = "baseline"
    else:
        options["bf"] = str(rng.integers(1, 5))
        options["b-pyramid"] = str(rng.choice(["none", "normal", "normal", "strict"]))
    return Encoder("libx264", options)


def _x265(rng: np.random.Generator) -> Encoder:
    options = {
        "preset": str(rng.choice(["ultrafast", "superfast"])),
        "crf": f"{rng.uniform(18, 35):.1f}",
        "x265-params": "log-level=error:pools=none:frame-threads=1",
    }
    return Encoder("libx265", options)


def _mpeg4(rng: np.random.Generator) -> Encoder:
    options = {"b": f"{rng.integers(8, 40)}00k", "bf": str(rng.integers(0, 3)), "g": str(rng.choice([250, 48, 12]))}
    return Encoder("mpeg4", options)
