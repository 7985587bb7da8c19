"""The shape of every tensor of a checkpoint, worked out from the published dimensions alone."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from talkinghead.animators.dit.transformer import FaceProjection, VideoTransformer

from .dit_golden import TINY, needs_golden
from .dit_tiny import FRAMES, HEIGHT, TEXT_WIDTH, TOKEN_WIDTH, TOKENS, WIDTH, write_checkpoint

# What the public transformer/config.json says.
PUBLIC: dict[str, Any] = {
    "activation_fn": "gelu-approximate", "attention_bias": True, "attention_head_dim": 64, "dropout": 0.0,
    "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 48, "max_text_seq_length": 226,
    "norm_elementwise_affine": True, "norm_eps": 1e-5, "num_attention_heads": 48, "num_layers": 42, "out_channels": 16,
    "patch_size": 2, "sample_frames": 49, "sample_height": 60, "sample_width": 90, "spatial_interpolation_scale": 1.875,
    "temporal_compression_ratio": 4, "temporal_interpolation_scale": 1.0, "text_embed_dim": 4096, "time_embed_dim": 512,
    "timestep_activation_fn": "silu", "use_learned_positional_embeddings": True,
    "use_rotary_positional_embeddings": True,
}  # fmt: skip
PROJECTION = "patch_embed.pose_proj."
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Dimensions:
    """Of a video transformer: what its configuration and its face encoder say."""

    layers: int = 42
    heads: int = 48
    head: int = 64
    patch: int = 2
    latent: int = 16  # channels; noise, drawings and reference enter side by side
    time: int = 512
    text: int = 4096
    height: int = 60  # in latent pixels
    width: int = 90
    frames: int = 13  # latent
    tokens: int = 729  # of the face: (384 // 14) ** 2
    token: int = 1152

    def shapes(self) -> Shapes:
        """By name. Linear layers are [out, in], and each has a bias; so does each norm."""
        width = self.heads * self.head
        video = self.frames * (self.height // self.patch) * (self.width // self.patch)
        shapes: Shapes = {
            "patch_embed.proj.weight": (width, 3 * self.latent, self.patch, self.patch),
            "patch_embed.proj.bias": (width,),
            "patch_embed.pos_embedding": (1, self.tokens + video, width),
            **linear("patch_embed.text_proj", width, self.text),
            **linear(PROJECTION + "0", 3 * self.token, self.token),
            **linear(PROJECTION + "2", self.text, 3 * self.token),
            **linear("time_embedding.linear_1", self.time, width),
            **linear("time_embedding.linear_2", self.time, self.time),
            **norm("norm_final", width),
            **linear("norm_out.linear", 2 * width, self.time),  # shift and scale
            **norm("norm_out.norm", width),
            **linear("proj_out", self.patch**2 * self.latent, width),
        }
        for number in range(self.layers):
            shapes |= {f"transformer_blocks.{number}.{name}": shape for name, shape in self.block().items()}
        return shapes

    def block(self) -> Shapes:
        """Of one block: attention over both streams at once, then a network four times as wide."""
        width = self.heads * self.head
        shapes: Shapes = {
            **norm("attn1.norm_q", self.head),
            **norm("attn1.norm_k", self.head),
            **linear("ff.net.0.proj", 4 * width, width),
            **linear("ff.net.2", width, 4 * width),
        }
        for name in ("norm1", "norm2"):
            shapes |= linear(f"{name}.linear", 6 * width, self.time)  # shift, scale and gate of either stream
            shapes |= norm(f"{name}.norm", width)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes |= linear(f"attn1.{name}", width, width)
        return shapes


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def stored(folder: Path) -> Shapes:
    """What lies in the shards of a folder."""
    shapes: Shapes = {}
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, "pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


@pytest.fixture(scope="module")
def built() -> Shapes:
    """The public configuration, built without memory."""
    with torch.device("meta"):
        kind: Any = VideoTransformer
        transformer = kind.from_config(PUBLIC, max_text_seq_length=729)
        projection = FaceProjection(1152, 3456, transformer.config.text_embed_dim)
    own = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    return own | {PROJECTION + name: tuple(tensor.shape) for name, tensor in projection.state_dict().items()}


def test_every_tensor_of_the_public_model_has_its_shape(built: Shapes) -> None:
    wanted = Dimensions().shapes()

    assert sorted(built) == sorted(wanted)
    wrong = {name: (shape, wanted[name]) for name, shape in built.items() if shape != wanted[name]}
    assert not wrong


def test_the_public_model_has_the_published_number_of_weights_and_tensors(built: Shapes) -> None:
    own = {name: shape for name, shape in built.items() if not name.startswith(PROJECTION)}

    assert (len(own), len(built)) == (1025, 1029)
    buffer = own.pop("patch_embed.pos_embedding")
    assert buffer == (1, 18279, 3072)
    assert sum(map(math.prod, own.values())) == 5_570_676_288


def test_the_rules_hold_for_a_tiny_checkpoint(tmp_path: Path) -> None:
    tiny = Dimensions(
        2, 2, 16, time=16, text=TEXT_WIDTH, height=HEIGHT // 8, width=WIDTH // 8, frames=(FRAMES - 1) // 4 + 1,
        tokens=TOKENS, token=TOKEN_WIDTH,
    )  # fmt: skip

    assert stored(write_checkpoint(tmp_path) / "transformer") == tiny.shapes()


@needs_golden
def test_the_rules_hold_for_files_that_this_package_did_not_write() -> None:
    config = json.loads((TINY / "transformer" / "config.json").read_text())
    golden = Dimensions(
        config["num_layers"], config["num_attention_heads"], config["attention_head_dim"],
        time=config["time_embed_dim"], text=40, height=8, width=12, tokens=25, token=48,
    )  # fmt: skip

    assert stored(TINY / "transformer") == golden.shapes()
