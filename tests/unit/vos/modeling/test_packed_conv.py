"""Packed convolutions against plain ones, and the folded network against the unfolded one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from vos.modeling.compact import CompactNetwork
from vos.modeling.cpu.packed_conv import PackedConv2d, can_pack, convolve, pack_convolutions
from vos.modeling.refiner import Refiner

ACTIVATIONS = {"none": lambda x: x, "relu": functional.relu, "relu6": functional.relu6}
LAYERS = {
    "1x1": nn.Conv2d(6, 10, 1),
    "strided": nn.Conv2d(6, 10, 3, stride=2, padding=1, bias=False),
    "dilated, by channel": nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
}


def noise(*shape: int, seed: int) -> torch.Tensor:
    """Seeded normal numbers, a few of them above 6."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 4


def test_supported_dtypes_can_be_packed() -> None:
    """This torch packs float32 everywhere, bfloat16 if oneDNN supports it, and never float16."""
    assert can_pack(torch.float32)
    assert can_pack(torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert not can_pack(torch.float16)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_sum", [False, True], ids=["alone", "with a sum"])
@pytest.mark.parametrize("height", [5, 70])
def test_a_packed_convolution_is_the_three_steps(name: str, activation: str, with_sum: bool, height: int) -> None:
    """Packed or not, `convolve` computes convolution, sum and activation, for maps of any size."""
    layer = LAYERS[name].requires_grad_(False)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    x = noise(2, 6, height, 9, seed=2)
    plain = layer(x)
    add = noise(*plain.shape, seed=3) if with_sum else None
    expected = ACTIVATIONS[activation](plain + add if with_sum else plain)
    for candidate in (layer, PackedConv2d(layer)):
        torch.testing.assert_close(
            convolve(candidate, x, add=add, activation=activation), expected, rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_dense_kernels_are_packed_only_with_avx512(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX-512 the layout of dense kernels depends on the map, so only the other layers are packed."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    pack_convolutions(network)
    assert [isinstance(layer, PackedConv2d) for layer in network] == [capability == "AVX512", True, True]


def test_unsupported_padding_is_refused() -> None:
    """A convolution that does not pad with zeros is refused with its description."""
    with pytest.raises(ValueError, match=r"padding_mode=reflect.*must be numeric and of zeros"):
        PackedConv2d(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))


@torch.inference_mode()
def test_folding_and_packing_keep_the_function_of_compact() -> None:
    """Keys, values and logits of the compact network with scaled taps stay the same when it is folded and packed."""
    torch.manual_seed(0)
    network = CompactNetwork().eval().requires_grad_(False)
    network.tap_scale.copy_(torch.tensor([0.5, 2.0, 3.0, 0.25]))
    image, masks = noise(1, 3, 48, 80, seed=4).clamp(-1, 1), noise(2, 1, 48, 80, seed=5).clamp(0, 1)

    def outputs() -> tuple[torch.Tensor, ...]:
        features = network.encode(image)
        memory = network.memorize(features, masks)
        logits = network.segment(features, memory, functional.avg_pool2d(masks, 4), top_k=7)
        return features.key, memory.key, memory.value, logits

    before = outputs()
    network.fold()
    folded = outputs()
    network.fold()
    pack_convolutions(network)
    for after in (folded, outputs()):
        for got, expected in zip(after, before, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_folding_and_packing_keep_the_function_of_the_refiner() -> None:
    """Light features, memory and logits of two objects stay the same when the refiner is folded and packed."""
    torch.manual_seed(1)
    network = Refiner().eval().requires_grad_(False)
    network.tap_scale.copy_(torch.tensor([0.5, 2.0, 3.0]))
    image, cells = noise(1, 3, 64, 96, seed=6).clamp(-1, 1), noise(2, 1, 16, 24, seed=7).clamp(0, 1)
    bitstream = noise(1, 3, 16, 24, seed=8).clamp(0, 1)

    def outputs() -> tuple[torch.Tensor, ...]:
        features = network.encode(image)
        memory = network.memorize(features, cells)
        confidence = network.confidence(features, features.light.flip(3))
        return features.light, memory.key, memory.value, network.refine(features, memory, cells, confidence, bitstream)

    before = outputs()
    network.fold()
    folded = outputs()
    pack_convolutions(network)
    for after in (folded, outputs()):
        for got, expected in zip(after, before, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
