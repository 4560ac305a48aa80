"""Residual networks up to stride 16, with the parameter names of the published checkpoints.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; a bottleneck strides in its 3x3
convolution. The fourth stage (stride 32) is left out: memory networks work at stride 16.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width, stride, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, width, H/stride, W/stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        out: Tensor = self.relu(x.add_(shortcut))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, bias: bool) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, 4 * width, H/stride, W/stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x.add_(shortcut))
        return out


class ResNet(nn.Module):
    """Stem and three stages.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: Blocks per stage, such as (3, 4, 6) for ResNet-50 and (2, 2, 2) for ResNet-18.
        in_channels: Input channels: 3 for a picture, 5 for a picture with two masks.
        bias: Whether convolutions before a batch norm have a bias, as in the published mask encoders.
        first_stage: Name of the first stage in the state dict; published key encoders call it "res2".
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int],
        in_channels: int = 3,
        bias: bool = False,
        first_stage: str = "layer1",
    ) -> None:
        super().__init__()
        widths = [64 * block.expansion, 128 * block.expansion, 256 * block.expansion]
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=bias)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.first_stage = first_stage
        self.add_module(first_stage, _stage(block, 64, 64, depths[0], stride=1, bias=bias))
        self.layer2 = _stage(block, widths[0], 128, depths[1], stride=2, bias=bias)
        self.layer3 = _stage(block, widths[1], 256, depths[2], stride=2, bias=bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, in, H, W] -> [B, C4, H/4, W/4], [B, C8, H/8, W/8], [B, C16, H/16, W/16]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        f4 = self.get_submodule(self.first_stage)(x)
        f8 = self.layer2(f4)
        return f4, f8, self.layer3(f8)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, depth: int, *, stride: int, bias: bool
) -> nn.Sequential:
    """Stack of `depth` blocks, the first with `stride`."""
    inner = width * block.expansion
    rest = [block(inner, width, 1, bias) for _ in range(depth - 1)]
    return nn.Sequential(block(in_channels, width, stride, bias), *rest)


def _shortcut(in_channels: int, out_channels: int, stride: int, bias: bool) -> nn.Sequential | None:
    """Projection for a block that changes the shape; None if the identity fits."""
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
