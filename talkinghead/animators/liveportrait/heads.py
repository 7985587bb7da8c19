"""S and R: small networks that stitch a face to its shoulders and retarget its lips and eyes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .sizes import KEYPOINTS

FLAT = 3 * KEYPOINTS


class KeypointNetwork(nn.Module):
    """Linear layers with ReLUs between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential()
        for narrow, wide in itertools.pairwise(widths):
            if len(self.mlp):
                self.mlp.append(nn.ReLU())
            self.mlp.append(nn.Linear(narrow, wide))

    def forward(self, x: Tensor) -> Tensor:
        x = self.mlp(x)
        return x


class Stitching(KeypointNetwork):
    """Source and driving keypoints, [B, 21, 3] each, to [B, 65]: what to add to the driving ones and a shift of all."""

    def __init__(self) -> None:
        super().__init__(2 * FLAT, 128, 128, 64, FLAT + 2)

    def stitch(self, source: Tensor, driving: Tensor) -> Tensor:
        """`driving` [B, 21, 3] so moved that the drawn face meets the source's neck; `source` is [1 or B, 21, 3]."""
        delta = self(torch.cat([source.expand_as(driving).flatten(1), driving.flatten(1)], 1))
        moved: Tensor = driving + delta[:, :FLAT].reshape(driving.shape)
        shift = torch.nn.functional.pad(delta[:, FLAT:], (0, 1))  # x, y, and nothing in z
        moved = moved + shift[:, None]
        return moved


class Retargeting(KeypointNetwork):
    """Source keypoints [B, 21, 3] and a condition [B, N] to what to add to the keypoints, [B, 21, 3]."""

    def offsets(self, source: Tensor, condition: Tensor) -> Tensor:
        """What opens or closes the lips or eyes of `source` [1 or B, 21, 3] as `condition` [B, N] says."""
        flat = source.expand(len(condition), -1, -1).flatten(1)
        delta: Tensor = self(torch.cat([flat, condition], 1))
        return delta.reshape(len(condition), KEYPOINTS, 3)


class LipRetargeting(Retargeting):
    """Its condition is the lips' openness, [source, target]."""

    def __init__(self) -> None:
        super().__init__(FLAT + 2, 128, 128, 64, FLAT)


class EyeRetargeting(Retargeting):
    """Its condition is the eyes' openness, [source's left, source's right, target]."""

    def __init__(self) -> None:
        super().__init__(FLAT + 3, 256, 256, 128, 128, 64, FLAT)
