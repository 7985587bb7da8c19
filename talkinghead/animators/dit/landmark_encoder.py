"""Drawings of landmarks as latents, by a VAE encoder that was trained for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...types import Frame


def encode_drawings(encoder: Any, drawings: Sequence[Frame], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Latents [1, F, C, h, w] of drawings, 1 + 4 (F - 1) of them, each [H, W, 3]: the mode of the posterior, scaled.

    Black, the background, is -1. Gradients flow where they are asked for, so that the encoder can be trained.
    """
    # Held as frame, row, column, channel: another order of the same values rounds differently in bfloat16.
    video = torch.from_numpy(np.stack(drawings)).to(device).permute(3, 0, 1, 2)[None] / 255 * 2 - 1
    latents: Tensor = encoder.encode(video.to(dtype)).latent_dist.mode() * encoder.config.scaling_factor
    return latents.permute(0, 2, 1, 3, 4)
