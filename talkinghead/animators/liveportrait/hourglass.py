"""The hourglass of the warping module: down to a few wide cells and up again, at full depth."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import Sizes


class Hourglass(nn.Module):
    """[B, 110, 16, 64, 64] to [B, 142, 16, 64, 64].

    padding: channels of zeros that its convolutions expect behind the input's own
    """

    padding: int = 0

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding:
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.padding))
        if x.dtype != torch.float32:  # matrix units for short numbers want the channels last
            x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.decoder(self.encoder(x))
        return x


class Encoder(nn.Module):
    """Halves height and width at each level; gives the maps of all levels, the input first."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = [sizes.motion_input, *(sizes.hourglass(level) for level in range(1, sizes.hourglass_levels + 1))]
        self.down_blocks = nn.ModuleList(ConvNorm3d(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for block in self.down_blocks:
            maps.append(halved(F.relu(block(maps[-1]))))
        return maps


def halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 cells, at each depth of [B, C, D, H, W]. CPUs have no such pooling for 16-bit numbers."""
    top, bottom = x[..., 0::2, :], x[..., 1::2, :]
    return ((top[..., 0::2] + top[..., 1::2]) + (bottom[..., 0::2] + bottom[..., 1::2])) * 0.25


class Decoder(nn.Module):
    """Doubles height and width at each level, beside what the encoder saw there."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        levels = range(sizes.hourglass_levels, 0, -1)
        self.up_blocks = nn.ModuleList(
            UpBlock3d(
                sizes.hourglass(level) * (1 if level == sizes.hourglass_levels else 2), sizes.hourglass(level - 1)
            )
            for level in levels
        )
        self.conv = nn.Conv3d(sizes.hourglass_output, sizes.hourglass_output, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm3d(sizes.hourglass_output)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for block, skipped in zip(self.up_blocks, reversed(maps[:-1]), strict=True):
            x = torch.cat([F.relu(block(x)), skipped], 1)
        return F.relu(self.norm(self.conv(x)))


class ConvNorm3d(nn.Module):
    """A 3 x 3 x 3 convolution and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x


class UpBlock3d(ConvNorm3d):
    """The same on a map whose height and width are doubled first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=(1, 2, 2)))
