"""Training for public Whisper encoders, here with random weights."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from talkinghead.audio_encoder import WhisperConfig, WhisperEncoder
from talkinghead.errors import WeightsMissing
from talkinghead.motion.generator import FaceFormerGenerator
from talkinghead.training.model import MotionModel
from talkinghead.training.train import TrainConfig, train_motion
from talkinghead.types import Speech

from .test_training import SMALL, speaking, write_corpus

CONFIGS = Path(__file__).parents[1] / "configs"
RATE = 16_000


@pytest.fixture
def public_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Whisper tiny of random weights, where openai-whisper would keep the downloaded one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")
    sizes = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
    text = {"n_vocab": 51865, "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4}
    encoder = WhisperConfig(n_ctx=1500, n_state=384, n_head=6, n_layer=4, overlap=100).build()
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    (tmp_path / "whisper").mkdir()
    torch.save({"dims": {**sizes, **text}, "model_state_dict": weights}, tmp_path / "whisper" / "tiny.pt")


def test_a_decoder_for_the_public_tiny_is_trained_saved_and_opened(public_tiny: None, tmp_path: Path) -> None:
    recipe = TrainConfig.read(CONFIGS / "faceformer_tiny.yaml")
    spoken = write_corpus(tmp_path / "spoken", train=[speaking(400), speaking(300, 1)])

    out = train_motion(dataclasses.replace(recipe, steps=2, batch=1, threads=1), spoken, tmp_path / "out")

    config = json.loads((out / "config.json").read_text())
    assert config["audio_encoder"] == "tiny"
    assert config["faceformer"]["features"] == 384
    assert (out / "model.safetensors").stat().st_size < 3e6  # the encoder is not copied
    features = WhisperEncoder.open(out)(Speech(np.zeros(RATE, np.float32)))
    assert features.shape == (50, 384)
    assert len(FaceFormerGenerator.open(out)(features)) == 25


def test_the_recipe_for_the_public_base_builds_a_decoder_that_hears_it() -> None:
    recipe = TrainConfig.read(CONFIGS / "faceformer_base.yaml")

    base = WhisperConfig(n_ctx=1500, n_state=512, n_head=8, n_layer=1, overlap=100).build()
    model = MotionModel(base, dataclasses.replace(recipe.faceformer, features=512), frozen=True)

    assert recipe.public_encoder == "base"
    assert model.faceformer.config.features == 512
    assert not any(parameter.requires_grad for parameter in model.audio_encoder.parameters())


def test_training_for_a_public_encoder_goes_on_from_a_checkpoint_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = WhisperEncoder(SMALL.encoder, SMALL.encoder.build())
    monkeypatch.setattr(WhisperEncoder, "open", lambda name: public)
    corpus = write_corpus(tmp_path / "corpus", train=[speaking(120)])
    config = dataclasses.replace(SMALL, public_encoder="tiny")
    first = train_motion(config, corpus, tmp_path / "first")

    second = train_motion(
        dataclasses.replace(config, seed=1, steps=1, learning_rate=1e-9), corpus, tmp_path / "second", init=first
    )

    assert "audio_encoder" not in "".join(load_file(first / "model.safetensors"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    with pytest.raises(WeightsMissing):
        train_motion(config, corpus, tmp_path / "third", init=tmp_path / "nothing")
