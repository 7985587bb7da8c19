"""What frozen networks say of a clip, computed once: the VAE of its pictures, SigLIP of its face."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors.torch import save_file
from torch import Tensor

from ...animators.dit.face_tokens import face_pixels
from ...animators.dit.networks import Networks
from ...files import new_file
from ...types import Frame
from ...weights import read_safetensors
from .clips import Clip
from .tiny import video_tensor


class Encoded(NamedTuple):
    """A clip as the frozen networks see it.

    video:   [2 C, F, h, w] mean and logarithm of the variance of the latents of the reference and the driving frames
    picture: [2 C, 1, h, w] of the reference alone
    face:    [N, D] SigLIP's tokens
    """

    video: Tensor
    picture: Tensor
    face: Tensor


def encode_clips(networks: Networks, clips: Sequence[Clip], folder: Path) -> list[Path]:
    """A file in `folder` for each clip, with what `read_encoded` reads. What is there already is not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for clip, key in zip(clips, cache_keys(networks, clips), strict=True):
        file = folder / f"{clip.name}-{key:08x}.safetensors"
        if not file.is_file():
            encoded = encode_clip(networks, clip.pictures(), clip.face())
            with new_file(file) as part:
                save_file({name: value.cpu().contiguous() for name, value in encoded._asdict().items()}, part)
        files.append(file)
    return files


def cache_keys(networks: Networks, clips: Sequence[Clip]) -> list[int]:
    """Numbers that change with the pictures of a clip and with the weights of the networks that see them."""
    weights = 0
    for network in (networks.vae, networks.face_encoder):
        for value in network.state_dict().values():
            weights = zlib.crc32(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes(), weights)
    return [zlib.crc32(clip.checksum.to_bytes(4, "little"), weights) for clip in clips]


@torch.no_grad()
def encode_clip(networks: Networks, pictures: Sequence[Frame], face: Frame) -> Encoded:
    """What the frozen networks say of `pictures` [H, W, 3], the reference first, and of the upright `face`."""

    def seen(some: Sequence[Frame]) -> Tensor:
        video = video_tensor(some).to(networks.device, networks.vae.dtype)
        parameters: Tensor = networks.vae.encode(video).latent_dist.parameters[0]
        return parameters.float()

    where = next(networks.face_encoder.parameters())
    pixels = face_pixels(face, networks.face_pixels).to(where.device, where.dtype)
    tokens = networks.face_encoder(pixel_values=pixels).last_hidden_state[0]
    return Encoded(seen(pictures), seen(pictures[:1]), tokens.float())


def read_encoded(file: Path) -> Encoded:
    """What `encode_clips` wrote. Raises CheckpointCorrupt."""
    return Encoded(**read_safetensors(file))


def draw_latents(parameters: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Latents [F, C, h, w] out of the parameters [2 C, F, h, w] of their distribution, scaled."""
    posterior: Any = DiagonalGaussianDistribution(parameters[None])  # type: ignore[no-untyped-call]
    latents: Tensor = posterior.sample(generator)[0] * scale
    return latents.transpose(0, 1)
