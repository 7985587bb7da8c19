"""LivePortrait's weights: found in a folder of the public layout or on the hub, checked, and put into the networks."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...errors import CheckpointMismatch, TalkingHeadWarning, WeightsMissing, warn
from ...types import Array
from ...weights import load_weights, offline, read_config, read_safetensors, read_torch
from .appearance import AppearanceExtractor
from .generator import Generator
from .heads import EyeRetargeting, LipRetargeting, Stitching
from .motion_extractor import MotionExtractor
from .sizes import PUBLIC, Sizes
from .warping import WarpingModule

if TYPE_CHECKING:
    from torch import Tensor

REPOSITORY = "KwaiVGI/LivePortrait"
DOWNLOAD = "LivePortrait's weights, 520 MB, under the MIT licence"
CONFIG_FILE, SECTION = "config.json", "liveportrait"

BASE_FILES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
HEADS_FILE = "stitching_retargeting_module"
HEADS = ("retarget_shoulder", "retarget_mouth", "retarget_eye")
SUFFIXES = (".safetensors", ".pth")
# Where a folder may keep the four large files, below what the user gives; the first that holds them is taken.
PEOPLE = ("liveportrait/base_models", "base_models", ".")
ANIMALS = ("liveportrait_animals/base_models_v1.1", "liveportrait_animals/base_models")
# Where it may keep the small one, seen from there; the animals' weights use the people's.
HEADS_FOLDERS = ("../retargeting_models", ".", "../../liveportrait/retargeting_models")

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class Networks:
    """The seven networks, in evaluation mode, on one device.

    dtype: what the warping module and the generator compute in; the others, which run seldom, stay in float32
    """

    appearance: AppearanceExtractor
    motion: MotionExtractor
    warping: WarpingModule
    generator: nn.Module
    stitching: Stitching
    lip: LipRetargeting
    eye: EyeRetargeting
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def draw(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """Pictures [B, 3, 512, 512], 0 to 1, of keypoints [B, 21, 3]; volume and `source` may have a batch of 1."""
        feature = self.warping(volume, driving, source.expand_as(driving))
        picture: Tensor = self.generator(feature).float()
        return picture

    def stitch(self, source: Array, driving: Array) -> Array:
        """`driving` [T, 21, 3] so moved that it meets the neck of `source` [1 or T, 21, 3]."""
        return self._on_arrays(self.stitching.stitch, source, driving)

    def move_lips(self, source: Array, condition: Array) -> Array:
        """What gives `source` [1 or T, 21, 3] lips as `condition` [T, 2] says: [T, 21, 3] to add."""
        return self._on_arrays(self.lip.offsets, source, condition)

    def move_eyes(self, source: Array, condition: Array) -> Array:
        """What gives `source` [1 or T, 21, 3] eyes as `condition` [T, 3] says: [T, 21, 3] to add."""
        return self._on_arrays(self.eye.offsets, source, condition)

    @torch.inference_mode()
    def _on_arrays(self, head: Callable[[Tensor, Tensor], Tensor], source: Array, other: Array) -> Array:
        result: Array = head(*(torch.from_numpy(a).to(self.device) for a in (source, other))).cpu().numpy()
        return result


def is_liveportrait(folder: str | os.PathLike[str]) -> bool:
    """Whether `folder` holds LivePortrait's large files, in one of the layouts that `load_networks` reads."""
    places = [Path(folder) / place for place in (*PEOPLE, *ANIMALS)]
    return any(_file(place, name) for place in places for name in BASE_FILES)


def load_networks(
    folder: str | os.PathLike[str],
    *,
    device: str = "cpu",
    precision: str = "auto",
    optimised: bool = True,
    compiled: bool = False,
    animals: bool = False,
) -> Networks:
    """The networks in `folder`: the public `.pth` files or safetensors conversions of them.

    precision: float32, bfloat16 or float16 for the two networks that run for every frame; "auto" is float32 on a CPU
               and float16 elsewhere
    optimised: with the exact changes of `fast`
    compiled:  the generator through torch.compile: the first frame takes a minute more
    animals:   the weights for animals, in `liveportrait_animals`

    A `config.json` with a section "liveportrait" names other sizes than the public ones.

    Raises WeightsMissing, CheckpointMismatch, CheckpointCorrupt, UnsafeCheckpoint, NonFiniteWeights; ValueError.
    """
    if precision != "auto" and precision not in PRECISIONS:
        raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "float16" and device == "cpu":
        raise ValueError("precision float16 takes minutes for a frame on a CPU: choose bfloat16 or float32")
    folder = Path(folder)
    files = find_files(folder, animals=animals)
    config = folder / CONFIG_FILE
    sizes = read_config(config, Sizes, SECTION) if config.is_file() else PUBLIC
    networks = _read(files, sizes)
    dtype = PRECISIONS["float32" if device == "cpu" else "float16"] if precision == "auto" else PRECISIONS[precision]
    return place(optimise(networks) if optimised else networks, device, dtype, compiled)


def find_files(folder: Path, animals: bool = False) -> dict[str, Path]:
    """The five weight files by name. Raises WeightsMissing, naming the first that is not there."""
    places = [folder / place for place in (ANIMALS if animals else PEOPLE)]
    for place in places:
        files = {name: _file(place, name) for name in BASE_FILES}
        if any(files.values()):
            break
    else:
        wanted = "liveportrait_animals/base_models_v1.1" if animals else "liveportrait/base_models"
        raise WeightsMissing(
            f"{folder}: holds no LivePortrait weights: no {wanted}/{BASE_FILES[0]}.pth",
            f"get them with: hf download {REPOSITORY} --local-dir {folder.name or 'FOLDER'}",
        )
    beside = [_file(place / other, HEADS_FILE) for other in HEADS_FOLDERS]
    files[HEADS_FILE] = next((path for path in beside if path), None)
    found = {name: path for name, path in files.items() if path is not None}
    lacking = [f"{name}.pth" for name in files if name not in found]
    if lacking:
        raise WeightsMissing(f"{folder}: incomplete, it lacks {', '.join(lacking)}", "copy the whole folder again")
    return found


def _file(place: Path, name: str) -> Path | None:
    return next((path for path in (place / f"{name}{suffix}" for suffix in SUFFIXES) if path.is_file()), None)


def _read(files: Mapping[str, Path], sizes: Sizes) -> Networks:
    with torch.device("meta"):
        networks = Networks(
            AppearanceExtractor(sizes),
            MotionExtractor(sizes),
            WarpingModule(sizes),
            Generator(sizes),
            Stitching(),
            LipRetargeting(),
            EyeRetargeting(),
        )
    bodies = (networks.appearance, networks.motion, networks.warping, networks.generator)
    for name, network in zip(BASE_FILES, bodies, strict=True):
        load_weights(network.requires_grad_(False), _tensors(files[name]), files[name].name)
    heads = read_heads(files[HEADS_FILE])
    for name, head in zip(HEADS, (networks.stitching, networks.lip, networks.eye), strict=True):
        load_weights(head.requires_grad_(False), heads[name], f"{files[HEADS_FILE].name}: {name}")
    for network in vars(networks).values():
        if isinstance(network, nn.Module):
            network.eval()
    return networks


def _tensors(path: Path) -> dict[str, Any]:
    tensors = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    return _only_tensors(tensors, path.name)


def _only_tensors(values: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    odd = [str(name) for name, value in values.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise CheckpointMismatch(f"{where}: holds more than tensors: {', '.join(odd[:5])}")
    return dict(values)


def read_heads(path: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of the three small networks, by HEADS.

    A torch file holds a table for each, whose names may begin with `module.`, left there by parallel training. In a
    safetensors file, which has no tables, names begin with the network's.

    Raises CheckpointMismatch.
    """
    if path.suffix == ".safetensors":
        flat = read_safetensors(path)
        tables: dict[str, Any] = {name: {} for name in HEADS}
        for name, tensor in flat.items():
            match = re.fullmatch(rf"({'|'.join(HEADS)})(?:_module)?\.(.+)", name)
            if not match:
                raise CheckpointMismatch(f"{path.name}: {name} belongs to none of {', '.join(HEADS)}")
            tables[match[1]][match[2]] = tensor
    else:
        tables = read_torch(path)
    heads = {}
    for name in HEADS:
        table = tables.get(name)
        if not isinstance(table, Mapping) or not table:
            raise CheckpointMismatch(f"{path.name}: has no weights of {name}", "it must hold " + ", ".join(HEADS))
        tensors = _only_tensors(table, f"{path.name}: {name}")
        heads[name] = {str(key).removeprefix("module."): tensor for key, tensor in tensors.items()}
    return heads


def optimise(networks: Networks) -> Networks:
    """The same networks with the exact changes of `fast`; `networks` itself stays as it is."""
    from . import fast

    networks = copy.deepcopy(networks)
    assert isinstance(networks.generator, Generator)
    return replace(
        networks,
        appearance=fast.fast_appearance(networks.appearance),
        warping=fast.fast_warping(networks.warping),
        generator=fast.FastGenerator(networks.generator),
    )


def place(networks: Networks, device: str, dtype: torch.dtype, compiled: bool = False) -> Networks:
    """`networks` on `device`, warping and drawing in `dtype`; they are moved, not copied."""
    from .fast import lay_out

    for network in vars(networks).values():
        if isinstance(network, nn.Module):
            network.to(device)
    lay_out(networks.warping, dtype)
    lay_out(networks.generator, dtype)
    generator: Any = torch.compile(networks.generator) if compiled else networks.generator
    return replace(networks, generator=generator, device=device, dtype=dtype)


def from_hub(repository: str = REPOSITORY, revision: str | None = None, animals: bool = False) -> Path:
    """The folder of LivePortrait's weights in the hub's cache, downloaded if need be and allowed.

    repository: one in the public layout
    revision:   a branch, tag or commit; a commit pins the files for good

    Before a download a warning tells its size and licence. HF_HUB_OFFLINE=1 and TALKINGHEAD_OFFLINE=1 forbid it.
    Raises WeightsMissing.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    base = ANIMALS[0] if animals else PEOPLE[0]
    patterns = [f"{base}/*", "liveportrait/retargeting_models/*", CONFIG_FILE]
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": patterns}
    try:
        try:
            folder = Path(snapshot_download(repository, local_files_only=True, **wanted))
            find_files(folder, animals=animals)
        except (LocalEntryNotFoundError, WeightsMissing):
            if offline():
                raise
            warn(TalkingHeadWarning, f"downloading {DOWNLOAD}, from {repository}")
            folder = Path(snapshot_download(repository, **wanted))
    except (OSError, HFValidationError) as error:  # every download error of the hub is an OSError
        reason = "downloads are switched off" if offline() else str(error).strip().splitlines()[0][:200]
        raise WeightsMissing(
            f"{repository}: not on this machine, and could not be downloaded: {reason}",
            f"run where there is a connection: hf download {repository} --include 'liveportrait*/*'",
        ) from error
    return folder
