"""G, the generator: draws the picture of a warped feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import PUBLIC, Sizes

SLOPE = 0.2  # of leaky ReLUs
EPSILON = 1e-5  # of instance normalisation


class Generator(nn.Module):
    """A feature map [B, 256, 64, 64] to a picture [B, 3, 512, 512], 0 to 1.

    Spatially adaptive normalisation: Park, Semantic Image Synthesis with Spatially-Adaptive Normalization, 2019.
    """

    def __init__(self, sizes: Sizes = PUBLIC) -> None:
        super().__init__()
        wide, features = 2 * sizes.warped, sizes.warped
        self.blocks = sizes.generator_blocks
        self.fc = nn.Conv2d(features, wide, 3, padding=1)
        for index in range(self.blocks):
            self.add_module(f"G_middle_{index}", SpadeBlock(wide, wide, features, sizes.modulation))
        self.up_0 = SpadeBlock(wide, features, features, sizes.modulation)
        self.up_1 = SpadeBlock(features, sizes.drawn, features, sizes.modulation)
        self.conv_img = nn.Sequential(nn.Conv2d(sizes.drawn, 3 * 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        x = self.fc(feature)
        for index in range(self.blocks):
            x = self.get_submodule(f"G_middle_{index}")(x, feature)
        x = self.up_0(F.interpolate(x, scale_factor=2), feature)
        x = self.up_1(F.interpolate(x, scale_factor=2), feature)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, SLOPE)))


class SpadeBlock(nn.Module):
    """Two normalised convolutions and a shortcut, all modulated by a feature map."""

    def __init__(self, inputs: int, outputs: int, features: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_0 = SpadeNorm(inputs, features, hidden)
        self.conv_0: nn.Module = SpectralConv2d(inputs, middle, 3)
        self.norm_1 = SpadeNorm(middle, features, hidden)
        self.conv_1: nn.Module = SpectralConv2d(middle, outputs, 3)
        self.resized = inputs != outputs
        if self.resized:
            self.norm_s = SpadeNorm(inputs, features, hidden)
            self.conv_s: nn.Module = SpectralConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        shortcut = self.conv_s(self.norm_s(x, feature)) if self.resized else x
        x = self.conv_0(F.leaky_relu(self.norm_0(x, feature), SLOPE))
        x = self.conv_1(F.leaky_relu(self.norm_1(x, feature), SLOPE))
        x += shortcut
        return x


class SpadeNorm(nn.Module):
    """Instance normalisation whose gain and shift come from a feature map, cell by cell."""

    def __init__(self, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(features, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        shared = self.mlp_shared(F.interpolate(feature, x.shape[2:]))
        x = F.instance_norm(x, eps=EPSILON) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)
        return x


class SpectralConv2d(nn.Module):
    """A convolution stored with the parts of its spectral norm, as torch's older `spectral_norm` writes it.

    weight_orig: [O, I, K, K]; weight_u: [O] and weight_v: [I·K·K] its first singular vectors, nearly
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.randn(outputs, inputs, size, size) / (inputs * size**2) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0))
        matrix = self.weight_orig.detach().flatten(1)
        self.register_buffer("weight_v", F.normalize(matrix.T @ self.weight_u, dim=0))

    @property
    def weight(self) -> Tensor:
        """The weight that convolves: divided by its largest singular value u·W·v."""
        return self.weight_orig / (self.weight_u @ self.weight_orig.flatten(1) @ self.weight_v)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight_orig.shape[-1] // 2)
