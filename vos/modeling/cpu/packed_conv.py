"""Convolutions that add and activate in the same pass over memory, and weights packed for the processor.

A network calls `convolve`; with plain `Conv2d` layers, as in training and on a GPU, it is the three steps one by one.
`pack_convolutions` makes the layers of a network that is only to run on a CPU do them in one, by oneDNN.
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
"""As oneDNN knows them: name, numbers, algorithm."""
_TYPICAL_SIDE = 64
"""Of the maps that packing is told of: any size may come, but a tiny one or none would get a layout for tiny ones."""
_TINY_SIDE = 8
"""Of tiny maps, which want another layout: with the one for others, weights would be brought into order at every call,
which takes a hundred times as long as the convolution."""
_TINY = 88
"""Positions below which a map is tiny."""


class PackedConv2d(nn.Module):
    """A convolution on CPUs whose weights lie as oneDNN reads them, so that no call has to bring them into order.

    Args:
        layer: A convolution with zero padding; its bias is kept, its weights are copied.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if not isinstance(layer.padding, tuple) or layer.padding_mode != "zeros":
            raise ValueError(f"cannot pack {layer}: its padding must be numbers, and of zeros")
        self.bias = layer.bias
        self._geometry = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        dense = layer.weight.detach().contiguous().to_mkldnn()
        self._weight, self._weight_for_tiny = (
            torch.ops.aten.mkldnn_reorder_conv2d_weight(dense, *self._geometry, [1, layer.in_channels, side, side])
            for side in (_TYPICAL_SIDE, _TINY_SIDE)
        )

    def forward(self, x: Tensor, add: Tensor | None = None, activation: str = "none") -> Tensor:
        """[B, Cin, H, W] -> activation(convolution + add) [B, Cout, h, w]."""
        tiny = x.shape[2] * x.shape[3] < _TINY
        given = (self._weight_for_tiny if tiny else self._weight, self.bias, *self._geometry)
        out: Tensor
        if add is None:
            out = torch.ops.mkldnn._convolution_pointwise(x, *given, *_ACTIVATIONS[activation])
            return out
        # After a sum, the operator knows "relu" and nothing else.
        fused = _ACTIVATIONS["relu"] if activation == "relu" else (None, [], None)
        out = torch.ops.mkldnn._convolution_pointwise.binary(x, add, *given, "add", None, *fused)
        return functional.relu6(out, inplace=True) if activation == "relu6" else out


def convolve(layer: nn.Module, x: Tensor, *, add: Tensor | None = None, activation: str = "none") -> Tensor:
    """activation(layer(x) + add).

    Args:
        layer: A `Conv2d`, packed or not.
        x: [B, Cin, H, W].
        add: Of the result's shape; None adds nothing.
        activation: "none", "relu" or "relu6".
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
    """Pack, in place, every `Conv2d` of a network on a CPU. Its state dict then has no weights of convolutions."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(parent, name, PackedConv2d(child))


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN and the operators that packing uses, and they take this number type here."""
    present = (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
        and hasattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight")
    )
    if not present or dtype not in (torch.float32, torch.bfloat16):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
