"""LivePortrait's weights: loaded strictly, refused by name, and drawn with sooner but no differently."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from talkinghead.animators.liveportrait import loading
from talkinghead.animators.liveportrait.benchmark import flops, measure, random_networks
from talkinghead.animators.liveportrait.fast import FastGenerator, PhaseConv, fast_warping, fold
from talkinghead.animators.liveportrait.generator import Generator
from talkinghead.animators.liveportrait.loading import Networks, find_files, is_liveportrait, load_networks
from talkinghead.animators.liveportrait.warping import WarpingModule
from talkinghead.errors import CheckpointCorrupt, CheckpointMismatch, NonFiniteWeights, UnsafeCheckpoint, WeightsMissing

from .liveportrait import HEADS_FILE, TINY, tiny_tensors, write_public, write_tiny

BASE = "liveportrait/base_models"
SMALL = f"liveportrait/retargeting_models/{HEADS_FILE}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return write_tiny(tmp_path / "weights")


@pytest.fixture(scope="module")
def networks(folder: Path) -> Networks:
    return load_networks(folder, optimised=False)


def keypoints(batch: int, seed: int) -> torch.Tensor:
    return torch.randn(batch, 21, 3, generator=torch.Generator().manual_seed(seed)) * 0.3


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * max(1.0, float(a.abs().max()))


@torch.inference_mode()
def test_optimised_networks_draw_what_the_plain_ones_draw(folder: Path, networks: Networks) -> None:
    fast = load_networks(folder)
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    volume = networks.appearance(image)
    driving, source = keypoints(2, 2), keypoints(1, 3)

    same(fast.appearance(image), volume)
    same(fast.warping(volume, driving, source), networks.warping(volume, driving, source), 1e-4)
    same(fast.draw(volume, driving, source), networks.draw(volume, driving, source), 1e-4)
    assert isinstance(networks.generator, Generator)  # the plain ones are left as they are


@torch.inference_mode()
def test_a_batch_of_frames_is_drawn_as_each_would_be(networks: Networks) -> None:
    volume = networks.appearance(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)))
    driving, source = keypoints(3, 4), keypoints(1, 5)

    together = networks.draw(volume, driving, source)

    assert together.shape == (3, 3, 512, 512)
    for index in range(3):
        same(together[index : index + 1], networks.draw(volume, driving[index : index + 1], source), 1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d])
def test_convolving_before_enlarging_equals_convolving_after_also_at_the_border(kind: type[Any], factor: int) -> None:
    torch.manual_seed(0)
    conv = kind(3, 5, 3, padding=1)
    x = torch.randn(2, 3, *((4,) if kind is nn.Conv3d else ()), 5, 6)
    factors = ((1.0,) if kind is nn.Conv3d else ()) + (float(factor), float(factor))

    enlarged = conv(nn.functional.interpolate(x, scale_factor=factors))

    same(PhaseConv(conv, factor)(x), enlarged, 1e-6)


@torch.inference_mode()
def test_folding_norms_changes_nothing_but_the_time() -> None:
    torch.manual_seed(0)
    plain = WarpingModule(TINY).eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.get_buffer("running_mean"))
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
    folded = fold(copy.deepcopy(plain))
    volume, driving, source = torch.randn(1, 8, 2, 64, 64), keypoints(1, 1), keypoints(1, 2)

    same(folded(volume, driving, source), plain(volume, driving, source))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_channels_are_padded_to_what_matrix_units_take() -> None:
    with torch.device("meta"):
        dense: Any = fast_warping(WarpingModule()).dense_motion_network

    assert dense.hourglass.encoder.down_blocks[0].conv.in_channels == 112
    assert dense.hourglass.decoder.conv.in_channels == dense.hourglass.decoder.conv.out_channels == 144
    assert (dense.mask.in_channels, dense.mask.out_channels) == (144, 22)
    assert dense.occlusion.in_channels == 144 * 16


@torch.inference_mode()
def test_a_folded_spectral_norm_is_the_stored_vectors_singular_value(networks: Networks) -> None:
    generator = networks.generator
    plain: Any = generator.get_submodule("up_0.conv_0")
    folded: Any = fold(copy.deepcopy(generator)).get_submodule("up_0.conv_0")
    x = torch.randn(1, plain.weight_orig.shape[1], 8, 8, generator=torch.Generator().manual_seed(0))
    norm = plain.weight_u @ plain.weight_orig.flatten(1) @ plain.weight_v

    assert isinstance(folded, nn.Conv2d)
    same(folded(x), plain(x), 1e-6)
    same(folded.weight * norm, plain.weight_orig, 1e-6)


def test_spectral_norms_are_multiplied_out_once(networks: Networks) -> None:
    generator = FastGenerator(copy.deepcopy(networks.generator))  # type: ignore[arg-type]

    assert not any(name.endswith(("_u", "_v", "_orig")) for name in generator.state_dict())


@torch.inference_mode()
def test_short_numbers_draw_nearly_the_same(folder: Path, networks: Networks) -> None:
    short = load_networks(folder, precision="bfloat16")
    volume = networks.appearance(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)))
    driving, source = keypoints(1, 6), keypoints(1, 7)

    difference = (short.draw(volume, driving, source) - networks.draw(volume, driving, source)).abs()

    assert 0 < float(difference.mean()) < 0.02


def test_every_layout_and_safetensors_are_read(folder: Path, networks: Networks, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (folder / BASE).glob("*.pth"):
        save_file(torch.load(path, weights_only=True), flat / f"{path.stem}.safetensors")
    heads = torch.load(folder / SMALL, weights_only=True)
    small = {
        f"{head}_{key}".replace("_module.", "_module.", 1): t
        for head, table in heads.items()
        for key, t in table.items()
    }
    save_file(small, flat / HEADS_FILE.replace(".pth", ".safetensors"))
    (flat / "config.json").write_bytes((folder / "config.json").read_bytes())

    again = load_networks(flat, optimised=False)

    for name in ("appearance", "motion", "warping", "generator", "stitching", "lip", "eye"):
        one, other = getattr(networks, name).state_dict(), getattr(again, name).state_dict()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert is_liveportrait(flat)
    assert is_liveportrait(folder)
    assert is_liveportrait(folder / "liveportrait")
    assert not is_liveportrait(tmp_path)


def test_animals_use_the_small_networks_of_people(own: Path) -> None:
    animals = own / "liveportrait_animals" / "base_models_v1.1"
    animals.parent.mkdir()
    (own / BASE).rename(animals)

    files = find_files(own, animals=True)

    assert files["motion_extractor"].parent == animals
    assert files["stitching_retargeting_module"].resolve() == (own / SMALL).resolve()
    with pytest.raises(WeightsMissing, match="liveportrait/base_models"):
        find_files(own)


def test_a_folder_that_lacks_a_file_is_refused_by_its_name(own: Path) -> None:
    (own / BASE / "warping_module.pth").unlink()
    (own / SMALL).unlink()

    with pytest.raises(WeightsMissing, match=r"lacks warping_module\.pth, stitching_retargeting_module\.pth"):
        load_networks(own)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda t: t.pop("fc.weight"), CheckpointMismatch, "fc.weight is missing"),
        (lambda t: t.update(more=torch.zeros(1)), CheckpointMismatch, "more is unknown"),
        (lambda t: t.update({"fc.bias": torch.zeros(3)}), CheckpointMismatch, r"fc.bias is \[3\], not \[32\]"),
        (lambda t: t["fc.bias"].fill_(torch.nan), NonFiniteWeights, "fc.bias holds NaN"),
        (lambda t: t.update({"fc.bias": t["fc.bias"].int()}), CheckpointMismatch, "fc.bias is torch.int32"),
        (lambda t: t.update(epoch=3), CheckpointMismatch, "more than tensors: epoch"),
        (lambda t: t.update(model=Path("x")), UnsafeCheckpoint, "would run code"),
    ],
)
def test_each_fault_in_a_weight_file_is_named(own: Path, damage: Any, error: type[Exception], words: str) -> None:
    path = own / BASE / "spade_generator.pth"
    tensors = torch.load(path, weights_only=True)
    damage(tensors)
    torch.save(tensors, path)

    with pytest.raises(error, match=words) as caught:
        load_networks(own)

    assert "spade_generator.pth" in str(caught.value)


def test_a_cut_off_file_and_one_that_is_none_are_refused(own: Path) -> None:
    path = own / BASE / "motion_extractor.pth"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointCorrupt, match=r"motion_extractor\.pth"):
        load_networks(own)

    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointCorrupt, match=r"motion_extractor\.pth"):
        load_networks(own)


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ({"retarget_mouth": {}}, "has no weights of retarget_shoulder"),
        ({"retarget_shoulder": 3}, "has no weights of retarget_shoulder"),
        ({"retarget_shoulder": {"mlp.0.weight": torch.zeros(2)}}, "has no weights of retarget_mouth"),
    ],
)
def test_each_fault_in_the_small_file_is_named(own: Path, heads: dict[str, Any], words: str) -> None:
    torch.save(heads, own / SMALL)

    with pytest.raises(CheckpointMismatch, match=words):
        load_networks(own)


def test_an_unfit_small_network_is_named(own: Path) -> None:
    tensors = tiny_tensors()
    tensors[HEADS_FILE]["retarget_eye"]["mlp.0.bias"] = torch.zeros(7)
    write_public(own, tensors)

    with pytest.raises(CheckpointMismatch, match=r"retarget_eye: .*mlp\.0\.bias is \[7\], not \[256\]"):
        load_networks(own)


@pytest.mark.parametrize("text", ['{"liveportrait": {"width": 0}}', '{"liveportrait": {"wide": 3}}', "{"])
def test_sizes_that_cannot_be_are_refused(own: Path, text: str) -> None:
    (own / "config.json").write_text(text, "utf-8")

    with pytest.raises((CheckpointMismatch, CheckpointCorrupt), match=r"config\.json"):
        load_networks(own)


def test_public_sizes_do_not_fit_other_weights(own: Path) -> None:
    (own / "config.json").unlink()

    with pytest.raises(CheckpointMismatch, match=r"appearance_feature_extractor\.pth: does not fit"):
        load_networks(own)


def test_precisions_are_few(folder: Path) -> None:
    with pytest.raises(ValueError, match="precision must be auto, float32, bfloat16, float16, not 'int8'"):
        load_networks(folder, precision="int8")
    with pytest.raises(ValueError, match="float16 takes minutes for a frame on a CPU"):
        load_networks(folder, precision="float16")


def test_nothing_is_downloaded_when_that_is_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(WeightsMissing, match="downloads are switched off") as caught:
        loading.from_hub()

    assert "hf download KwaiVGI/LivePortrait" in caught.value.hint


def test_a_download_is_announced_with_size_and_licence_and_asks_for_one_revision(
    monkeypatch: pytest.MonkeyPatch, own: Path
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[dict[str, Any]] = []

    def download(repository: str, **wanted: Any) -> str:
        asked.append({"repository": repository, **wanted})
        if wanted.get("local_files_only"):
            raise LocalEntryNotFoundError("not here")
        return str(own)

    monkeypatch.delenv("TALKINGHEAD_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    with pytest.warns(UserWarning, match=r"520 MB, under the MIT licence, from KwaiVGI/LivePortrait"):
        found = loading.from_hub(revision="abc123")

    assert found == own
    assert [call["revision"] for call in asked] == ["abc123", "abc123"]
    assert asked[1]["allow_patterns"] == [
        "liveportrait/base_models/*",
        "liveportrait/retargeting_models/*",
        "config.json",
    ]


def test_a_volume_serves_any_number_of_frames_as_arrays(networks: Networks) -> None:
    source = np.zeros((1, 21, 3), np.float32)

    assert networks.stitch(source, np.zeros((4, 21, 3), np.float32)).shape == (4, 21, 3)
    assert networks.move_lips(source, np.zeros((4, 2), np.float32)).shape == (4, 21, 3)
    assert networks.move_eyes(source, np.zeros((4, 3), np.float32)).shape == (4, 21, 3)


def test_the_benchmark_counts_the_published_work() -> None:
    plain = random_networks(device="meta")

    counted, fast = flops(plain), flops(loading.optimise(plain))

    # LivePortrait's own tables: 64, 342 and 892 GFLOP; the exact changes save a tenth of the latter two.
    assert counted["appearance"] == pytest.approx(64.11, rel=0.01)
    assert counted["warping"] == pytest.approx(342.07, rel=0.01)
    assert counted["generator"] == pytest.approx(891.57, rel=0.01)
    assert fast["generator"] < 0.9 * counted["generator"]
    assert fast["warping"] < 0.92 * counted["warping"]


def test_the_benchmark_measures_every_network(folder: Path) -> None:
    rows = measure(load_networks(folder, optimised=False), "cpu", "bfloat16", 1, 1, TINY)

    assert [row[0] for row in rows] == ["appearance", "motion", "stitching", "warping", "generator", "a frame"]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
