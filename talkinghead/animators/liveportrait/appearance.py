"""F, the appearance feature extractor: a picture of a face becomes a volume of features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import PUBLIC, Sizes


class AppearanceExtractor(nn.Module):
    """RGB [B, 3, 256, 256], 0 to 1, to an appearance volume [B, 32, 16, 64, 64].

    Attribute names are the public checkpoints' key names. Wang, One-Shot Free-View Neural Talking-Head Synthesis
    for Video Conferencing, 2021.
    """

    def __init__(self, sizes: Sizes = PUBLIC) -> None:
        super().__init__()
        width = sizes.width
        self.volume = (sizes.volume_channels, sizes.volume_depth)
        self.first = ConvNorm(3, width)
        self.down_blocks = nn.ModuleList([ConvNorm(width, 2 * width), ConvNorm(2 * width, 4 * width)])
        self.second = nn.Conv2d(4 * width, sizes.volume_channels * sizes.volume_depth, 1)
        self.resblocks_3d = nn.Sequential()
        for index in range(sizes.residual_blocks):
            self.resblocks_3d.add_module(f"3dr{index}", ResidualBlock3d(sizes.volume_channels))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        for block in self.down_blocks:
            x = F.avg_pool2d(F.relu(block(x)), 2)
        x = self.second(x)
        x = x.reshape(len(x), *self.volume, *x.shape[2:])  # [B, C, D, 64, 64]
        volume: Tensor = self.resblocks_3d(x)
        return volume


class ConvNorm(nn.Module):
    """A 3 x 3 convolution and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x


class ResidualBlock3d(nn.Module):
    """Two 3 x 3 x 3 convolutions, each after its normalisation, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm2: nn.Module = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        x = x + y
        return x
