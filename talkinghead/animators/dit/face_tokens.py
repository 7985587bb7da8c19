"""Whose face it is: SigLIP's view of the aligned face, as tokens for the transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...types import Frame
from .networks import Networks


def face_pixels(face: Frame, settings: Mapping[str, Any]) -> Tensor:
    """A face [H, W, 3] as SigLIP wants it [1, 3, S, S]: resized, scaled and normalised.

    settings: of `preprocessor_config.json`
    """
    size = settings["size"]
    resized = Image.fromarray(face).resize((size["width"], size["height"]), Image.Resampling(settings["resample"]))
    values = np.asarray(resized, np.float32) * np.float32(settings["rescale_factor"])
    values = (values - np.float32(settings["image_mean"])) / np.float32(settings["image_std"])
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


@torch.no_grad()
def face_tokens(networks: Networks, face: Frame) -> tuple[Tensor, Tensor]:
    """Tokens [1, N, E] of an aligned face [H, W, 3], and those that stand for no face.

    The latter are what the projection makes of zeros, so its biases remain.
    """
    encoder = networks.face_encoder
    pixels = face_pixels(face, networks.face_pixels).to(networks.device, next(encoder.parameters()).dtype)
    states = encoder(pixel_values=pixels).last_hidden_state.to(networks.dtype)
    return networks.face_projection(states), networks.face_projection(torch.zeros_like(states))
