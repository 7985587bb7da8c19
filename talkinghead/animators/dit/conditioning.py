"""What the model is told: the reference picture and face once for a clip, the drawings for each window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...types import Frame
from .face_tokens import face_tokens
from .landmark_encoder import encode_drawings
from .networks import Networks
from .transformer import Condition, rotary_embedding


@dataclass(frozen=True, eq=False)
class Reference:
    """A portrait as the model sees it, encoded once however long the clip is.

    posterior: of the picture's latents, from which they are drawn [1, C, 1, h, w]
    scale:     of latents
    tokens:    [1, N, E] of the face
    no_tokens: [1, N, E] of no face
    drawing:   [H, W, 3] of its landmarks
    """

    posterior: Any
    scale: float
    tokens: Tensor
    no_tokens: Tensor
    drawing: Frame

    def latents(self, generator: torch.Generator | None) -> Tensor:
        """Latents [1, 1, C, h, w] of the picture; one draw of `generator`, or the posterior's mode without one."""
        drawn = self.posterior.mode() if generator is None else self.posterior.sample(generator)
        latents: Tensor = (drawn * self.scale).to(self.tokens.dtype)
        return latents.permute(0, 2, 1, 3, 4)


@torch.no_grad()
def encode_reference(networks: Networks, picture: Frame, face: Frame, drawing: Frame) -> Reference:
    """The reference of a `picture` of the model's size, its aligned `face` and the `drawing` of its landmarks."""
    tokens, no_tokens = face_tokens(networks, face)
    video = picture_tensor(picture).to(networks.device, networks.dtype)[:, :, None]
    posterior = networks.vae.encode(video).latent_dist
    return Reference(posterior, networks.vae.config.scaling_factor, tokens, no_tokens, drawing)


def picture_tensor(picture: Frame) -> Tensor:
    """A picture [H, W, 3] as [1, 3, H, W], -1 to 1, channels first in memory: another order rounds differently."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float() / 255 * 2 - 1


@torch.no_grad()
def window_condition(networks: Networks, reference: Reference, latents: Tensor, drawings: Sequence[Frame]) -> Condition:
    """The condition of one window.

    latents:  [1, 1, C, h, w] of the reference picture
    drawings: the reference drawing, then the driving ones, as many as the model's frames
    """
    landmarks = encode_drawings(networks.landmark_encoder, drawings, networks.device, networks.dtype)
    frames, _, height, width = landmarks.shape[1:]
    padding = latents.new_zeros(1, frames - 1, *latents.shape[2:])
    rotary = rotary_embedding(networks.transformer.config, height, width, frames, networks.device)
    return Condition(landmarks, torch.cat([latents, padding], 1), reference.tokens, reference.no_tokens, rotary)
