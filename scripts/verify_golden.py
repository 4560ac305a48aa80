"""Compare STM or STCN with the numbers of another implementation, with seeded weights.

Usage: python scripts/verify_golden.py stm|stcn FILE.npz

FILE holds `meta` = [height, width, objects, seed] and arrays of the other implementation:

| step | array |
| --- | --- |
| memorize frame 0 with the given masks | memory_key0 [K, 128, 1, h, w] (stm), memory_value0 [K, 512, 1, h, w] |
| encode a frame | query_key1 [1, 128, h, w] (stm, frame 1), query_key0 [1, 64, h, w] (stcn, frame 0) |
| segment frame 1 from frame 0 | prob1 [K, 1, H, W] |
| segment frame 2 from frames 0 and 1, frame 1 memorized with prob1 | prob2 [K, 1, H, W] |

Frames, masks and weights follow from the seed; the network runs as `load_network` returns it, in float32 on the CPU.
Only arrays in the file are compared. Prints the largest error of each array.
Exit code 0: all errors are at most 1e-4; 1: an error is larger; 2: the file does not have this form.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vos.modeling.network import Memory, VOSNetwork
from vos.weights.load import SEEDED, load_network

TOLERANCE = 1e-4
TOP_K = 20
ARRAYS = {
    "stm": ("memory_key0", "memory_value0", "query_key1", "prob1", "prob2"),
    "stcn": ("query_key0", "memory_value0", "prob1", "prob2"),
}
_MAX_SIDE = 4096


class GoldenError(Exception):
    """The file is not a golden of the network."""


def seeded_frames(seed: int, count: int, height: int, width: int) -> Tensor:
    """Draw smooth noise of deviation about 1, float32 [count, 3, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, height // 8 + 1, width // 8 + 1, generator=generator)
    return functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)


def seeded_masks(seed: int, objects: int, height: int, width: int) -> Tensor:
    """Draw one rectangle per object, none touching another: float32 [objects, 1, height, width] of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(objects, 1, height, width)
    band = width // objects
    for index in range(objects):
        left = index * band + int(torch.randint(0, max(1, band // 4), (1,), generator=generator))
        top = int(torch.randint(0, height // 3, (1,), generator=generator))
        masks[index, 0, top : top + height // 2, left : left + band // 2] = 1
    return masks


def read_golden(path: Path, model: str) -> tuple[tuple[int, int, int, int], dict[str, np.ndarray]]:
    """Read (height, width, objects, seed) and the arrays to compare.

    Raises:
        GoldenError: The file is missing, not an .npz file, or holds other arrays than the model's.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{path} is not a readable .npz file: {error}") from error
    meta = arrays.pop("meta", None)
    if meta is None or not arrays or not set(arrays) <= set(ARRAYS[model]):
        held = ", ".join(arrays) or "nothing else"
        raise GoldenError(f"{path} holds {held}; a golden of {model} holds meta and some of {', '.join(ARRAYS[model])}")
    if meta.shape != (4,) or meta.dtype.kind not in "iu":
        raise GoldenError(
            f"meta is {meta.dtype} {list(meta.shape)}; it must be 4 integers: height, width, objects, seed"
        )
    height, width, objects, seed = (int(value) for value in meta)
    if not all(0 < side <= _MAX_SIDE and side % VOSNetwork.stride == 0 for side in (height, width)):
        raise GoldenError(f"meta says {height}x{width}; both sides must be multiples of 16 from 16 to {_MAX_SIDE}")
    if not 0 < objects <= min(255, width) or seed < 0:
        raise GoldenError(f"meta says {objects} objects, seed {seed}; there must be 1 to 255 objects and a seed from 0")
    return (height, width, objects, seed), arrays


@torch.inference_mode()
def compute(network: VOSNetwork, meta: tuple[int, int, int, int]) -> dict[str, Tensor]:
    """Compute all arrays that a golden may hold."""
    height, width, objects, seed = meta
    frames = seeded_frames(seed, 3, height, width).to(memory_format=torch.channels_last)
    features = [network.encode(frame.unsqueeze(0)) for frame in frames]
    first = network.memorize(features[0], seeded_masks(seed + 1, objects, height, width))
    prob1 = _probabilities(network.segment(features[1], first, None, TOP_K))
    second = network.memorize(features[1], prob1)
    both = Memory(torch.cat([first.key, second.key], dim=2), torch.cat([first.value, second.value], dim=2))
    prob2 = _probabilities(network.segment(features[2], both, None, TOP_K))
    plane = (1, height // network.stride, width // network.stride)
    return {
        "query_key0": features[0].key,
        "query_key1": features[1].key,
        "memory_key0": first.key.reshape(*first.key.shape[:2], *plane),
        "memory_value0": first.value.reshape(*first.value.shape[:2], *plane),
        "prob1": prob1,
        "prob2": prob2,
    }


def _probabilities(logits: Tensor) -> Tensor:
    """Logits at stride 4 -> probabilities at full size."""
    return torch.sigmoid(functional.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False))


def largest_error(golden: np.ndarray, ours: Tensor) -> float:
    """Return the largest absolute difference; infinite if shapes differ or values are not finite."""
    if golden.shape != tuple(ours.shape):
        return float("inf")
    error = float(np.abs(golden.astype(np.float64) - ours.numpy()).max())
    return error if np.isfinite(error) else float("inf")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare a network with a golden file, with seeded weights.")
    parser.add_argument("model", choices=sorted(ARRAYS))
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    try:
        meta, golden = read_golden(options.file, options.model)
    except GoldenError as error:
        print(f"verify_golden: error: {error}", file=sys.stderr)
        return 2
    ours = compute(load_network(options.model, device="cpu", precision="float32", weights=SEEDED), meta)
    print(f"{options.model}: {meta[0]}x{meta[1]}, {meta[2]} objects, seed {meta[3]}")
    errors = {name: largest_error(array, ours[name]) for name, array in golden.items()}
    for name, largest in errors.items():
        note = "" if golden[name].shape == tuple(ours[name].shape) else f"  shape {golden[name].shape}, ours differs"
        print(f"{name:14s} {list(golden[name].shape)!s:24s} largest error {largest:.2e}{note}")
    passed = max(errors.values()) <= TOLERANCE
    print(f"{'all within' if passed else 'NOT all within'} {TOLERANCE:g}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
