"""How the video transformer is trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from ...errors import InputError
from ...settings import dataclass_from

# What a stage can train; the rest is frozen.
PARTS = {
    "landmark_encoder": "the encoder of drawings",
    "patch_projection": "what takes noise, drawings and portrait into the transformer",
    "face_projection": "what takes face tokens into the transformer",
    "transformer": "all else of the transformer",
}


@dataclass(frozen=True)
class Stage:
    """Some steps that train some parts.

    parts: of PARTS
    """

    name: str
    parts: tuple[str, ...]
    steps: int
    learning_rate: float

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise ValueError(f"parts of stage {self.name} must be some of {', '.join(PARTS)}, not {unknown}")
        if self.steps < 1 or not self.learning_rate > 0:
            raise ValueError(f"steps of stage {self.name} must be at least 1, and its learning_rate above 0")


# Steps and rates as published (SkyReels-A1: Expressive Portrait Animation in Video Diffusion Transformers, 2025);
# which tensors belong to which stage is our reading of its three sentences about them.
PUBLISHED = (
    Stage("landmarks", ("landmark_encoder", "patch_projection"), 2000, 1e-5),
    Stage("identity", ("face_projection",), 2000, 1e-5),
    Stage("joint", tuple(PARTS), 1000, 1e-6),
)


@dataclass(frozen=True)
class TinyConfig:
    """A small network of random weights to start from, whose VAE is taught on the clips first.

    height, width:  of its pictures in pixels; multiples of 2 * 2 ** (number of vae_channels - 1)
    frames:         of a window, the reference among them: 1 + 8 n
    vae_channels:   of each level of the VAE; every level but the last halves the picture
    frames_per_latent: 1, 2 or 4 pictures that one latent frame stands for; the public model has 4
    layers, heads, head_size: of the transformer; head_size is a multiple of 8
    autoencoder_steps, autoencoder_learning_rate: of the VAE
    """

    height: int = 64
    width: int = 96
    frames: int = 9
    vae_channels: tuple[int, ...] = (8, 8, 16)
    frames_per_latent: int = 1
    layers: int = 4
    heads: int = 3
    head_size: int = 32
    autoencoder_steps: int = 25
    autoencoder_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        cell = 2 ** len(self.vae_channels)
        if not 3 <= len(self.vae_channels) <= 4 or any(width < 6 or width % 2 for width in self.vae_channels):
            raise ValueError("vae_channels must be 3 or 4 even numbers from 6 on")
        if self.height < 2 * cell or self.width < 2 * cell or self.height % cell or self.width % cell:
            raise ValueError(f"height and width must be multiples of {cell}, from {2 * cell} on")
        if self.frames < 9 or (self.frames - 1) % 8:
            raise ValueError(f"frames must be 9, 17, 25, …, not {self.frames}")
        if self.frames_per_latent not in (1, 2, 4):
            raise ValueError(f"frames_per_latent must be 1, 2 or 4, not {self.frames_per_latent}")
        if min(self.layers, self.heads, self.autoencoder_steps) < 1 or self.head_size < 8 or self.head_size % 8:
            raise ValueError("layers, heads, autoencoder_steps must be at least 1, head_size a multiple of 8")
        if not self.autoencoder_learning_rate > 0:
            raise ValueError("autoencoder_learning_rate must be above 0")


@dataclass(frozen=True)
class DitConfig:
    """How the video transformer is trained.

    checkpoint: what to start from: a folder in the public layout or a hub id
    revision:   of a hub id: a commit, so that runs can be repeated
    face_encoder: where `checkpoint` is bare CogVideoX-I2V, as zai-org/CogVideoX-5b-I2V, the SigLIP to see faces with: a
                folder or a hub id, as google/siglip-so400m-patch14-384, also with "@REVISION"
    tiny:       start from small random networks instead; `checkpoint` must be null
    batch:      clips that are computed at once, on each process
    accumulate: batches that make one step
    weight_decay, clip: of AdamW, and the longest gradient
    warmup:     steps of each stage over which its learning rate rises
    schedule:   of the learning rate after that: constant, or down to zero along a cosine
    drop_face:  share of examples without face tokens, for classifier-free guidance
    precision:  of the arithmetic; weights and AdamW's averages are float32
    gradient_checkpointing: computes more and keeps less
    threads:    of the processor
    log_every, save_every: steps
    """

    seed: int = 0
    checkpoint: str | None = "Skywork/SkyReels-A1"
    revision: str | None = None
    face_encoder: str | None = None
    tiny: TinyConfig | None = None
    stages: tuple[Stage, ...] = PUBLISHED
    batch: int = 1
    accumulate: int = 8
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 100
    schedule: Literal["constant", "cosine"] = "constant"
    drop_face: float = 0.1
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    threads: int = 1
    log_every: int = 10
    save_every: int = 250

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.tiny is None):
            raise ValueError("one of checkpoint and tiny must be given, and the other be null")
        if self.face_encoder is not None and self.checkpoint is None:
            raise ValueError("face_encoder belongs to a checkpoint")
        if not self.stages:
            raise ValueError("there must be at least one stage")
        if min(self.batch, self.accumulate, self.warmup, self.threads, self.log_every, self.save_every) < 1:
            raise ValueError("batch, accumulate, warmup, threads, log_every and save_every must be at least 1")
        if not (self.clip > 0 and self.weight_decay >= 0 and self.seed >= 0 and 0 <= self.drop_face <= 1):
            raise ValueError("clip must be above 0, weight_decay and seed 0 or more, drop_face 0 to 1")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> DitConfig:
        """The settings in a YAML file; unknown keys and wrong types raise InputError."""
        try:
            values = yaml.safe_load(Path(path).read_text("utf-8")) or {}
            if not isinstance(values, dict):
                raise ValueError(f"must be a table of settings, not a {type(values).__name__}")
            if isinstance(values.get("tiny"), dict):  # here, where a fault in it is named
                values["tiny"] = dataclass_from(TinyConfig, values["tiny"])
            return dataclass_from(cls, values)
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: {reason}", "see configs/dit_tiny.yaml") from error
