"""Hearing: shapes, windows, loudness, pieces, and where encoders come from."""

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from safetensors.torch import save_file
from whisper.model import ModelDimensions, Whisper

from talkinghead.audio_encoder import WhisperConfig, WhisperEncoder
from talkinghead.errors import CheckpointMismatch, NonFiniteWeights, NumericalError, UnsafeCheckpoint, WeightsMissing
from talkinghead.types import Array, Speech
from talkinghead.weights import save_weights, write_config

HELLO = Path(__file__).parents[1] / "examples" / "hello.flac"
TINY = WhisperConfig(n_ctx=100, n_state=16, n_head=2, n_layer=1, overlap=20)
PUBLIC = ModelDimensions(80, 100, 128, 2, 2, 64, 8, 128, 2, 1)  # dimensions of a public model, but small


@pytest.fixture(scope="module")
def tiny() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(TINY, TINY.build())


@pytest.fixture(scope="module")
def micro() -> WhisperEncoder:
    return WhisperEncoder.open("micro")


def sound(seconds: float, seed: int = 0) -> Array:
    """Syllables of a buzz through moving resonances, with pauses: something like speech."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * 16000)) / 16000
    buzz = sum(np.sin(2 * np.pi * 120 * k * times + k) / k for k in range(1, 30))
    knots = rng.uniform(0, 1, len(times) // 2400 + 2)
    loud = np.clip(np.interp(times, np.arange(len(knots)) * 0.15, knots) - 0.3, 0, 1)
    return (0.2 * loud * buzz + 1e-3 * rng.standard_normal(len(times))).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 640, 16_000, 31_999, 32_001, 100_000])
def test_there_are_50_features_a_second(tiny: WhisperEncoder, samples: int) -> None:
    features = tiny(Speech(np.zeros(samples, np.float32)))

    assert features.shape == (math.ceil(samples / 320), tiny.size)
    assert features.dtype == np.float32


def test_no_sound_has_no_features(tiny: WhisperEncoder) -> None:
    assert tiny(Speech(np.zeros(0, np.float32))).shape == (0, 16)


def test_the_same_sound_gives_the_same_features(tiny: WhisperEncoder) -> None:
    speech = Speech(sound(3))

    assert np.array_equal(tiny(speech), tiny(speech))


def test_blocks_together_are_the_whole(tiny: WhisperEncoder) -> None:
    speech = Speech(sound(31))

    blocks = list(tiny.blocks(speech))

    assert len(blocks) > 1
    assert all(len(block) % 2 == 0 for block in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks), tiny(speech))


def test_a_window_hears_the_mels_of_the_whole_sound(tiny: WhisperEncoder) -> None:
    samples = sound(4)
    whole = whisper.log_mel_spectrogram(samples).clamp_min(-0.5)

    window = tiny._mel(samples, 40)

    assert torch.allclose(window, whole[:, 80:280], atol=1e-5)


def test_a_quiet_moment_does_not_depend_on_the_loudest_one_of_its_window(tiny: WhisperEncoder) -> None:
    quiet = 0.05 * sound(2)
    loud = quiet.copy()
    loud[24_000:] = np.clip(1000 * loud[24_000:], -1, 1)

    before, after = tiny._mel(quiet, 0), tiny._mel(loud, 0)

    assert torch.equal(before[:, :148], after[:, :148])
    theirs = [whisper.log_mel_spectrogram(samples)[:, :148].clamp_min(-0.5) for samples in (quiet, loud)]
    assert not torch.equal(*theirs)  # Whisper's own depend on it: no floor of -0.5 hides 80 dB below the loudest


def test_windows_join_without_a_step(micro: WhisperEncoder) -> None:
    features = micro(Speech(sound(14)))
    steps = np.linalg.norm(np.diff(features, axis=0), axis=1)
    joints = range(micro.hop - micro.config.overlap, len(steps), micro.hop)

    for joint in joints:
        assert steps[joint - 2 : joint + micro.config.overlap + 2].max() < 1.5 * np.percentile(steps, 99)


def test_a_piece_on_the_grid_gives_the_features_of_the_whole(micro: WhisperEncoder) -> None:
    samples, hop = sound(20), 4 * 16_000  # the micro encoder's windows begin every 4 s
    whole = micro(Speech(samples))

    piece = micro(Speech(samples[hop:]))

    assert micro.hop == 200
    assert np.abs(piece[200:] - whole[400:]).max() < 1e-4  # from the second window on, which has all its past


def test_a_piece_off_the_grid_gives_nearly_the_features_of_the_whole(micro: WhisperEncoder) -> None:
    said = Speech.of(HELLO).samples
    samples = np.concatenate([said, said])
    whole = micro(Speech(samples))
    spread = (whole - whole.mean(axis=0)).std()

    for start in (37, 61, 110):  # tokens; a second later the piece has context enough
        piece = micro(Speech(samples[start * 320 :]))
        difference = piece[50:-50] - whole[start + 50 : -50]
        assert np.sqrt((difference**2).mean()) < 0.3 * spread


def test_long_sound_takes_no_more_memory_than_its_features(tiny: WhisperEncoder) -> None:
    speech = Speech(np.zeros(16_000 * 120, np.float32))
    tracemalloc.start()

    blocks = sum(len(block) for block in tiny.blocks(speech))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert blocks == 6_000
    assert peak < 5e6


def test_features_that_are_not_finite_are_an_error() -> None:
    encoder = WhisperEncoder(TINY, TINY.build())
    torch.nn.init.constant_(encoder.network.conv1.bias, float("nan"))

    with pytest.raises(NumericalError, match="audio encoder"):
        encoder(Speech(sound(1)))


@pytest.mark.parametrize(
    "change",
    [
        {"n_mels": 79}, {"n_ctx": 0}, {"n_layer": 10**9}, {"n_state": 10**6}, {"n_state": 130, "n_head": 4},
        {"n_head": 0}, {"overlap": 51}, {"overlap": 200}, {"overlap": -2}, {"adapt": 0}, {"adapt": 25, "floor": None},
        {"behind": 250, "ahead": 3}, {"behind": -1, "ahead": 3},
    ],
)  # fmt: skip
def test_impossible_dimensions_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        WhisperConfig(**change)


@torch.inference_mode()
def test_an_adaptive_encoder_gets_used_to_a_microphone_and_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    near = replace(TINY, ahead=0, n_ctx=250)
    plain, adaptive = near.build(), replace(near, adapt=25.0).build()
    mels = torch.rand(1, 80, 500)  # as loud as speech, 0 to 40 dB above the floor of -0.5
    tone = torch.linspace(0.3, -0.3, 80)[:, None]  # a microphone that hears low sounds better, by 24 dB

    def change(network: torch.nn.Module, other: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = (network(other) - network(mels)).norm(dim=2)[0] / network(mels).norm(dim=2)[0]
        return features

    ours, theirs = change(adaptive, mels + tone), change(plain, mels + tone)
    assert ours[200:].mean() < 0.25 * theirs[200:].mean()  # after 4 seconds
    assert ours[200:].mean() < 0.5 * ours[:10].mean()  # the first fifth of a second knows no microphone yet
    later = mels.clone()
    later[:, :, 300:] += 0.5
    assert change(adaptive, later)[:148].max() < 1e-5 < change(adaptive, later)[160:].min()


@torch.inference_mode()
def test_a_near_encoder_hears_the_same_anywhere_in_a_window_and_nothing_from_far_away() -> None:
    torch.manual_seed(0)
    network = replace(TINY, ahead=3, behind=20).build()
    mels = torch.rand(1, 80, 200)
    features = network(mels)[0]

    moved = network(torch.cat([torch.rand(1, 80, 60), mels[:, :, :140]], dim=2))[0]
    changed = mels.clone()
    changed[:, :, 100] += 1  # heard by the tokens 49 to 51

    apart = (network(changed)[0] - features).abs().amax(dim=1)
    assert torch.allclose(moved[52:66], features[22:36], atol=1e-5)
    assert apart[:46].max() == apart[72:].max() == 0 < apart[46:72].min()


@torch.inference_mode()
def test_an_adaptive_encoder_learns_nothing_of_the_microphone_in_silence() -> None:
    torch.manual_seed(0)
    network = replace(TINY, ahead=0, adapt=25.0).build()
    speech, silence = torch.rand(1, 80, 80), torch.full((1, 80, 60), -0.5)
    wait = torch.cat([speech, silence, speech[:, :, :60]], dim=2)

    taken = []
    network.conv1.register_forward_pre_hook(lambda _, inputs: taken.append(wait - inputs[0]))
    network(wait)

    assert torch.allclose(taken[0][:, :, 80:140], taken[0][:, :, 79:80], atol=1e-6)
    assert (taken[0][:, :, 140:] - taken[0][:, :, 79:80]).abs().max() > 1e-3


def saved(folder: Path, encoder: WhisperEncoder, **settings: Any) -> Path:
    values = {**encoder.config.__dict__, **settings}
    write_config(folder / "config.json", {"audio_encoder": values})
    save_weights(folder / "model.safetensors", {"audio_encoder": encoder.network}, half=False)
    return folder


def test_an_encoder_is_read_from_its_folder(tmp_path: Path, tiny: WhisperEncoder) -> None:
    again = WhisperEncoder.open(saved(tmp_path, tiny))

    speech = Speech(sound(2))
    assert again.config == TINY
    assert np.array_equal(again(speech), tiny(speech))


@pytest.mark.parametrize("settings", [{"n_layer": 10**9}, {"n_state": 32}, {"depth": 3}, {"n_layer": "1"}])
def test_a_folder_with_wrong_settings_is_refused(
    tmp_path: Path, tiny: WhisperEncoder, settings: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointMismatch):
        WhisperEncoder.open(saved(tmp_path, tiny, **settings))


def public_checkpoint(path: Path) -> Whisper:
    torch.manual_seed(1)
    model = Whisper(PUBLIC)
    torch.nn.init.normal_(model.decoder.positional_embedding)
    torch.save({"dims": PUBLIC.__dict__, "model_state_dict": model.half().state_dict()}, path)
    return model.float()


def test_a_public_checkpoint_file_is_read(tmp_path: Path) -> None:
    model = public_checkpoint(tmp_path / "tiny.pt")

    encoder = WhisperEncoder.open(tmp_path / "tiny.pt")

    mel = torch.randn(1, 80, 200)
    assert encoder.size == 128
    assert encoder.config.floor is None  # public weights know Whisper's own range of loudness
    assert torch.allclose(encoder.network(mel), model.encoder(mel), atol=1e-4)
    assert encoder(Speech(sound(3))).shape == (150, 128)


def test_the_same_weights_as_safetensors_are_read(tmp_path: Path) -> None:
    model = public_checkpoint(tmp_path / "tiny.pt")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "tiny.safetensors")

    one, other = (WhisperEncoder.open(tmp_path / name) for name in ("tiny.pt", "tiny.safetensors"))

    assert one.config == other.config
    speech = Speech(sound(2))
    assert np.allclose(one(speech), other(speech), atol=1e-4)


def test_a_public_model_is_loaded_by_openai_whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = public_checkpoint(tmp_path / "tiny.pt")
    asked = []

    def load_model(name: str, device: str) -> Whisper:
        asked.append((name, device))
        return model

    monkeypatch.setattr(whisper, "load_model", load_model)
    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    folder = tmp_path / "decoder"
    folder.mkdir()
    write_config(folder / "config.json", {"audio_encoder": "tiny"})
    (folder / "model.safetensors").touch()

    by_name, by_folder = WhisperEncoder.open("tiny"), WhisperEncoder.open(folder)

    assert asked == [("tiny", "cpu")] * 2
    assert by_name.network is model.encoder
    assert by_folder.size == 128


def test_a_public_model_that_cannot_be_had_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(*_: Any, **__: Any) -> Whisper:
        raise OSError("no route to host")

    monkeypatch.setattr(whisper, "load_model", load_model)
    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    with pytest.raises(WeightsMissing, match="Whisper tiny: could not be downloaded: no route to host"):
        WhisperEncoder.open("tiny")


def test_a_public_model_offline_comes_from_the_cache_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsMissing, match="switched off"):
        WhisperEncoder.open("tiny")

    (tmp_path / "whisper").mkdir()
    public_checkpoint(tmp_path / "whisper" / "tiny.pt")

    assert WhisperEncoder.open("tiny").size == 128


def test_other_files_are_no_whisper_checkpoints(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt")
    save_file({"w": torch.zeros(2)}, tmp_path / "b.safetensors")
    dims = {**PUBLIC.__dict__, "n_audio_layer": 10**9}
    torch.save({"dims": dims, "model_state_dict": {}}, tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(b"\x80\x04.")

    for name in ("a.pt", "b.safetensors", "c.pt"):
        with pytest.raises(CheckpointMismatch, match=name):
            WhisperEncoder.open(tmp_path / name)
    with pytest.raises(UnsafeCheckpoint):
        WhisperEncoder.open(tmp_path / "d.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    encoder = WhisperEncoder(TINY, TINY.build())
    torch.nn.init.constant_(encoder.network.conv1.bias, float("inf"))

    with pytest.raises(NonFiniteWeights, match=r"conv1\.bias"):
        WhisperEncoder.open(saved(tmp_path, encoder))
