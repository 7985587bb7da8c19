"""What the motion network is trained to make small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..blendshapes import INDEX, MOUTH
from ..face.landmarks import LOWER_LIP, MOUTH_CORNERS, UPPER_LIP
from ..face.model import face_model
from ..motion.faceformer import CHANNELS
from ..types import EXPRESSIONS, Array
from .batches import UNKNOWN


@dataclass(frozen=True)
class LossWeights:
    """How much each part of the loss counts."""

    velocity: float = 2.0
    lips: float = 2.0
    phones: float = 0.6
    tokens: float = 0.5
    mouth: float = 1.0
    rest: float = 0.3
    pose: float = 0.1
    closed: float = 3.0


def mouth_shape_of_expression() -> Array:
    """[52, 2]: by how many centimetres each blendshape parts the inner lips, and widens the mouth.

    The face model moves its points linearly, so the opening of a whole expression is the sum over its blendshapes.
    """
    basis = face_model().basis  # [52, 478, 3] cm, y up
    gap = basis[:, UPPER_LIP, 1] - basis[:, LOWER_LIP, 1]
    width = basis[:, MOUTH_CORNERS[1], 0] - basis[:, MOUTH_CORNERS[0], 0]
    return np.stack([gap, width], axis=1)


class MotionLoss:
    """Errors of predicted motion, each in units of how much its target usually varies.

    scale: [58] standard deviation of each channel in the corpus
    shape: [52, 2] lip opening and mouth width of each blendshape
    shape_scale: [2] standard deviation of both in the corpus
    """

    def __init__(self, weights: LossWeights, scale: Tensor, shape: Tensor, shape_scale: Tensor) -> None:
        self.weights, self.scale, self.shape, self.shape_scale = weights, scale, shape, shape_scale
        importance = torch.full((CHANNELS,), weights.rest, device=scale.device)
        importance[list(MOUTH)] = weights.mouth
        importance[INDEX["jawOpen"]] = 2 * weights.mouth
        importance[EXPRESSIONS:] = weights.pose
        self.importance = importance

    def motion(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Parts of the loss of motion [B, T, 58]."""
        error = (predicted - target) / self.scale
        lips = (predicted - target)[..., :EXPRESSIONS] @ self.shape / self.shape_scale  # [B, T, 2]
        # Lips that should touch, in silence and at p, b, m, and do not, are seen at once.
        closed = (target[..., :EXPRESSIONS] @ self.shape[:, :1] < 0.25 * self.shape_scale[0]).float()
        emphasis = torch.cat([1 + self.weights.closed * closed, torch.ones_like(closed)], dim=-1)
        return {
            "position": (error.square() * self.importance).mean(),
            "velocity": self.weights.velocity * (error.diff(dim=1).square() * self.importance).mean(),
            "lips": self.weights.lips
            * ((lips.square() * emphasis).mean() + self.weights.velocity * lips.diff(dim=1).square().mean()),
        }

    def tokens(self, phone_logits: Tensor, expression: Tensor, phones: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Parts of the loss of what the encoder alone knows: phones [B, A], mouth [B, A, 52]."""
        error = (expression - target[..., :EXPRESSIONS]) / self.scale[:EXPRESSIONS]
        importance = self.importance[:EXPRESSIONS]
        return {
            "phones": self.weights.phones * _phone_error(phone_logits.flatten(0, 1), phones.flatten()),
            "tokens": self.weights.tokens * (error.square() * importance).mean(),
        }


def _phone_error(logits: Tensor, phones: Tensor) -> Tensor:
    """Cross-entropy of logits [N, phones], over the tokens whose phone is known; 0 if none is."""
    errors = F.cross_entropy(logits, phones, label_smoothing=0.05, ignore_index=UNKNOWN, reduction="sum")
    return errors / (phones != UNKNOWN).sum().clamp_min(1)
