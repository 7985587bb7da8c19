"""A small video transformer of random weights in the public folder layout, to try training without a GPU.

The VAE of a public checkpoint knows pictures already. This one is taught here, on the clips alone, and its encoder is
where the landmark encoder starts from, as in the public model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXResnetBlock3D, CogVideoXSpatialNorm3D
from diffusers.models.downsampling import CogVideoXDownsample3D
from diffusers.models.upsampling import CogVideoXUpsample3D
from numpy.random import default_rng
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from ...animators.dit.loading import FACE_ENCODER
from ...animators.dit.transformer import FaceProjection
from ...types import Frame
from .checkpoint import write_transformer
from .clips import Clip
from .config import TinyConfig

TOKENS_SIDE, TOKEN_WIDTH, TEXT_WIDTH = 2, 32, 32
SNIPPET = 9  # frames that the VAE is taught on at once: three latent ones
LATENT_CHANNELS = 16
CARRIERS = [(channel, channel, 1.0) for channel in range(6)]
CONTRAST = 0.6  # of pictures, -1 to 1: about the root of their mean square
CERTAIN = -12.0  # logarithm of the variance of a latent


def write_tiny(config: TinyConfig, clips: Sequence[Clip], folder: Path, seed: int) -> Path:
    """Write the checkpoint `folder`, unless it is there; always the same one for the same arguments."""
    if folder.is_dir():
        return folder
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = taught_vae(config, [clip.pictures() for clip in clips], seed)
        for name in ("vae", "pose_guider"):
            vae.save_pretrained(part / name)
        _write_transformer(config, part / "transformer")
        _write_face_encoder(part / FACE_ENCODER)
    scheduler: Any = CogVideoXDDIMScheduler(  # type: ignore[no-untyped-call]
        beta_schedule="scaled_linear", prediction_type="v_prediction", rescale_betas_zero_snr=True, clip_sample=False,
        snr_shift_scale=1.0, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.save_pretrained(part / "scheduler")
    part.rename(folder)
    return folder


def taught_vae(config: TinyConfig, films: Sequence[Sequence[Frame]], seed: int) -> Any:
    """A VAE that gives back the pictures of `films`, each [H, W, 3]; its latents have a standard deviation of 1."""
    levels = len(config.vae_channels)
    vae: Any = AutoencoderKLCogVideoX(  # type: ignore[no-untyped-call]
        block_out_channels=config.vae_channels, norm_num_groups=2, layers_per_block=1, latent_channels=LATENT_CHANNELS,
        down_block_types=("CogVideoXDownBlock3D",) * levels, up_block_types=("CogVideoXUpBlock3D",) * levels,
        sample_height=config.height, sample_width=config.width, temporal_compression_ratio=config.frames_per_latent,
    )  # fmt: skip
    _start_as_average(vae)
    optimizer = torch.optim.Adam(vae.parameters(), config.autoencoder_learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.autoencoder_steps)
    rng = default_rng(seed)
    for _ in range(config.autoencoder_steps):
        film = films[rng.integers(len(films))]
        first = int(rng.integers(len(film) - SNIPPET + 1))
        wanted = video_tensor(film[first : first + SNIPPET])
        made = vae.decode(vae.encode(wanted).latent_dist.mode()).sample
        loss = (made - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        spread = torch.cat([vae.encode(video_tensor(film)).latent_dist.mode().flatten() for film in films]).std()
    vae.register_to_config(scaling_factor=round(1 / float(spread), 4))
    return vae.eval()


def _start_as_average(vae: Any) -> None:
    """Let an untaught VAE average pictures down and enlarge them again: details are all that is left to learn.

    Residual blocks add nothing yet. Six channels carry red, green, blue and their negatives through all levels, since
    silu(x) - silu(-x) is x. Other channels stay random.
    """
    encoder, decoder = vae.encoder, vae.decoder
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, CogVideoXResnetBlock3D):
                for parameter in module.conv2.parameters():
                    parameter.zero_()
                if module.in_channels != module.out_channels:
                    _carry(module.conv_shortcut, CARRIERS)
            elif isinstance(module, CogVideoXSpatialNorm3D):
                for conv in (module.conv_y.conv, module.conv_b.conv):
                    nn.init.zeros_(conv.weight)
                nn.init.ones_(cast("Tensor", module.conv_y.conv.bias))
                nn.init.zeros_(cast("Tensor", module.conv_b.conv.bias))
            elif isinstance(module, CogVideoXDownsample3D | CogVideoXUpsample3D):
                _carry(module.conv, CARRIERS, box=isinstance(module, CogVideoXDownsample3D))
        split = [(2 * colour + side, colour, 1.0 - 2 * side) for colour in range(3) for side in range(2)]
        joined = [(colour, channel, sign) for channel, colour, sign in split]
        _carry(encoder.conv_in.conv, split)
        _carry(encoder.conv_out.conv, joined)
        _carry(decoder.conv_in.conv, split)
        _carry(decoder.conv_out.conv, [(colour, channel, CONTRAST * sign) for colour, channel, sign in joined])
        encoder.conv_out.conv.weight[LATENT_CHANNELS:] = 0
        encoder.conv_out.conv.bias[LATENT_CHANNELS:] = CERTAIN


def _carry(conv: Any, links: Sequence[tuple[int, int, float]], box: bool = False) -> None:
    """Let `conv` pass values on: (to, from, factor), in the last of its moments; `box` averages 2 x 2 pixels."""
    weight = conv.weight
    for row in {to for to, _, _ in links}:
        weight[row] = 0
        conv.bias[row] = 0
    for to, source, factor in links:
        kernel = weight[to, source][-1] if weight.ndim == 5 else weight[to, source]
        if box:
            kernel[:2, :2] += factor / 4
        else:
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += factor


def video_tensor(pictures: Sequence[Frame]) -> Tensor:
    """Pictures [H, W, 3] as [1, 3, F, H, W], -1 to 1."""
    video = torch.from_numpy(np.stack(pictures)).float() / 255 * 2 - 1
    return video.permute(3, 0, 1, 2)[None].contiguous()


def _write_transformer(config: TinyConfig, folder: Path) -> None:
    cell = 2 ** (len(config.vae_channels) - 1)
    transformer: Any = CogVideoXTransformer3DModel(  # type: ignore[no-untyped-call]
        num_attention_heads=config.heads, attention_head_dim=config.head_size, num_layers=config.layers,
        in_channels=3 * LATENT_CHANNELS, out_channels=LATENT_CHANNELS, time_embed_dim=64, text_embed_dim=TEXT_WIDTH,
        sample_width=config.width // cell, sample_height=config.height // cell, sample_frames=config.frames,
        max_text_seq_length=TOKENS_SIDE**2, attention_bias=True, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True, temporal_compression_ratio=config.frames_per_latent,
    )  # fmt: skip
    transformer.save_config(folder)
    projection = FaceProjection(TOKEN_WIDTH, 3 * TOKEN_WIDTH, TEXT_WIDTH)
    write_transformer(folder, transformer, projection, torch.float32)


def _write_face_encoder(folder: Path) -> None:
    patch = 6
    size = TOKENS_SIDE * patch
    encoder = SiglipVisionConfig(
        hidden_size=TOKEN_WIDTH, intermediate_size=2 * TOKEN_WIDTH, num_hidden_layers=1, num_attention_heads=2,
        image_size=size, patch_size=patch,
    )  # fmt: skip
    SiglipVisionModel(encoder).save_pretrained(folder)
    pixels = {
        "size": {"height": size, "width": size}, "resample": 3, "rescale_factor": 1 / 255,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels), encoding="utf-8")
