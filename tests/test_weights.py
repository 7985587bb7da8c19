"""Checkpoints are read without running code, checked before they are used, and named when they are wrong."""

import json
import os
import pickle
import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from talkinghead.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    NonFiniteWeights,
    TalkingHeadWarning,
    UnsafeCheckpoint,
    WeightsMissing,
)
from talkinghead.presets import load_parts
from talkinghead.weights import (
    INDEX_FILE,
    load_weights,
    part,
    read_config,
    read_folder,
    read_safetensors,
    read_section,
    read_tensors,
    read_torch,
    resolve,
    save_weights,
    shipped,
    write_config,
)


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def header_only(header: bytes, length: int | None = None, weights: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + weights


def safetensors_header(**tensors: dict[str, Any]) -> bytes:
    return json.dumps(tensors).encode()


def tensor(shape: list[int], first: int, last: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def two_layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("archive", [True, False], ids=["torch.save", "pickle.dump"])
@pytest.mark.parametrize("read", [read_torch, read_safetensors, read_tensors])
def test_a_pickle_bomb_never_goes_off(tmp_path: Path, suffix: str, archive: bool, read: Callable[[Path], Any]) -> None:
    marker, path = tmp_path / "exploded", tmp_path / f"model{suffix}"
    if archive:
        torch.save({"w": Bomb(marker)}, path)
    else:
        path.write_bytes(pickle.dumps({"w": Bomb(marker)}))

    with pytest.raises(UnsafeCheckpoint, match=path.name) as raised:
        read(path)

    assert raised.value.hint
    assert not marker.exists()


def test_a_bomb_as_a_shard_never_goes_off(tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    torch.save({"w": Bomb(marker)}, tmp_path / "one.safetensors")
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"w": "one.safetensors"}}))

    with pytest.raises(UnsafeCheckpoint):
        read_folder(tmp_path)

    assert not marker.exists()


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/../../outside.safetensors", "..\\x"])
def test_an_index_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": torch.ones(2)}, tmp_path / "outside.safetensors")
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"w": name}}))

    with pytest.raises(UnsafeCheckpoint, match="outside its folder"):
        read_folder(folder)


def test_a_linked_shard_must_stay_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": torch.ones(2)}, tmp_path / "outside.safetensors")
    (folder / "inside.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"w": "inside.safetensors"}}))

    with pytest.raises(UnsafeCheckpoint):
        read_folder(folder)


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    save_file({"w": torch.ones(2)}, repository / "blobs" / "123")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")

    assert torch.equal(read_folder(snapshot)["w"], torch.ones(2))


def test_shards_are_put_together(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "two.safetensors")
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))

    assert {name: len(value) for name, value in read_folder(tmp_path).items()} == {"a": 2, "b": 3}


CORRUPT = {
    "empty": b"",
    "text": b"not a checkpoint at all",
    "huge header": header_only(b"{}", length=2**40),
    "longest header": header_only(b"{}", length=2**63 - 1),
    "overlap": header_only(safetensors_header(a=tensor([2], 0, 8), b=tensor([2], 0, 8)), weights=bytes(8)),
    "gap": header_only(safetensors_header(a=tensor([2], 0, 8), b=tensor([2], 16, 24)), weights=bytes(24)),
    "huge shape": header_only(safetensors_header(a=tensor([2**63], 0, 8)), weights=bytes(8)),
    "negative shape": header_only(safetensors_header(a=tensor([-1, -2], 0, 8)), weights=bytes(8)),
    "shape of text": header_only(b'{"a":{"dtype":"F32","shape":"xy","data_offsets":[0,8]}}', weights=bytes(8)),
    "unknown type": header_only(safetensors_header(a=tensor([2], 0, 8, "F31")), weights=bytes(8)),
    "too few bytes": header_only(safetensors_header(a=tensor([2], 0, 8)), weights=bytes(4)),
    "too many bytes": header_only(safetensors_header(a=tensor([2], 0, 8)), weights=bytes(12)),
    "100000 entries": header_only(safetensors_header(**{f"tensor{i}": tensor([0], 0, 0) for i in range(100_000)})),
    "twice the same key": header_only(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        weights=bytes(8),
    ),
    "deep nesting": header_only(b"[" * 100_000),
    "list": header_only(b"[]"),
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_safetensors_file_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    started = time.process_time()

    with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors") as raised:
        read_safetensors(path)

    assert time.process_time() - started < 5  # untraced: under 1 s
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert raised.value.hint


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_corrupt(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"w": torch.randn(50, 50)}, path)
    else:
        save_file({"w": torch.randn(50, 50)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(CheckpointCorrupt, match=path.name):
        read_tensors(path)


def test_any_flipped_byte_gives_tensors_or_a_checkpoint_error(tmp_path: Path) -> None:
    original = tmp_path / "good.pt"
    torch.save({"w": torch.arange(8.0)}, original)
    content = original.read_bytes()
    path = tmp_path / "flipped.pt"
    refused = 0

    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            read_torch(path)
        except CheckpointError:
            refused += 1

    assert refused > 10


def test_a_packed_torch_file_is_not_unpacked(tmp_path: Path) -> None:
    import zipfile

    torch.save({"w": torch.zeros(10)}, tmp_path / "plain.pt")
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for record in plain.infolist():
            out.writestr(record.filename, plain.read(record))
        out.writestr("archive/data/99", bytes(50_000_000))  # a bomb of another kind

    with pytest.raises(CheckpointCorrupt, match="packed"):
        read_torch(packed)


def test_a_torch_file_must_hold_tensors_by_name(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({"w": torch.zeros(2), "epoch": 3}, tmp_path / "more.pt")

    with pytest.raises(CheckpointMismatch, match="list"):
        read_torch(tmp_path / "list.pt")
    with pytest.raises(CheckpointMismatch, match="epoch"):
        read_tensors(tmp_path / "more.pt")


def test_weights_survive_saving_and_loading(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, other = two_layers(), two_layers()

    save_weights(tmp_path / "model.safetensors", {"net": module}, half=False)
    load_weights(other, part(read_folder(tmp_path), "net."), "here")

    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module, other = two_layers(), two_layers()

    load_weights(other, {name: value.to(dtype) for name, value in module.state_dict().items()}, "here")

    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert b.requires_grad
        assert torch.allclose(a, b, atol=0.01)


def test_a_module_without_memory_is_filled() -> None:
    weights = two_layers().state_dict()
    with torch.device("meta"):
        module = two_layers()

    load_weights(module, weights, "here")

    assert torch.equal(module[0].weight, weights["0.weight"])


def changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    weights = two_layers().state_dict() | {name.replace("_", ".", 1): value for name, value in changes.items()}
    return {name: value for name, value in weights.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (changed(**{"0_weight": torch.ones(5, 3)}), r"0\.weight is \[5, 3\], not \[4, 3\]"),
        (changed(**{"0_weight": torch.ones(3, 4)}), r"0\.weight is \[3, 4\], not \[4, 3\]"),
        (changed(**{"1_bias": None}), r"1\.bias is missing"),
        (changed(**{"2_bias": torch.ones(2)}), r"2\.bias is unknown"),
        (changed(**{"1_bias": torch.ones(2, dtype=torch.int64)}), r"1\.bias is torch.int64, not torch.float32"),
        ({f"x{i}": torch.ones(1) for i in range(9)}, "and 8 more"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights: dict[str, torch.Tensor], words: str) -> None:
    module = two_layers()
    before = module[0].weight.clone()

    with pytest.raises(CheckpointMismatch, match=words) as raised:
        load_weights(module, weights, "here")

    assert str(raised.value).startswith("here: ")
    assert torch.equal(module[0].weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, 1e300])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    weights = two_layers().state_dict()
    weights["1.weight"] = weights["1.weight"].double()
    weights["1.weight"][1, 2] = value

    with pytest.raises(NonFiniteWeights, match=r"1\.weight"):
        load_weights(two_layers(), weights, "here")


def test_weights_that_are_all_zero_are_warned_of() -> None:
    zeros = {name: torch.zeros_like(value) for name, value in two_layers().state_dict().items()}

    with pytest.warns(TalkingHeadWarning, match="zero"):
        load_weights(two_layers(), zeros, "here")


@dataclass(frozen=True)
class Settings:
    layers: int
    scale: float = 1.0
    name: str | None = None
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= 100:
            raise ValueError(f"layers must be 1 to 100, not {self.layers}")


def written(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"net": values}))
    return path


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json", {"net": {"layers": 3, "scale": 2, "name": "x", "sizes": [1, 2]}})

    assert read_config(tmp_path / "config.json", Settings, "net") == Settings(3, 2.0, "x", (1, 2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layers": 10**9}, "layers must be 1 to 100, not 1000000000"),
        ({"layers": -1}, "layers must be 1 to 100"),
        ({"layers": "3"}, "layers must be int, not '3'"),
        ({"layers": True}, "layers must be int, not True"),
        ({"layers": 3.5}, "layers must be int"),
        ({"layers": None}, "layers must be int"),
        ({"layers": 3, "scale": [1]}, "scale must be float"),
        ({"layers": 3, "sizes": [1, "2"]}, "sizes must be int"),
        ({"layers": 3, "depth": 4}, "unknown setting depth"),
        ({}, "lacks layers"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointMismatch, match=words) as raised:
        read_config(written(tmp_path, **values), Settings, "net")

    assert str(raised.value).startswith("config.json: net: ")


@pytest.mark.parametrize("key", ["auto_map", "_target_"])
@pytest.mark.parametrize("nested", [True, False])
def test_settings_that_point_to_code_are_refused(tmp_path: Path, key: str, nested: bool) -> None:
    pointer = {key: "os.system"}

    with pytest.raises(UnsafeCheckpoint, match=key):
        read_config(written(tmp_path, layers=3, name=[pointer] if nested else None, **pointer), Settings, "net")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", CheckpointCorrupt),
        ('{"net": {"layers": 3', CheckpointCorrupt),
        ('{"net": {"layers": 3, "layers": 4}}', CheckpointCorrupt),
        ("[" * 100_000, CheckpointCorrupt),
        (" " * 2_000_000, CheckpointCorrupt),
        ("[1]", CheckpointMismatch),
        ('{"other": {}}', CheckpointMismatch),
        ('{"net": 5}', CheckpointMismatch),
    ],
)
def test_a_damaged_settings_file_is_refused(tmp_path: Path, content: str, error: type[Exception]) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)

    with pytest.raises(error, match=r"config\.json"):
        read_config(path, Settings, "net")


def test_one_section_can_be_read_alone(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json", {"audio_encoder": "tiny", "faceformer": {"layers": 2}})

    assert read_section(tmp_path / "config.json", "audio_encoder") == "tiny"


def test_a_folder_and_the_shipped_model_are_found(tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_text("{}")

    assert resolve(tmp_path) == tmp_path
    assert sorted(load_file(resolve("micro") / "model.safetensors"))[0].startswith("audio_encoder.")


def test_a_path_object_is_always_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    for name in ("./micro", "owner/name", "liveportrait"):
        with pytest.raises(WeightsMissing, match=rf"^{Path(name)}: no such folder"):
            load_parts(Path(name), device="cpu", animator="mesh")
    (tmp_path / "micro").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "micro" / file).write_text("{}")

    assert resolve(Path("./micro")) == resolve("./micro") == Path("micro")
    assert resolve("micro") != Path("micro")
    assert shipped(Path("./micro")) is None


@pytest.mark.parametrize("name", ["nothing-like-this", "/no/such/folder", "./neither", "a/b/c", ""])
def test_a_name_that_stands_for_nothing_is_missing(name: str) -> None:
    with pytest.raises(WeightsMissing, match="no such folder") as raised:
        resolve(name)

    assert "micro" in raised.value.hint


def test_an_incomplete_folder_names_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(WeightsMissing, match=r"lacks model\.safetensors"):
        resolve(tmp_path)


def test_an_incomplete_download_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")

    with pytest.raises(WeightsMissing, match=r"lacks model\.safetensors") as raised:
        resolve("owner/name")

    assert "hf download owner/name" in raised.value.hint


def test_a_mistyped_folder_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()

    with pytest.raises(WeightsMissing, match=r"^runs/mikro: no such folder in .*runs, and no download") as raised:
        resolve("runs/mikro")

    assert "check the path" in raised.value.hint


@pytest.mark.parametrize("variable", ["TALKINGHEAD_OFFLINE", "HF_HUB_OFFLINE"])
def test_nothing_is_downloaded_when_that_is_forbidden(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    def no_network(*_: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("socket.socket.connect", no_network)

    with pytest.raises(WeightsMissing, match="switched off") as raised:
        resolve("owner/no-such-model-anywhere")

    assert "hf download" in raised.value.hint


def test_an_unreachable_hub_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError("connection refused\nwith a long story")

    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)

    with pytest.raises(WeightsMissing, match=r"no such folder here, .* could not be downloaded: connection refused$"):
        resolve("owner/name")
