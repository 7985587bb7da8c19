"""M, the motion extractor: a ConvNeXt V2 that reads keypoints, expression and pose from a picture of a face."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import BINS, KEYPOINTS, PUBLIC, Sizes

EPSILON = 1e-6
DEGREES_PER_BIN, FIRST_BIN = 3.0, -97.5  # of the head angles' histograms


class RawMotion(NamedTuple):
    """What the motion extractor gives for B pictures.

    kp, exp:          [B, 63] keypoints of the face at rest, and what its expression adds
    pitch, yaw, roll: [B, 66] logits of the angles' bins
    t:                [B, 3]
    scale:            [B, 1]
    """

    kp: Tensor
    exp: Tensor
    pitch: Tensor
    yaw: Tensor
    roll: Tensor
    t: Tensor
    scale: Tensor


class MotionExtractor(nn.Module):
    """RGB [B, 3, 256, 256], 0 to 1, to RawMotion. Key names have the prefix `detector.`."""

    def __init__(self, sizes: Sizes = PUBLIC) -> None:
        super().__init__()
        self.detector = ConvNeXt(sizes.motion_depths, sizes.motion_widths)

    def forward(self, image: Tensor) -> RawMotion:
        motion: RawMotion = self.detector(image)
        return motion


class ConvNeXt(nn.Module):
    """ConvNeXt V2 (Woo, ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders, 2023) with heads."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))])
        for narrow, wide in itertools.pairwise(widths):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(narrow), nn.Conv2d(narrow, wide, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth))) for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=EPSILON)
        self.fc_kp = nn.Linear(widths[-1], 3 * KEYPOINTS)
        self.fc_scale = nn.Linear(widths[-1], 1)
        self.fc_pitch = nn.Linear(widths[-1], BINS)
        self.fc_yaw = nn.Linear(widths[-1], BINS)
        self.fc_roll = nn.Linear(widths[-1], BINS)
        self.fc_t = nn.Linear(widths[-1], 3)
        self.fc_exp = nn.Linear(widths[-1], 3 * KEYPOINTS)

    def forward(self, x: Tensor) -> RawMotion:
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        x = self.norm(x.mean((2, 3)))  # [B, 768]
        return RawMotion(
            self.fc_kp(x),
            self.fc_exp(x),
            self.fc_pitch(x),
            self.fc_yaw(x),
            self.fc_roll(x),
            self.fc_t(x),
            self.fc_scale(x),
        )


class Block(nn.Module):
    """A depthwise convolution, two linear layers with response normalisation between them, a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = ResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(self.norm(y)))))
        x = x + y.permute(0, 3, 1, 2)
        return x


class ResponseNorm(nn.Module):
    """Global response normalisation of [B, H, W, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        response = response / (response.mean(-1, keepdim=True) + EPSILON)
        x = self.gamma * (x * response) + self.beta + x
        return x


class ChannelNorm(nn.Module):
    """Layer normalisation of [B, C, H, W] over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, EPSILON)
        return x.permute(0, 3, 1, 2)


def angle(logits: Tensor) -> Tensor:
    """The head angle [B, 1] in degrees that bin logits [B, 66] stand for: -97.5 to 97.5."""
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    mean = (torch.softmax(logits, -1) * bins).sum(-1, keepdim=True)
    degrees: Tensor = DEGREES_PER_BIN * mean + FIRST_BIN
    return degrees
