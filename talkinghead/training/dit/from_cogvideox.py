"""A checkpoint to start from, made of bare CogVideoX-I2V: what SkyReels-A1 itself was trained from.

CogVideoX-I2V takes noise and a picture, and is told by text. Here come drawings between the two, face tokens in the
place of text, and an encoder of drawings. Until drawings are learned, the network predicts what CogVideoX-I2V would.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...animators.dit.loading import (
    FACE_ENCODER,
    PROJECTION,
    class_config,
    empty_network,
    find_folder,
    load_face_encoder,
    load_vae,
    read_tensors,
)
from ...animators.dit.transformer import FaceProjection, VideoTransformer
from ...errors import CheckpointMismatch
from ...weights import load_weights, resolve
from .checkpoint import STEM, write_tensors

PARTS = ("transformer", "vae", "scheduler")
NOTICE = (
    "about 12 GB are downloaded once. The weights are under the CogVideoX License: commercial use is bound to its "
    "terms, read them first"
)
SIGLIP = "google/siglip-so400m-patch14-384"  # the face encoder of SkyReels-A1
NEW_FILE = "initialised.json"
PATCHES, POSITIONS = "patch_embed.proj.weight", "patch_embed.pos_embedding"


def find_cogvideox(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of CogVideoX-I2V; its text encoder is not needed. Raises WeightsMissing."""
    return find_folder(name, revision, parts=PARTS, notice=NOTICE)


def find_face_encoder(name: str | os.PathLike[str]) -> Path:
    """The folder of SigLIP, or of a hub id, also with "@REVISION". Raises WeightsMissing."""
    name = os.fspath(name)
    repository, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    files = ("config.json", "preprocessor_config.json")
    return resolve(repository, revision=revision or None, files=files, patterns=(*files, "model*.safetensors*"))


def write_start(folder: Path, face_encoder: Path, out: Path, seed: int) -> Path:
    """Write the checkpoint `out` in the layout of SkyReels-A1, unless it is there.

    folder:       of CogVideoX-I2V
    face_encoder: a folder of SigLIP
    seed:         of the face projection

    What neither of them has is told in NEW_FILE. Raises the errors of weights; CheckpointMismatch for another model of
    the family: text to video, or version 1.5.
    """
    if out.is_dir():
        return out
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    encoder: Any
    encoder, _ = load_face_encoder(face_encoder)
    encoder.save_pretrained(part / FACE_ENCODER)
    shutil.copy(face_encoder / "preprocessor_config.json", part / FACE_ENCODER)
    load_vae(folder / "vae", torch.float32)  # which tells what is wrong with it
    for target, source in (("vae", "vae"), ("pose_guider", "vae"), ("scheduler", "scheduler")):
        shutil.copytree(folder / source, part / target)
    tokens = (encoder.config.image_size // encoder.config.patch_size) ** 2
    new = _write_transformer(folder / "transformer", part / "transformer", tokens, encoder.config.hidden_size, seed)
    new["pose_guider"] = "a copy of the VAE"
    (part / NEW_FILE).write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    part.rename(out)
    return out


def read_new(folder: Path) -> dict[str, str]:
    """What `write_start` began anew in `folder`, and how; nothing for other checkpoints."""
    file = folder / NEW_FILE
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _write_transformer(folder: Path, out: Path, tokens: int, width: int, seed: int) -> dict[str, str]:
    """Write the transformer in `folder`, made ready for drawings and faces; what is new in it.

    tokens, width: how many tokens a face has, and how wide each is
    """
    config = _image_to_video(folder)
    tensors = read_tensors(folder, STEM)
    stock = empty_network(lambda: VideoTransformer.from_config(config), torch.float32, folder)  # type: ignore[no-untyped-call]
    load_weights(stock, tensors, "transformer")
    channels, text = int(stock.config.out_channels), int(stock.config.max_text_seq_length)
    tensors[PATCHES] = with_drawings(tensors[PATCHES], channels)
    tensors[POSITIONS] = with_tokens(tensors[POSITIONS], text, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = FaceProjection(width, 3 * width, stock.config.text_embed_dim).to(tensors[PATCHES].dtype)
    tensors |= {PROJECTION + name: value for name, value in projection.state_dict().items()}
    write_tensors(out, tensors)
    (out / "config.json").write_text(json.dumps({**config, "in_channels": 3 * channels}, indent=2), encoding="utf-8")
    return {
        f"transformer: {PATCHES}, input channels {channels} to {2 * channels - 1} (drawings)": "zeros",
        f"transformer: {POSITIONS}, its first {tokens} (face tokens)": f"zeros, in place of the {text} of text",
        f"transformer: {PROJECTION[:-1]} (face projection)": f"random, seed {seed}",
    }


def with_drawings(weight: Tensor, channels: int) -> Tensor:
    """The weight [D, 2 C, p, p] of patches of noise and picture, with C channels of drawings that count for nothing
    between them: [D, 3 C, p, p]."""
    noise, picture = weight[:, :channels], weight[:, channels:]
    return torch.cat([noise, torch.zeros_like(noise), picture], dim=1)


def with_tokens(positions: Tensor, text: int, tokens: int) -> Tensor:
    """Positions [1, text + P, D] with zeros for `tokens` of the face in place of those of the text."""
    return torch.cat([positions.new_zeros(1, tokens, positions.shape[2]), positions[:, text:]], dim=1)


def _image_to_video(folder: Path) -> dict[str, Any]:
    """The settings of CogVideoX-I2V. Raises CheckpointMismatch for those of another model."""
    config = class_config(folder, "CogVideoXTransformer3DModel")
    latent, into = config.get("out_channels"), config.get("in_channels")
    if not isinstance(latent, int) or into != 2 * latent:
        found = f"takes {into!r:.20} channels and gives {latent!r:.20}"
        raise CheckpointMismatch(f"transformer: {found}; CogVideoX-I2V takes twice as many as it gives", _WANTED)
    for key, wanted in (("use_learned_positional_embeddings", True), ("use_rotary_positional_embeddings", True)):
        if config.get(key) is not wanted:
            raise CheckpointMismatch(f"transformer: its {key} must be {wanted}, not {config.get(key)!r:.20}", _WANTED)
    newer = [key for key in ("patch_size_t", "ofs_embed_dim") if config.get(key) is not None]
    if newer:
        raise CheckpointMismatch(f"transformer: is of a later version of CogVideoX, with {newer[0]}", _WANTED)
    return config


_WANTED = "start from CogVideoX-5b-I2V, or from SkyReels-A1 without a face_encoder"
