"""A tiny random checkpoint in the layout of the public video transformer, made of the real classes."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import SiglipVisionConfig, SiglipVisionModel

HEIGHT, WIDTH, FRAMES = 64, 96, 17  # pixels, and pictures of a window
TOKENS, TOKEN_WIDTH, TEXT_WIDTH = 4, 16, 24
SHARDS = 2
# Diffusers is not typed.
_VAE: Any = AutoencoderKLCogVideoX
_SCHEDULER: Any = CogVideoXDDIMScheduler
_TRANSFORMER: Any = CogVideoXTransformer3DModel


def write_checkpoint(folder: Path, *, layers: int = 2) -> Path:
    """Write it; always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _write_transformer(folder / "transformer", layers)
        for name in ("vae", "pose_guider"):
            vae = _VAE(
                block_out_channels=(4, 4, 4, 4), norm_num_groups=2, layers_per_block=1, scaling_factor=0.7,
                sample_height=96, sample_width=80,
            )  # fmt: skip
            vae.save_pretrained(folder / name)
        _write_face_encoder(folder / "siglip-so400m-patch14-384")
    scheduler = _SCHEDULER(
        beta_schedule="scaled_linear", prediction_type="v_prediction", rescale_betas_zero_snr=True, clip_sample=False,
        snr_shift_scale=1.0, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def _write_transformer(folder: Path, layers: int) -> None:
    transformer = _TRANSFORMER(
        num_attention_heads=2, attention_head_dim=16, in_channels=48, out_channels=16, time_embed_dim=16,
        text_embed_dim=TEXT_WIDTH, num_layers=layers, sample_width=WIDTH // 8, sample_height=HEIGHT // 8,
        sample_frames=FRAMES, max_text_seq_length=TOKENS, attention_bias=True, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )  # fmt: skip
    transformer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_text_seq_length": 226}))
    single = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(single)
    single.unlink()
    hidden = 3 * TOKEN_WIDTH
    for name, shape in {
        "0.weight": (hidden, TOKEN_WIDTH),
        "0.bias": (hidden,),
        "2.weight": (TEXT_WIDTH, hidden),
        "2.bias": (TEXT_WIDTH,),
    }.items():
        tensors[f"patch_embed.pose_proj.{name}"] = torch.randn(shape) * 0.1
    names = sorted(tensors)
    places = {
        name: f"diffusion_pytorch_model-0000{1 + names.index(name) % SHARDS}-of-0000{SHARDS}.safetensors"
        for name in names
    }
    for shard in sorted(set(places.values())):
        save_file({name: tensors[name].contiguous() for name in names if places[name] == shard}, folder / shard)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def _write_face_encoder(folder: Path) -> None:
    config = SiglipVisionConfig(
        hidden_size=TOKEN_WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=13,
        patch_size=6,
    )
    SiglipVisionModel(config).save_pretrained(folder)
    pixels = {
        "size": {"height": 13, "width": 13}, "resample": 3, "rescale_factor": 1 / 255,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
