"""W, the warping module: moves the appearance volume from the source's keypoints to the driving ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .appearance import ConvNorm
from .hourglass import Hourglass
from .sizes import KEYPOINTS, PUBLIC, Sizes

VARIANCE = 0.01  # of the keypoints' heat maps, in the volume's units of -1 to 1


class Flow(NamedTuple):
    """How the volume is to be moved.

    deformation: [B, 16, 64, 64, 3] where each cell comes from: x, y, z in -1 to 1
    occlusion:   [B, 1, 64, 64] what of it can be seen, 0 to 1
    mask:        [B, 22, 16, 64, 64] which keypoint each cell follows; the first is none
    """

    deformation: Tensor
    occlusion: Tensor
    mask: Tensor


class WarpingModule(nn.Module):
    """An appearance volume [B, 32, 16, 64, 64] and keypoints [B, 21, 3] to a feature map [B, 256, 64, 64].

    The volume may have a batch of 1 for any number of keypoints. Grids and sampling stay in float32 whatever the
    convolutions compute in: half a cell is more than their last bit.
    """

    def __init__(self, sizes: Sizes = PUBLIC) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotion(sizes)
        self.third = ConvNorm(sizes.volume_channels * sizes.volume_depth, sizes.warped)
        self.fourth = nn.Conv2d(sizes.warped, sizes.warped, 1)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        flow: Flow = self.dense_motion_network(volume, driving, source)
        warped = sample(volume.expand(len(driving), -1, -1, -1, -1), flow.deformation)
        return self.feature(warped, flow.occlusion)

    def feature(self, warped: Tensor, occlusion: Tensor) -> Tensor:
        """The feature map of a warped volume."""
        x = warped.reshape(len(warped), -1, *warped.shape[3:]).to(self.fourth.weight.dtype)  # [B, C·D, 64, 64]
        x = self.fourth(F.leaky_relu(self.third(x), 0.01))
        feature: Tensor = x * occlusion.to(x.dtype)
        return feature


class DenseMotion(nn.Module):
    """From sparse keypoints to a flow for every cell of the volume.

    Siarohin, First Order Motion Model for Image Animation, 2019, without Jacobians; in three dimensions as in
    Wang 2021.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.hourglass = Hourglass(sizes)
        self.mask: nn.Module = nn.Conv3d(sizes.hourglass_output, KEYPOINTS + 1, 7, padding=3)
        self.compress = nn.Conv3d(sizes.volume_channels, sizes.compressed, 1)
        self.norm: nn.Module = nn.BatchNorm3d(sizes.compressed)
        self.occlusion: nn.Module = nn.Conv2d(sizes.hourglass_output * sizes.volume_depth, 1, 7, padding=3)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Flow:
        compressed = F.relu(self.norm(self.compress(volume.to(self.compress.weight.dtype))))
        grid = identity_grid(volume)
        motions = sparse_motions(grid, driving.float(), source.float())  # [B, 22, D, H, W, 3]
        seen = motion_input(compressed, motions, heat_maps(grid, driving.float(), source.float()))
        prediction = self.hourglass(seen)  # [B, 142, D, H, W]
        mask = torch.softmax(self.mask(prediction)[:, : KEYPOINTS + 1].float(), 1)
        deformation = torch.einsum("bkdhw,bkdhwx->bdhwx", mask, motions)
        flat = prediction.reshape(len(prediction), -1, *prediction.shape[3:])  # [B, 142·D, H, W]
        return Flow(deformation, torch.sigmoid(self.occlusion(flat)[:, :1].float()), mask)


def identity_grid(volume: Tensor) -> Tensor:
    """Where each cell of `volume` [B, C, D, H, W] lies: [D, H, W, 3], x, y, z from -1 at the first cell to 1."""
    z, y, x = (torch.linspace(-1, 1, size, device=volume.device) for size in volume.shape[2:])
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([x, y, z], -1)


def sparse_motions(grid: Tensor, driving: Tensor, source: Tensor) -> Tensor:
    """The grid as no keypoint and as each of them moves it: [B, 22, D, H, W, 3]."""
    shift = F.pad(source - driving, (0, 0, 1, 0))  # [B, 22, 3]: the background stands still
    return grid + shift[:, :, None, None, None]


def heat_maps(grid: Tensor, driving: Tensor, source: Tensor) -> Tensor:
    """Where the keypoints are, less where they were: [B, 22, D, H, W]; 0 for the background."""

    def around(keypoints: Tensor) -> Tensor:
        # A Gaussian of three coordinates is the product of three of one, and those are much smaller.
        axes = [grid[0, 0, :, 0], grid[0, :, 0, 1], grid[:, 0, 0, 2]]
        x, y, z = (
            torch.exp(-0.5 * (axis - keypoints[..., i, None]) ** 2 / VARIANCE) for i, axis in enumerate(axes)
        )  # [B, 21, W], [B, 21, H], [B, 21, D]
        return z[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]

    return F.pad(around(driving) - around(source), (0, 0, 0, 0, 0, 0, 1, 0))


def motion_input(compressed: Tensor, motions: Tensor, heat: Tensor) -> Tensor:
    """What the hourglass sees [B, 110, D, H, W]: for each of 22 motions its heat map and the volume so moved."""
    batch, count, depth, height, width, _ = motions.shape
    channels = compressed.shape[1]
    each = compressed.expand(batch, -1, -1, -1, -1)
    # One sampling for all 22 motions: they are laid one behind the other in depth.
    moved = sample(each, motions.reshape(batch, count * depth, height, width, 3))
    moved = moved.reshape(batch, channels, count, depth, height, width).transpose(1, 2)
    seen = torch.cat([heat[:, :, None].to(moved.dtype), moved], 2)  # [B, 22, 1 + 4, D, H, W]
    return seen.reshape(batch, count * (1 + channels), depth, height, width)


def sample(volume: Tensor, grid: Tensor) -> Tensor:
    """`volume` [B, C, D, H, W] at places [B, D', H', W', 3]; what lies outside is 0.

    The grid puts -1 and 1 on the outermost cells' centres, and the sampling on their edges: the public networks
    were trained with this mismatch.
    """
    sampled = F.grid_sample(volume.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.to(volume.dtype)
