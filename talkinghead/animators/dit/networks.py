"""The networks of one checkpoint, together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .transformer import FaceProjection


@dataclass(frozen=True, eq=False)
class Networks:
    """What a checkpoint holds, ready to run.

    transformer:      takes noise away
    face_projection:  face tokens for it
    face_encoder:     SigLIP: a face [1, 3, S, S] to tokens, in float32
    face_pixels:      how SigLIP wants its pixels: `preprocessor_config.json`
    vae:              pictures to latents and back
    landmark_encoder: drawings to latents: a VAE of its own, without a decoder
    scheduler:        a fresh one of `type(scheduler)` is made for every window
    """

    transformer: Any  # VideoTransformer, whose types diffusers hides
    face_projection: FaceProjection
    face_encoder: nn.Module
    face_pixels: Mapping[str, Any]
    vae: Any
    landmark_encoder: Any
    scheduler: Any

    @property
    def device(self) -> torch.device:
        """Where latents are: with the projection, which stays there when memory is scarce."""
        return next(self.face_projection.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of latents."""
        return next(self.face_projection.parameters()).dtype

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the model's pictures, in pixels."""
        config = self.transformer.config
        return config.sample_height * self.pixels_per_latent, config.sample_width * self.pixels_per_latent

    @property
    def pixels_per_latent(self) -> int:
        """Pixels of a side that one latent pixel stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def frames(self) -> int:
        """Pictures of one window, the reference among them."""
        return int(self.transformer.config.sample_frames)

    @property
    def latent_frames(self) -> int:
        """Latent frames of one window: the first picture, then fours."""
        return (self.frames - 1) // self.frames_per_latent + 1

    @property
    def frames_per_latent(self) -> int:
        """Pictures that one latent frame stands for."""
        return int(self.transformer.config.temporal_compression_ratio)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {
            "transformer": self.transformer,
            "face_projection": self.face_projection,
            "face_encoder": self.face_encoder,
            "vae": self.vae,
            "landmark_encoder": self.landmark_encoder,
        }
