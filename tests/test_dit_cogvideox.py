"""Training that starts from bare CogVideoX-I2V: what is kept, what is new, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file

from talkinghead.animators.dit import loading
from talkinghead.animators.dit.landmark_encoder import encode_drawings
from talkinghead.animators.dit.loading import open_networks, read_tensors
from talkinghead.animators.dit.transformer import Condition, predict, rotary_embedding
from talkinghead.errors import (
    CheckpointError,
    CheckpointMismatch,
    InputError,
    NonFiniteWeights,
    TalkingHeadWarning,
    WeightsMissing,
)
from talkinghead.training.dit import from_cogvideox
from talkinghead.training.dit.clips import Clip, ClipSettings
from talkinghead.training.dit.config import PARTS, DitConfig, Stage
from talkinghead.training.dit.from_cogvideox import (
    POSITIONS,
    find_cogvideox,
    find_face_encoder,
    read_new,
    write_start,
)
from talkinghead.training.dit.report import CARD_FILE
from talkinghead.training.dit.train import train_dit

from .dit_tiny import FRAMES, HEIGHT, TEXT_WIDTH, TOKENS, WIDTH, write_checkpoint
from .dit_training import write_clips

STEM = "diffusion_pytorch_model"
TEXT = 6  # tokens
pytestmark = pytest.mark.usefixtures("one_thread")
_TRANSFORMER: Any = CogVideoXTransformer3DModel


def write_cogvideox(folder: Path, text: int = TEXT) -> Path:
    """A tiny random model in the layout of CogVideoX-I2V, and `siglip` beside its parts."""
    write_checkpoint(folder / "skyreels")
    for part in ("vae", "scheduler"):
        shutil.move(folder / "skyreels" / part, folder / part)
    shutil.move(folder / "skyreels" / "siglip-so400m-patch14-384", folder / "siglip")
    shutil.rmtree(folder / "skyreels")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformer = _TRANSFORMER(
            num_attention_heads=2, attention_head_dim=16, in_channels=32, out_channels=16, time_embed_dim=16,
            text_embed_dim=TEXT_WIDTH, num_layers=2, sample_width=WIDTH // 8, sample_height=HEIGHT // 8,
            sample_frames=FRAMES, max_text_seq_length=text, attention_bias=True, use_rotary_positional_embeddings=True,
            use_learned_positional_embeddings=True,
        )  # fmt: skip
        transformer.patch_embed.pos_embedding[:, text:].normal_()  # as if it had been learned
        transformer.save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cogvideox(tmp_path_factory.mktemp("cogvideox"))


@pytest.fixture(scope="module")
def start(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(bare, bare / "siglip", tmp_path_factory.mktemp("made") / "start", seed=0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return write_clips(tmp_path_factory.mktemp("blobs") / "clips", 1, settings=ClipSettings(HEIGHT, WIDTH, FRAMES))


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_is_drawn_it_predicts_what_cogvideox_does(tmp_path: Path, seed: int) -> None:
    bare = write_cogvideox(tmp_path / "bare", text=TOKENS)
    start = write_start(bare, bare / "siglip", tmp_path / "start", seed=0)
    stock = _TRANSFORMER.from_pretrained(bare / "transformer").eval()
    networks = open_networks(start)
    generator = torch.Generator().manual_seed(seed)
    noise, drawings, picture = (
        torch.randn(1, networks.latent_frames, 16, HEIGHT // 8, WIDTH // 8, generator=generator) for _ in range(3)
    )
    tokens = torch.randn(1, TOKENS, TEXT_WIDTH, generator=generator)
    timestep = torch.tensor([500])
    rotary = rotary_embedding(stock.config, HEIGHT // 8, WIDTH // 8, networks.latent_frames, noise.device)

    with torch.no_grad():
        ours = predict(
            networks.transformer, noise, Condition(drawings, picture, tokens, tokens, rotary), tokens, timestep
        )
        wanted = stock(torch.cat([noise, picture], 2), tokens, timestep, image_rotary_emb=rotary, return_dict=False)[0]

    assert wanted.abs().mean() > 0.1
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_what_cogvideox_knows_is_kept_and_the_rest_is_named(bare: Path, start: Path) -> None:
    before, after = (read_tensors(folder / "transformer", STEM) for folder in (bare, start))

    changed = {name for name in after if name not in before or not torch.equal(after[name], before[name])}

    assert changed == {
        "patch_embed.proj.weight", POSITIONS, *(
            f"patch_embed.pose_proj.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias")
        ),
    }  # fmt: skip
    assert after["patch_embed.proj.weight"].shape[1] == 48
    assert torch.equal(after[POSITIONS][:, TOKENS:], before[POSITIONS][:, TEXT:])
    assert not after[POSITIONS][:, :TOKENS].any()
    told = " ".join(read_new(start))
    assert all(word in told for word in ("input channels 16 to 31", "pose_proj", POSITIONS, "pose_guider"))


def test_the_encoder_of_drawings_begins_as_the_vae(start: Path) -> None:
    networks = open_networks(start)
    drawings = list(np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8))

    by_either = [
        encode_drawings(network, drawings, networks.device, networks.dtype)
        for network in (networks.landmark_encoder, networks.vae)
    ]

    torch.testing.assert_close(*by_either, atol=0, rtol=0)


def test_the_seed_decides_the_face_projection(bare: Path, start: Path, tmp_path: Path) -> None:
    name = "patch_embed.pose_proj.0.weight"
    again, other = (
        read_tensors(write_start(bare, bare / "siglip", tmp_path / str(seed), seed) / "transformer", STEM)[name]
        for seed in (0, 1)
    )

    assert torch.equal(again, read_tensors(start / "transformer", STEM)[name])
    assert not torch.equal(again, other)


def test_training_starts_from_it_and_the_card_names_what_is_new(bare: Path, clips: list[Clip], tmp_path: Path) -> None:
    recipe = DitConfig(
        checkpoint=str(bare), face_encoder=str(bare / "siglip"), accumulate=1, warmup=1,
        stages=(Stage("joint", tuple(PARTS), 2, 1e-3),),
    )  # fmt: skip

    out = train_dit(recipe, clips[0].folder, tmp_path / "out")

    drawn = read_tensors(out / "transformer", STEM)["patch_embed.proj.weight"][:, 16:32]
    assert drawn.abs().max() > 0  # what was zero has begun to learn
    assert open_networks(out).canvas == (HEIGHT, WIDTH)
    card = (out / CARD_FILE).read_text()
    assert f"faces are seen by {bare / 'siglip'}" in card
    assert "begun anew: transformer: patch_embed.pose_proj (face projection): random, seed 0" in card
    assert "begun anew: pose_guider: a copy of the VAE" in card


def test_without_a_face_encoder_it_is_told_what_is_missing(bare: Path, clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no folder pose_guider, siglip.*") as caught:
        train_dit(DitConfig(checkpoint=str(bare)), clips[0].folder, tmp_path / "out")

    assert "face_encoder" in caught.value.hint
    with pytest.raises(ValueError, match="face_encoder belongs to a checkpoint"):
        replace(DitConfig(checkpoint=str(bare)), checkpoint=None, tiny={}, face_encoder="x")  # type: ignore[arg-type]


def _set(**values: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "transformer" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _poison(folder: Path) -> None:
    path = folder / "transformer" / f"{STEM}.safetensors"
    tensors = load_file(path)
    tensors["proj_out.bias"][0] = torch.nan
    save_file(tensors, path)


FAULTS: dict[str, tuple[Any, type[CheckpointError], str]] = {
    "text to video": (_set(in_channels=16), CheckpointMismatch, "takes 16 channels and gives 16"),
    "already ready": (_set(in_channels=48), CheckpointMismatch, "takes 48 channels and gives 16"),
    "not learned": (_set(use_learned_positional_embeddings=False), CheckpointMismatch, "use_learned_positional"),
    "version 1.5": (_set(patch_size_t=2), CheckpointMismatch, "later version.*patch_size_t"),
    "another class": (_set(_class_name="Other"), CheckpointMismatch, "'Other'"),
    "another size": (_set(num_layers=3), CheckpointMismatch, "missing"),
    "NaN": (_poison, NonFiniteWeights, "NaN"),
    "no VAE": (lambda folder: (folder / "vae" / "config.json").unlink(), WeightsMissing, "config.json"),
    "no face encoder": (lambda folder: (folder / "siglip" / "config.json").unlink(), WeightsMissing, "config.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_models_are_refused_and_nothing_is_left(bare: Path, tmp_path: Path, fault: str) -> None:
    change, error, message = FAULTS[fault]
    copy = Path(shutil.copytree(bare, tmp_path / "copy"))
    change(copy)

    with pytest.raises(error, match=message):
        write_start(copy, copy / "siglip", tmp_path / "start", seed=0)

    assert not (tmp_path / "start").exists()


def test_only_what_is_needed_is_fetched_and_size_and_licence_are_told_before(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, dict[str, Any]] = {}

    def resolve(name: str, **options: Any) -> Path:
        asked[name] = options
        return bare

    monkeypatch.setattr(from_cogvideox, "resolve", resolve)
    monkeypatch.setattr(loading, "resolve", resolve)
    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    with pytest.warns(TalkingHeadWarning, match=r"12 GB.*CogVideoX License"):
        find_cogvideox("owner/video", "abc")
    find_face_encoder("owner/faces@def")
    find_face_encoder("owner/others")

    assert [options["revision"] for options in asked.values()] == ["abc", "def", None]
    assert list(asked) == ["owner/video", "owner/faces", "owner/others"]
    assert not any("text_encoder" in pattern for pattern in asked["owner/video"]["patterns"])


def test_the_recipe_for_cogvideox_reads() -> None:
    recipe = DitConfig.read(Path(__file__).parents[1] / "configs" / "dit_cogvideox.yaml")

    assert recipe.face_encoder is not None
    assert recipe.steps == 5000
    with pytest.raises(InputError, match="faces"):
        DitConfig.read(Path(__file__).parents[1] / "configs" / "dit_faces.yaml")
