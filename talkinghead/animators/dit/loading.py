"""A checkpoint folder in the layout of `Skywork/SkyReels-A1` becomes networks; nothing about it is assumed.

Settings, the scheduler's class and the names of shards are read from its files. Every fault is told before a model
runs: what is missing, cut off, of another shape or not finite.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from ...errors import CheckpointMismatch, TalkingHeadWarning, UnsafeCheckpoint, WeightsMissing, warn
from ...weights import downloadable, load_weights, part, read_safetensors, read_section, resolve
from .networks import Networks
from .transformer import FaceProjection, VideoTransformer

PUBLIC = "Skywork/SkyReels-A1"
REVISION = "e8f62f871898c2323750f26614086e52b6e1ea15"  # of it: the commit that other public projects pin, too
ROOTS = ("", "SkyReels-A1-5B", "pretrained_models/SkyReels-A1-5B")  # where a download may keep the networks
FACE_ENCODER = "siglip-so400m-patch14-384"
PARTS = ("transformer", "vae", "pose_guider", FACE_ENCODER, "scheduler")
PROJECTION = "patch_embed.pose_proj."
SCHEDULERS = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
NOTICE = (
    "about 13 to 16 GB are downloaded once. The weights are under the Skywork Community License, and under the "
    "CogVideoX License of the model they were made from: commercial use is bound to the terms of both, read them first"
)


def open_networks(
    name: str | os.PathLike[str],
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Networks:
    """The networks of a local folder or of a Hugging Face hub id, on `device`.

    dtype:            of all networks but the face encoder; None takes bfloat16 on a GPU and float32 on a CPU
    revision:         of a hub repository: a commit, tag or branch; give a commit where a run must be repeatable
    local_files_only: never download; HF_HUB_OFFLINE=1 and TALKINGHEAD_OFFLINE=1 say the same

    Raises WeightsMissing, CheckpointCorrupt, CheckpointMismatch, NonFiniteWeights, UnsafeCheckpoint.
    """
    folder = find_folder(name, revision, local_files_only=local_files_only)
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    face_encoder, pixels = load_face_encoder(folder / FACE_ENCODER)
    config: Any = face_encoder.config
    tokens = (config.image_size // config.patch_size) ** 2
    transformer, projection = load_transformer(folder / "transformer", tokens, config.hidden_size, dtype)
    landmark_encoder = load_vae(folder / "pose_guider", dtype)
    landmark_encoder.decoder = nn.Identity()  # never used, and half of its weights
    networks = Networks(
        transformer,
        projection,
        face_encoder,
        pixels,
        load_vae(folder / "vae", dtype),
        landmark_encoder,
        load_scheduler(folder / "scheduler"),
    )
    for module in networks.modules.values():
        module.to(device).eval().requires_grad_(False)
    return networks


def find_folder(
    name: str | os.PathLike[str],
    revision: str | None = None,
    *,
    local_files_only: bool = False,
    parts: Sequence[str] = PARTS,
    notice: str = NOTICE,
) -> Path:
    """The folder that holds the networks: a local one, or a hub repository's, downloaded if need be and allowed.

    parts:  what the folder must hold; only that is downloaded, so not the text encoder
    notice: of size and licence, a warning before a download
    revision: of a hub repository; None is REVISION of the public one, and the newest of another

    Raises WeightsMissing.
    """
    if revision is None and name == PUBLIC:
        revision = REVISION
    patterns = [f"*{part}/*.{kind}" for part in parts for kind in ("json", "safetensors")]
    patterns += [pattern.removeprefix("*") for pattern in patterns]
    local = Path(name).is_dir()
    if local_files_only and not local:
        folder = _downloaded(os.fspath(name), revision, patterns, notice)
    else:
        if not local and downloadable(name) and not downloaded(os.fspath(name), revision):
            warn(TalkingHeadWarning, f"{os.fspath(name)}: {notice}")
        folder = resolve(name, revision=revision, files=(), patterns=patterns)
    lacking: dict[str, list[str]] = {}
    for root in ROOTS:
        lacking[root] = [part for part in parts if not (folder / root / part).is_dir()]
        if not lacking[root]:
            return folder / root
    raise WeightsMissing(
        f"{os.fspath(name)}: is not a video transformer's checkpoint: it has no folder {', '.join(lacking[''])}",
        f"give a folder with {', '.join(parts)} in it"
        + (f", as {PUBLIC} is laid out" if parts == PARTS else ", as CogVideoX-5b-I2V is laid out"),
    )


def downloaded(repository: str, revision: str | None) -> bool:
    """Whether the hub's cache on this machine holds some of the transformer of `repository`."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    names = [str(Path(root) / "transformer" / "config.json") for root in ROOTS]
    try:
        return any(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in names)
    except HFValidationError:  # not the name of a repository, which `resolve` tells
        return False


def _downloaded(repository: str, revision: str | None, patterns: list[str], notice: str) -> Path:
    """The folder of `repository` in the hub's cache on this machine. Raises WeightsMissing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        found = snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=True)
    except (OSError, HFValidationError) as error:
        raise WeightsMissing(f"{repository}: is not on this machine", f"allow the download: {notice}") from error
    return Path(found)


def load_transformer(
    folder: Path, tokens: int, width: int, dtype: torch.dtype
) -> tuple[VideoTransformer, FaceProjection]:
    """The transformer, and the face projection whose weights lie among its own.

    tokens: of a face. The file's `max_text_seq_length` is that of the text model it was made from, not this one's
    width:  of a token
    """
    config = class_config(folder, "CogVideoXTransformer3DModel")
    tensors = read_tensors(folder, "diffusion_pytorch_model")
    weights = part(tensors, PROJECTION)
    hidden = len(weights["0.bias"]) if "0.bias" in weights and weights["0.bias"].ndim else width
    transformer = empty_network(lambda: VideoTransformer.from_config(config, max_text_seq_length=tokens), dtype, folder)  # type: ignore[no-untyped-call]
    projection = empty_network(lambda: FaceProjection(width, hidden, transformer.config.text_embed_dim), dtype, folder)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(PROJECTION)}
    load_weights(transformer, own, "transformer")
    load_weights(projection, weights, f"transformer: {PROJECTION[:-1]}")
    return transformer, projection


def load_vae(folder: Path, dtype: torch.dtype) -> Any:
    """The VAE of a folder."""
    config = class_config(folder, "AutoencoderKLCogVideoX")
    vae = empty_network(lambda: AutoencoderKLCogVideoX.from_config(config), dtype, folder)  # type: ignore[no-untyped-call]
    load_weights(vae, read_tensors(folder, "diffusion_pytorch_model"), folder.name)
    return vae


def load_face_encoder(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """SigLIP's picture half in float32, also out of a file that holds its text half too, and how it wants pixels."""
    config = read_section(folder / "config.json")
    vision = SiglipVisionConfig.from_dict(config.get("vision_config", config))
    network = empty_network(lambda: SiglipVisionModel(vision), torch.float32, folder)
    prefix = "vision_model."
    tensors = read_tensors(folder, "model")
    own = part(tensors, prefix) or tensors
    if any(name.startswith(prefix) for name in network.state_dict()):  # in older releases of transformers
        own = {prefix + name: tensor for name, tensor in own.items()}
    load_weights(network, own, folder.name)
    for module in network.modules():  # these are computed, not stored
        if isinstance(getattr(module, "position_ids", None), Tensor):
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return network, read_section(folder / "preprocessor_config.json")


def load_scheduler(folder: Path) -> Any:
    """The scheduler that the folder names. Raises CheckpointMismatch for one that is not known."""
    config = read_section(folder / "scheduler_config.json")
    name = config.get("_class_name")
    if name not in SCHEDULERS:
        raise CheckpointMismatch(f"scheduler: {name!r:.60} is not one of {', '.join(SCHEDULERS)}")
    return getattr(diffusers, name).from_config(config)


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """All tensors of `stem`.safetensors, or of the shards that its index lists; each must be where the index says.

    Raises WeightsMissing, CheckpointCorrupt, CheckpointMismatch, UnsafeCheckpoint.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return read_safetensors(folder / f"{stem}.safetensors")
    places = read_section(index, "weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointMismatch(f"{index.name}: its weight_map does not name a file for every tensor")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or "\\" in shard:
            raise UnsafeCheckpoint(f"{index.name}: names a file outside its folder: {shard}", "do not use it")
        if not (folder / shard).is_file():
            missing = f"{folder.name}: the shard {shard} that its index names is missing"
            raise WeightsMissing(missing, "download or copy the folder again")
        tensors.update(read_safetensors(folder / shard))
    absent = [name for name in places if name not in tensors]
    if absent:
        raise CheckpointMismatch(f"{folder.name}: its shards lack {', '.join(absent[:5])}, which the index names")
    return tensors


def class_config(folder: Path, kind: str) -> dict[str, Any]:
    """The settings in a folder, of a network of class `kind`. Raises CheckpointMismatch for another one's."""
    config: dict[str, Any] = read_section(folder / "config.json")
    if config.get("_class_name") != kind:
        raise CheckpointMismatch(f"{folder.name}/config.json: is of {config.get('_class_name')!r:.60}, not {kind}")
    return config


def empty_network(make: Callable[[], Any], dtype: torch.dtype, folder: Path) -> Any:
    """A network without memory for weights, which `load_weights` puts in."""
    try:
        with torch.device("meta"):
            network = nn.Module.to(make(), dtype)  # diffusers' own prints a warning about nothing
    except (TypeError, ValueError, ZeroDivisionError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointMismatch(f"{folder.name}/config.json: no network can be made of it: {reason}") from error
    unstored = [name for name, _ in network.named_buffers() if name not in network.state_dict()]
    if any(not name.endswith("position_ids") for name in unstored):
        raise CheckpointMismatch(f"{folder.name}/config.json: {', '.join(unstored[:5])} must be stored, not computed")
    return network
