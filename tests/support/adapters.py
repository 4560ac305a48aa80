"""Pictures, masks and measures for the adapters of other libraries' networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.types import CompressedFrame
from tests.support.frames import scripted
from vos.keyframes.base_network import BaseNetwork, BaseSession, VideoSetup
from vos.runtime.stage_timer import StageTimer
from vos.types import Options

HEIGHT, WIDTH = 76, 100
"""Picture size that is no multiple of any network's stride."""
TINY_CUTIE: dict[str, Any] = {
    "pixel_dim": 32, "key_dim": 16, "value_dim": 32, "sensory_dim": 32, "embed_dim": 32,
    "object_transformer": {"ff_dim": 64, "num_heads": 4, "num_queries": 8},
    "mask_decoder": {"up_dims": [32, 16, 16]},
}  # fmt: skip
"""Configuration of Cutie with few channels."""


def picture(index: int) -> np.ndarray:
    """Return a smooth random picture, uint8 [HEIGHT, WIDTH, 3], that moves with the index."""
    field = torch.rand(1, 3, 10, 24, generator=torch.Generator().manual_seed(7))[..., index % 14 : index % 14 + 10]
    large = F.interpolate(field, (HEIGHT, WIDTH), mode="bicubic")[0].clamp(0, 1) * 255
    return np.ascontiguousarray(large.byte().permute(1, 2, 0).numpy())


def frames(count: int) -> list[CompressedFrame]:
    """Return P frames of these pictures, each predicted from the one before without motion."""
    made = []
    for index in range(count):
        rgb = picture(index)
        made.append(scripted(index, index, {0: (1, index - 1)} if index else {}, to_rgb=lambda rgb=rgb: rgb))
    return made


def square(top: int, left: int) -> Tensor:
    """Return the mask of a square of 28 pixels, float32 [HEIGHT, WIDTH]."""
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[top : top + 28, left : left + 28] = 1
    return mask


def begin(network: BaseNetwork, options: Options | None = None) -> BaseSession[Any]:
    """Begin a video of these pictures in the calling thread."""
    return network.begin(VideoSetup(HEIGHT, WIDTH, options or Options(), None, StageTimer()))


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, which is faster for tiny networks, and exact from run to run."""
    own = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


def held(session: BaseSession[Any]) -> tuple[int, int]:
    """Return how many bytes of tensors a session holds, and how many entries of containers."""
    storages: dict[int, int] = {}
    seen: set[int] = set()
    entries, pending = 0, [session]
    while pending:
        item: Any = pending.pop()
        if id(item) in seen or isinstance(item, nn.Module | type):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
            continue
        children = (
            list(item.values()) if isinstance(item, dict) else item if isinstance(item, list | tuple | set) else []
        )
        entries += len(children)
        pending += [*children, *getattr(item, "__dict__", {}).values()]
    return sum(storages.values()), entries
