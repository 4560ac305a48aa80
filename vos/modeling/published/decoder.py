"""Decoder of STM and STCN: readout at stride 16 and the frame's own maps -> logits at stride 4.

Source: STM (Oh et al., ICCV 2019, section 3.4); STCN keeps it with lighter skip connections.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """Residual block without norm, activation first.

    A shortcut that changes the number of channels is a 3x3 convolution, called `downsample` in checkpoints.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.downsample = None if same else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H, W]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.conv2(F.relu(self.conv1(F.relu(x)))).add_(shortcut)
        return out


class UpsampleBlock(nn.Module):
    """Refinement module: upsampled input plus a projection of the frame's own map, then a residual block.

    Args:
        skip_channels: Channels of the frame's own map.
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        refine_skip: Whether a residual block follows the projection, as in STM but not in STCN.
    """

    def __init__(self, skip_channels: int, in_channels: int, out_channels: int, refine_skip: bool) -> None:
        super().__init__()
        project = nn.Conv2d(skip_channels, in_channels, 3, padding=1)
        self.refine_skip = refine_skip
        if refine_skip:
            self.skip_conv1 = project
            self.skip_conv2 = ResBlock(in_channels, in_channels)
        else:
            self.skip_conv = project
        self.out_conv = ResBlock(in_channels, out_channels)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """Skip [1, Cs, 2H, 2W], shared by all objects, and x [K, in, H, W] -> [K, out, 2H, 2W]."""
        skip = self.skip_conv2(self.skip_conv1(skip)) if self.refine_skip else self.skip_conv(skip)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.out_conv(x.add_(skip))
        return out


class STMDecoder(nn.Module):
    """Two refinement modules with skip connections from a ResNet-50."""

    def __init__(self, in_channels: int, refine_skip: bool) -> None:
        super().__init__()
        self.compress = ResBlock(in_channels, 512)
        self.up_16_8 = UpsampleBlock(512, 512, 256, refine_skip)
        self.up_8_4 = UpsampleBlock(256, 256, 256, refine_skip)
        self.pred = nn.Conv2d(256, 1, 3, padding=1)

    def forward(self, x: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """Input [K, in, h, w], f8 [1, 512, 2h, 2w], f4 [1, 256, 4h, 4w] -> logits [K, 1, 4h, 4w]."""
        x = self.up_8_4(f4, self.up_16_8(f8, self.compress(x)))
        out: Tensor = self.pred(F.relu(x))
        return out
