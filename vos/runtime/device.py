"""Choose the device and the number type of a network. CUDA is initialized only when it is asked for."""

from __future__ import annotations

import platform

import torch

from vos.errors import OptionError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Name -> type; "auto" selects one of them for the device."""
INT8 = "int8"
"""Precision of networks that OpenVINO runs on a CPU; what torch still computes is float32."""


def resolve_device(device: str = "auto") -> torch.device:
    """Return a device by name: "auto" (CUDA if available, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        OptionError: The name is none of these, or the device is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise OptionError(f"device is {device!r}; it must be auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device is {device!r}, but no CUDA device is available here; use auto or cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"device is {device!r}, but there are only {torch.cuda.device_count()} CUDA devices here")
    return chosen


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return torch's number type by name: "auto", "float32", "bfloat16", "float16", or "int8", for which it is float32.

    "auto" is bfloat16 if the device supports it natively, else float16 on CUDA and float32 on a CPU. Since bfloat16 has
    the range of float32, no network overflows in it.

    Raises:
        OptionError: The name is none of these, or it is float16 for a CPU or int8 for another device.
    """
    if precision == "auto":
        return _fastest(device)
    if precision == INT8:
        if device.type != "cpu":
            raise OptionError(f"precision is 'int8', which runs on a CPU only, but the device is {device}; use auto")
        return torch.float32
    if precision not in PRECISIONS:
        raise OptionError(f"precision is {precision!r}; it must be auto, {', '.join(PRECISIONS)}, {INT8}")
    if precision == "float16" and device.type == "cpu":
        raise OptionError("precision is 'float16', which a CPU only emulates; use auto, float32 or bfloat16")
    return PRECISIONS[precision]


def wants_int8(precision: str, device: torch.device) -> bool:
    """Whether int8 is asked for, or "auto" on an x86 CPU without bfloat16; elsewhere it has not been measured."""
    if precision != "auto":
        return precision == INT8
    return device.type == "cpu" and platform.machine() in ("x86_64", "AMD64") and not cpu_has_bfloat16()


def _fastest(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX) and torch's convolutions use it."""
    # torch has no public function for this. If its private ones are missing, float32 is the safe choice.
    avx512 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(torch.backends.mkldnn.is_available() and (avx512() or amx()))  # type: ignore[no-untyped-call]
