"""Checkpoints of the video transformer: found, checked, and refused with a reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from talkinghead.animators.dit import loading
from talkinghead.animators.dit.loading import find_folder, open_networks
from talkinghead.animators.dit.networks import Networks
from talkinghead.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    NonFiniteWeights,
    TalkingHeadWarning,
    UnsafeCheckpoint,
    WeightsMissing,
)

from .dit_tiny import FRAMES, HEIGHT, TOKENS, WIDTH, write_checkpoint

SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Change the tensors or the settings in a file."""
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        edit(values)
        path.write_text(json.dumps(values))
    else:
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path)


def test_a_folder_becomes_networks(tiny: Path) -> None:
    networks = open_networks(tiny)

    assert networks.canvas == (HEIGHT, WIDTH)
    assert (networks.frames, networks.latent_frames) == (FRAMES, 5)
    assert networks.transformer.config.max_text_seq_length == TOKENS
    assert type(networks.scheduler).__name__ == "CogVideoXDDIMScheduler"
    assert not any(weight.is_meta for module in networks.modules.values() for weight in module.state_dict().values())
    stored = load_file(tiny / SHARD)
    for name in set(stored) & set(networks.transformer.state_dict()):
        torch.testing.assert_close(networks.transformer.state_dict()[name], stored[name])


def test_the_face_projection_comes_out_of_the_shards(tiny: Path) -> None:
    networks = open_networks(tiny)

    shards = [load_file(path) for path in (tiny / "transformer").glob("*.safetensors")]
    (stored,) = [shard[key] for shard in shards for key in shard if key == "patch_embed.pose_proj.2.weight"]

    torch.testing.assert_close(networks.face_projection[2].weight, stored)


def test_the_landmark_encoder_keeps_no_decoder(tiny: Path) -> None:
    assert not list(open_networks(tiny).landmark_encoder.decoder.parameters())


def test_the_type_of_numbers_can_be_chosen(tiny: Path) -> None:
    networks = open_networks(tiny, dtype=torch.bfloat16)

    assert networks.dtype == networks.transformer.dtype == networks.vae.dtype == torch.bfloat16
    assert next(networks.face_encoder.parameters()).dtype == torch.float32


def test_the_scheduler_is_the_one_that_the_folder_names(copy: Path) -> None:
    change(copy / "scheduler/scheduler_config.json", lambda c: c.update(_class_name="CogVideoXDPMScheduler"))

    assert type(open_networks(copy).scheduler).__name__ == "CogVideoXDPMScheduler"


def test_a_download_may_keep_the_networks_in_a_folder_of_its_own(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "SkyReels-A1-5B")

    assert find_folder(tmp_path) == tmp_path / "SkyReels-A1-5B"


def _remove_weight(tensors: Any) -> None:
    tensors.pop("transformer_blocks.0.attn1.to_k.bias", None)
    tensors.pop("transformer_blocks.0.attn1.to_k.weight", None)


def _add_weight(tensors: Any) -> None:
    tensors["transformer_blocks.9.extra"] = torch.zeros(2)


def _reshape_weight(tensors: Any) -> None:
    name = next(key for key in tensors if "proj_out" in key)
    tensors[name] = torch.zeros(3, 5)


def _poison(tensors: Any) -> None:
    tensors[next(iter(sorted(tensors)))].view(-1)[0] = torch.nan


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


FAULTS: dict[str, tuple[Callable[[Path], Any], type[CheckpointError], str]] = {
    "missing shard": (lambda f: (f / SHARD).unlink(), WeightsMissing, "shard .*00002-of-00002.* is missing"),
    "truncated shard": (lambda f: _truncate(f / SHARD), CheckpointCorrupt, "00002-of-00002.*bytes"),
    "missing key": (lambda f: change(f / SHARD, _remove_weight), CheckpointMismatch, "lack.*to_k"),
    "unknown key": (lambda f: change(f / SHARD, _add_weight), CheckpointMismatch, "extra is unknown"),
    "wrong shape": (lambda f: change(f / SHARD, _reshape_weight), CheckpointMismatch, r"proj_out.*\[3, 5\]"),
    "NaN": (lambda f: change(f / SHARD, _poison), NonFiniteWeights, "NaN"),
    "NaN in the VAE": (
        lambda f: change(f / "vae/diffusion_pytorch_model.safetensors", _poison), NonFiniteWeights, "vae",
    ),
    "no weights": (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").unlink(), WeightsMissing, "no such"),
    "no folder": (lambda f: shutil.rmtree(f / "pose_guider"), WeightsMissing, "no folder pose_guider"),
    "another model": (
        lambda f: change(f / "transformer/config.json", lambda c: c.update(_class_name="FluxTransformer")),
        CheckpointMismatch, "FluxTransformer",
    ),
    "another size": (
        lambda f: change(f / "transformer/config.json", lambda c: c.update(num_layers=3)), CheckpointMismatch, "missing"
    ),
    "senseless size": (
        lambda f: change(f / "transformer/config.json", lambda c: c.update(num_layers="many")),
        CheckpointMismatch, "no network",
    ),
    "unknown scheduler": (
        lambda f: change(f / "scheduler/scheduler_config.json", lambda c: c.update(_class_name="os.system")),
        CheckpointMismatch, "os.system",
    ),
    "a shard elsewhere": (
        lambda f: change(f / INDEX, lambda c: c["weight_map"].update(a="../vae/diffusion_pytorch_model.safetensors")),
        UnsafeCheckpoint, "outside",
    ),
    "code": (
        lambda f: change(f / "transformer/config.json", lambda c: c.update(auto_map="x")), UnsafeCheckpoint, "code",
    ),
    "broken settings": (lambda f: (f / "vae/config.json").write_text("{"), CheckpointCorrupt, "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_checkpoint_is_named(copy: Path, fault: str) -> None:
    damage, error, message = FAULTS[fault]
    damage(copy)

    with pytest.raises(error, match=message):
        open_networks(copy)


def test_a_folder_of_something_else_is_told_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no folder transformer, vae") as caught:
        open_networks(tmp_path)

    assert "siglip" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [("Skywork/SkyReels-A1", None, loading.REVISION), ("Skywork/SkyReels-A1", "abc", "abc"), ("some/copy", None, None)],
)
def test_size_and_licences_are_told_before_a_download_of_one_revision(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, name: str, given: str | None, wanted: str | None
) -> None:
    asked: dict[str, Any] = {}

    def resolve(name: str, **options: Any) -> Path:
        asked.update(options, name=name)
        return tiny

    monkeypatch.setattr(loading, "resolve", resolve)
    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    with pytest.warns(TalkingHeadWarning, match=r"GB.*Skywork Community License.*CogVideoX License.*commercial"):
        find_folder(name, revision=given)

    assert asked["revision"] == wanted
    assert not any("text_encoder" in pattern or pattern.startswith("*.") for pattern in asked["patterns"])


@pytest.mark.parametrize("name", ["runs/mikro", Path("Skywork/SkyReels-A1")])
def test_a_mistyped_folder_is_missing_and_no_download_is_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str | Path
) -> None:
    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()

    with pytest.raises(WeightsMissing, match=f"^{name}: no such folder"):  # and no warning, which is an error here
        find_folder(name)


def test_what_was_downloaded_before_is_not_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    snapshot = tmp_path / "models--Skywork--SkyReels-A1" / "snapshots" / loading.REVISION
    shutil.copytree(tiny / "transformer", snapshot / "transformer")
    refs = tmp_path / "models--Skywork--SkyReels-A1" / "refs"
    refs.mkdir()
    (refs / "main").write_text(loading.REVISION)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    for part in ("vae", "pose_guider", "scheduler", "siglip-so400m-patch14-384"):
        shutil.copytree(tiny / part, snapshot / part)

    assert find_folder("Skywork/SkyReels-A1", local_files_only=True) == snapshot
    with pytest.raises(WeightsMissing, match="not on this machine") as caught:
        find_folder("Skywork/Another", local_files_only=True)
    assert "Skywork Community License" in caught.value.hint
    assert loading.downloaded("Skywork/SkyReels-A1", None)
    assert not loading.downloaded("Skywork/SkyReels-A1", "another")
    assert not loading.downloaded("Skywork/Another", None)
    assert not loading.downloaded("no repository!", None)


def test_offline_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(WeightsMissing, match="downloads are switched off"):
        open_networks("Skywork/SkyReels-A1")


def test_networks_say_what_they_make(tiny: Path) -> None:
    networks: Networks = open_networks(tiny)

    assert set(networks.modules) == {"transformer", "face_projection", "face_encoder", "vae", "landmark_encoder"}
