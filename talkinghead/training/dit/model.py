"""What is trained: the networks of a checkpoint, cut into parts, and what they are trained to make small."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...animators.dit.landmark_encoder import encode_drawings
from ...animators.dit.networks import Networks
from ...animators.dit.transformer import Condition, predict, rotary_embedding
from ...types import Frame


class Batch(NamedTuple):
    """Clips at one moment of training.

    latents:   [B, F, C, h, w] of the reference and the driving frames
    reference: [B, 1, C, h, w] of the reference picture
    faces:     [B, N, D] SigLIP's tokens, zeros where the face is dropped
    drawings:  B × frames × [H, W, 3]; or, where their encoder is frozen, its latents of them, like latents
    noise:     like latents
    timesteps: [B] whole numbers
    """

    latents: Tensor
    reference: Tensor
    faces: Tensor
    drawings: list[list[Frame]] | Tensor
    noise: Tensor
    timesteps: Tensor


class DitModel(nn.Module):
    """The trainable networks of a checkpoint; called with a batch, it gives its loss."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.transformer: Any = networks.transformer
        self.face_projection = networks.face_projection
        self.landmark_encoder: Any = networks.landmark_encoder
        self.scheduler = networks.scheduler

    def train_only(self, parts: Collection[str]) -> list[nn.Parameter]:
        """Freeze all but `parts`, and give their parameters."""
        chosen = []
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(part_of(name) in parts)
            if parameter.requires_grad:
                chosen.append(parameter)
        return chosen

    def forward(self, batch: Batch) -> Tensor:
        """Mean squared error of what the scheduler's prediction type asks for.

        For velocities that is the error of the clean latents weighted by 1 / (1 - alpha), with which CogVideoX was
        trained.
        """
        noisy = self.scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
        predicted = predict(self.transformer, noisy, *self._condition(batch), batch.timesteps)
        return F.mse_loss(predicted.float(), self.target(batch).float())

    def target(self, batch: Batch) -> Tensor:
        """What is to be predicted, like `batch.latents`. Raises ValueError for a prediction type not known."""
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
            return velocity
        if kind == "epsilon":
            return batch.noise
        if kind == "sample":
            return batch.latents
        raise ValueError(f"the scheduler's prediction_type must be v_prediction, epsilon or sample, not {kind!r}")

    def encode_drawings(self, drawings: list[Frame]) -> Tensor:
        """Latents [1, F, C, h, w] of the drawings of one clip, frames × [H, W, 3]."""
        where = next(self.landmark_encoder.parameters())
        return encode_drawings(self.landmark_encoder, drawings, where.device, where.dtype)

    def _condition(self, batch: Batch) -> tuple[Condition, Tensor]:
        """What the network is told, and the projected face tokens [B, N, E]."""
        drawings = batch.drawings
        landmarks = drawings if isinstance(drawings, Tensor) else torch.cat([*map(self.encode_drawings, drawings)])
        frames, _, height, width = batch.latents.shape[1:]
        padding = batch.reference.new_zeros(len(batch.reference), frames - 1, *batch.reference.shape[2:])
        tokens = self.face_projection(batch.faces)
        rotary = rotary_embedding(self.transformer.config, height, width, frames, batch.latents.device)
        reference = torch.cat([batch.reference, padding], 1)
        return Condition(landmarks, reference, tokens, tokens, rotary), tokens


def part_of(name: str) -> str:
    """To which of PARTS the parameter `name` of a DitModel belongs."""
    if name.startswith("landmark_encoder."):
        return "landmark_encoder"
    if name.startswith(("face_projection.", "transformer.patch_embed.text_proj.")):
        return "face_projection"
    return "patch_projection" if name.startswith("transformer.patch_embed.proj.") else "transformer"
