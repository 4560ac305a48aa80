"""Convolutions that add and activate in the same pass over memory, with weights packed for oneDNN.

Networks call `convolve`. With plain `Conv2d` layers, in training and on a GPU, it runs three steps one by one;
`pack_convolutions` replaces the layers of a network that only runs on a CPU by ones that fuse the steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
}
"""oneDNN's name, scalars and algorithm of each activation."""
_TYPICAL_SIDE = 64
"""Side of the map that weights are packed for; the layout suits all maps but tiny ones."""
_TINY_SIDE = 8
"""Side of the map that the weights for tiny maps are packed for. With the other layout, each call on a tiny map would
reorder the weights, which takes a hundred times as long as the convolution."""
_TINY_POSITIONS = 88
"""Maps with fewer positions than this are tiny."""


class PackedConv2d(nn.Module):
    """A convolution for CPUs whose weights are stored in oneDNN's layout, so that no call reorders them.

    Args:
        layer: A convolution with numeric zero padding; its bias is shared, its weights are copied.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if not isinstance(layer.padding, tuple) or layer.padding_mode != "zeros":
            raise ValueError(f"cannot pack {layer}: its padding must be numeric and of zeros")
        self.bias = layer.bias
        self._geometry = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        dense = layer.weight.detach().contiguous().to_mkldnn()
        self._weight, self._weight_for_tiny_maps = (
            torch.ops.aten.mkldnn_reorder_conv2d_weight(dense, *self._geometry, [1, layer.in_channels, side, side])
            for side in (_TYPICAL_SIDE, _TINY_SIDE)
        )

    def forward(self, x: Tensor, add: Tensor | None = None, activation: str = "none") -> Tensor:
        """[B, Cin, H, W] -> activation(convolution + add) [B, Cout, h, w]."""
        tiny = x.shape[2] * x.shape[3] < _TINY_POSITIONS
        layer = (self._weight_for_tiny_maps if tiny else self._weight, self.bias, *self._geometry)
        out: Tensor
        if add is None:
            out = torch.ops.mkldnn._convolution_pointwise(x, *layer, *_ACTIVATIONS[activation])
            return out
        # With a sum, the operator only supports "relu".
        fused = _ACTIVATIONS["relu"] if activation == "relu" else (None, [], None)
        out = torch.ops.mkldnn._convolution_pointwise.binary(x, add, *layer, "add", None, *fused)
        return functional.relu6(out, inplace=True) if activation == "relu6" else out


def convolve(layer: nn.Module, x: Tensor, *, add: Tensor | None = None, activation: str = "none") -> Tensor:
    """Compute activation(layer(x) + add).

    Args:
        layer: A `Conv2d`, packed or not.
        x: [B, Cin, H, W].
        add: [B, Cout, h, w]; None adds nothing.
        activation: "none", "relu" or "relu6".

    Returns:
        [B, Cout, h, w].
    """
    if isinstance(layer, PackedConv2d):
        return layer.forward(x, add, activation)
    out: Tensor = layer(x)
    if add is not None:
        out = out + add
    if activation == "none":
        return out
    return functional.relu6(out, inplace=True) if activation == "relu6" else functional.relu(out, inplace=True)


@torch.no_grad()
def pack_convolutions(network: nn.Module) -> None:
    """Pack the `Conv2d` layers of a network on a CPU, in place; its state dict then lacks their weights.

    Without AVX-512, oneDNN chooses the layout of dense kernels by the width of the map. With weights packed for another
    width, each call would reorder them, which takes up to sixty times as long as the convolution, so they stay plain.
    """
    packs_all = "AVX512" in torch.backends.cpu.get_cpu_capability()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and (packs_all or child.groups > 1 or child.kernel_size == (1, 1)):
                setattr(parent, name, PackedConv2d(child))


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN and the operators that packing uses, and they support `dtype` on this CPU."""
    present = (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
        and hasattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight")
    )
    if not present or dtype not in (torch.float32, torch.bfloat16):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
