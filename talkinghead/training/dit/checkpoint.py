"""Trained networks as a folder in the public layout, which the animator loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

from ...animators.dit.loading import FACE_ENCODER, PROJECTION, read_tensors
from ...animators.dit.networks import Networks

STEM = "diffusion_pytorch_model"
FROZEN = ("vae", FACE_ENCODER, "scheduler")  # never trained: copied
SHARD = "5GB"


def write_transformer(folder: Path, transformer: nn.Module, projection: nn.Module, dtype: torch.dtype) -> None:
    """Write the weights of both into `folder`, in shards if they are many."""
    tensors = {
        **transformer.state_dict(),
        **{PROJECTION + key: value for key, value in projection.state_dict().items()},
    }
    write_tensors(folder, {key: value.to("cpu", dtype) for key, value in tensors.items()})


def write_checkpoint(networks: Networks, start: Path, out: Path) -> None:
    """Write `networks`, which were loaded from folder `start`, into the folders of `out`, each whole or not at all.

    Weights keep the type that they had in `start`.
    """
    for name in FROZEN:
        if not (out / name).is_dir():
            with _new_folder(out / name) as part:
                shutil.copytree(start / name, part, dirs_exist_ok=True)
    with _new_folder(out / "transformer") as part:
        shutil.copy(start / "transformer" / "config.json", part)
        write_transformer(part, networks.transformer, networks.face_projection, _dtype(start / "transformer"))
    with _new_folder(out / "pose_guider") as part:
        shutil.copy(start / "pose_guider" / "config.json", part)
        tensors = read_tensors(
            start / "pose_guider", STEM
        )  # with a decoder, which is never used but part of the layout
        trained = networks.landmark_encoder.state_dict()
        write_tensors(part, {key: trained.get(key, value).to("cpu", value.dtype) for key, value in tensors.items()})


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write weights into `folder`, in shards if they are many."""
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    save_torch_state_dict(contiguous, folder, filename_pattern=STEM + "{suffix}.safetensors", max_shard_size=SHARD)


def _dtype(folder: Path) -> torch.dtype:
    return next(value.dtype for value in read_tensors(folder, STEM).values() if value.is_floating_point())


class _new_folder:
    """A folder beside `target` that takes its place when the block ends without an error."""

    def __init__(self, target: Path) -> None:
        self.target, self.part = target, target.with_name(f".{target.name}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            shutil.rmtree(self.target, ignore_errors=True)
            self.part.rename(self.target)
        else:
            shutil.rmtree(self.part, ignore_errors=True)
