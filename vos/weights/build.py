"""Builders of all networks, each with every hyper-parameter in sight, and their registry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vos.errors import OptionError
from vos.keyframes.base_network import BaseNetwork
from vos.modeling.compact import CompactNetwork
from vos.modeling.network import VOSNetwork
from vos.modeling.published.stcn import STCN
from vos.modeling.published.stm import STM


def build_compact() -> VOSNetwork:
    """Build the default network: MobileNetV2, about 3 M parameters; its sizes are constants of its module."""
    return CompactNetwork()


def build_stm() -> VOSNetwork:
    """Build STM as published by MiVOS: two ResNet-50 to stride 16, 54 M parameters."""
    return STM(depths=(3, 4, 6), key_channels=128, value_channels=512)


def build_stcn() -> VOSNetwork:
    """Build STCN: a ResNet-50 for keys, a ResNet-18 for values, 54 M parameters."""
    return STCN(key_depths=(3, 4, 6), value_depths=(2, 2, 2), key_channels=64, value_channels=512)


def build_cutie(size: str) -> BaseNetwork:
    """Build Cutie: a ResNet-18 ("small", 29 M parameters) or ResNet-50 ("base", 35 M) to stride 16."""
    from vos.keyframes.adapters.cutie import CutieNetwork  # noqa: PLC0415 - needs an extra

    return CutieNetwork(size)


def build_sam2(size: str) -> BaseNetwork:
    """Build SAM 2.1 with the Hiera of a size: 39 M ("tiny"), 46 M ("small"), 81 M ("base-plus"), 224 M ("large")."""
    from vos.keyframes.adapters.sam2 import Sam2Network  # noqa: PLC0415 - needs an extra

    return Sam2Network(size)


def build_edgetam() -> BaseNetwork:
    """Build EdgeTAM: a RepViT-M1 and a memory of 512 latents per frame, 14 M parameters."""
    from vos.keyframes.adapters.sam2 import EdgeTamNetwork  # noqa: PLC0415 - needs an extra

    return EdgeTamNetwork()


BUILDERS: dict[str, Callable[[], VOSNetwork | BaseNetwork]] = {
    "compact": build_compact,
    "stm": build_stm,
    "stcn": build_stcn,
    "cutie-small": partial(build_cutie, "small"),
    "cutie-base": partial(build_cutie, "base"),
    "sam2.1-tiny": partial(build_sam2, "tiny"),
    "sam2.1-small": partial(build_sam2, "small"),
    "sam2.1-base-plus": partial(build_sam2, "base-plus"),
    "sam2.1-large": partial(build_sam2, "large"),
    "edgetam": build_edgetam,
}


def build_network(name: str) -> VOSNetwork | BaseNetwork:
    """Build a network by name, with untrained weights, in training mode.

    Raises:
        OptionError: There is no such network, or the library that it needs is not installed.
    """
    if name not in BUILDERS:
        raise OptionError(f"model is {name!r}; it must be one of {', '.join(BUILDERS)}")
    return BUILDERS[name]()
