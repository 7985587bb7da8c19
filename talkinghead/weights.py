"""Weights and settings on disk: found, read without running code, checked, and put into a model.

A checkpoint is a folder with `config.json` (settings, one section per network) and `model.safetensors` (weights,
one name prefix per network), or `model.safetensors.index.json` with its shards.

Nothing here trusts a file: pickles are only read as plain tensors, headers are checked before memory is taken,
and names, shapes, types and values before a model runs.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import (
    CheckpointCorrupt,
    CheckpointMismatch,
    NonFiniteWeights,
    TalkingHeadWarning,
    UnsafeCheckpoint,
    WeightsMissing,
)
from .files import check_path
from .settings import dataclass_from

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILE = "config.json"

MAX_CONFIG_BYTES = 1 << 20
MAX_HEADER_BYTES = 16 << 20  # the largest public diffusion models have headers of about 1 MB
MAX_TENSORS = 20_000
MAX_WEIGHT = 1e12  # far above any trained weight; beyond it the first product overflows
CODE_POINTERS = frozenset({"auto_map", "_target_", "_component_", "custom_pipelines", "trust_remote_code"})

# Bytes per element of the types that safetensors headers name.
_DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_DAMAGED = "get the file again; it may have been cut off while it was downloaded or copied"

T = TypeVar("T")


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, or from a torch file that holds nothing else.

    Raises UnsafeCheckpoint, CheckpointCorrupt, CheckpointMismatch, WeightsMissing.
    """
    if Path(path).suffix == ".safetensors":
        return read_safetensors(path)
    tensors = read_torch(path)
    odd = [name for name, value in tensors.items() if not _is_tensor(value)]
    if odd:
        raise CheckpointMismatch(f"{Path(path).name}: holds more than tensors: {_first(odd)}")
    return tensors


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file; its header is checked before memory is taken.

    Raises UnsafeCheckpoint for a pickle under this name, CheckpointCorrupt, WeightsMissing.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _existing(path)
    _check_header(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{path.name}: damaged safetensors file: {_line(error)}", _DAMAGED) from error
    return tensors


def read_torch(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `torch.save` wrote into a file: tensors and plain values only, on the CPU.

    Raises UnsafeCheckpoint if it holds anything that would run code, CheckpointCorrupt, WeightsMissing.
    """
    import torch

    path = _existing(path)
    _check_archive(path)
    try:
        with open(path, "rb") as file:  # not by its name, from which torch would guess a format
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unsafe(path) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointCorrupt(f"{path.name}: damaged torch file: {_line(error)}", _DAMAGED) from error
    if not isinstance(content, Mapping):
        raise CheckpointMismatch(f"{path.name}: holds a {type(content).__name__}, not tensors by name")
    return dict(content)


def read_folder(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder: `model.safetensors`, or the shards that its index lists.

    Raises UnsafeCheckpoint, also for a shard outside the folder, CheckpointCorrupt, WeightsMissing.
    """
    folder = Path(folder)
    index = folder / INDEX_FILE
    if not index.is_file():
        return read_safetensors(_inside(folder, WEIGHTS_FILE))
    shards = _read_json(_inside(folder, INDEX_FILE)).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise CheckpointCorrupt(f"{INDEX_FILE}: its weight_map does not name a file for every tensor", _DAMAGED)
    tensors: dict[str, Tensor] = {}
    for shard in [_inside(folder, name) for name in sorted(set(shards.values()))]:
        tensors.update(read_safetensors(shard))
    return tensors


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `tensors` into `module`: every name, shape and kind must fit; 16 and 64 bit floats are converted.

    where: what to call their source in messages

    Raises CheckpointMismatch, NonFiniteWeights. Warns if every weight is zero.
    """
    import torch

    wanted = module.state_dict()
    _check_names_and_shapes(wanted, tensors, where)
    converted = {}
    for name, target in wanted.items():
        device = None if target.is_meta else target.device
        tensor = tensors[name].detach().to(device=device, dtype=target.dtype)
        if tensor.is_floating_point() and not bool((tensor.abs() <= MAX_WEIGHT).all()):
            raise NonFiniteWeights(
                f"{where}: {name} holds NaN, infinity or values above {MAX_WEIGHT:g}",
                "the training run that made these weights diverged: use an earlier checkpoint",
            )
        converted[name] = tensor
    floats = [tensor for tensor in converted.values() if tensor.is_floating_point()]
    if floats and not any(bool(torch.any(tensor)) for tensor in floats):
        warnings.warn(f"{where}: every weight is zero", TalkingHeadWarning, stacklevel=2)
    module.load_state_dict(converted, strict=True, assign=True)


def save_weights(path: str | os.PathLike[str], modules: Mapping[str, nn.Module], *, half: bool = True) -> None:
    """Write the weights of `modules` to one safetensors file, each under its key as a name prefix.

    half: store floats with 16 bits
    """
    import torch
    from safetensors.torch import save_file

    tensors = {}
    for prefix, module in modules.items():
        for name, tensor in module.state_dict().items():
            smaller = tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor
            tensors[f"{prefix}.{name}"] = smaller.contiguous().cpu()
    save_file(tensors, path)


def read_config(path: str | os.PathLike[str], cls: type[T], section: str | None = None) -> T:
    """The dataclass `cls` from a JSON file, or from one section of it.

    Unknown keys, wrong types and values that `cls` refuses raise CheckpointMismatch before anything is allocated;
    keys that point to code raise UnsafeCheckpoint.
    """
    values = read_section(path, section)
    where = f"{Path(path).name}: {section}" if section else Path(path).name
    if not isinstance(values, dict):
        raise CheckpointMismatch(f"{where}: must be a table of settings, not {values!r:.60}")
    try:
        return dataclass_from(cls, values)
    except (ValueError, TypeError) as error:
        raise CheckpointMismatch(f"{where}: {error}", "the checkpoint is of another model or version") from error


def read_section(path: str | os.PathLike[str], section: str | None = None) -> Any:
    """The value of one section of a JSON file, or all of it; keys that point to code raise UnsafeCheckpoint."""
    path = _existing(path)
    values = _read_json(path)
    _refuse_code(values, path)
    if section is None:
        return values
    if section not in values:
        raise CheckpointMismatch(f"{path.name}: has no section {section!r}, only {_first(values)}")
    return values[section]


def write_config(path: str | os.PathLike[str], sections: Mapping[str, Any]) -> None:
    """Write sections of settings that `read_config` reads."""
    Path(path).write_text(json.dumps(sections, indent=2) + "\n", encoding="utf-8")


def resolve(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    files: Sequence[str] = (CONFIG_FILE, WEIGHTS_FILE),
    patterns: Sequence[str] | None = None,
) -> Path:
    """The local folder of a checkpoint: a folder, a name shipped with this package, or a Hugging Face hub id.

    name:     text may be any of these; a path object is always a folder
    revision: of a hub repository: a branch, tag or commit
    files:    what the folder must hold
    patterns: what to download from the hub; None downloads `files`

    Hub files come from its cache if they are there. HF_HUB_OFFLINE=1 and TALKINGHEAD_OFFLINE=1 forbid downloads, and
    nothing is downloaded for "a/b" where a is a folder here: it is taken for a mistyped path.

    Raises WeightsMissing.
    """
    if name != "":  # which is no name, rather than no path
        check_path(name)
    if (own := shipped(name)) is not None:
        folder = own
    elif name != "" and Path(name).is_dir():
        folder = Path(name)
    elif isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        folder = _from_hub(name, revision, list(patterns or files))
    else:
        raise WeightsMissing(
            f"{name}: no such folder, and no model of this name comes with the package",
            "give a folder, a shipped name such as 'micro', or a hub id such as 'owner/model'",
        )
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        again = f"run: hf download {name}" if folder.parent.name == "snapshots" else "copy the whole folder again"
        raise WeightsMissing(f"{name}: incomplete, it lacks {_first(missing)}", again)
    return folder


def shipped(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a model that comes with this package; "./micro", unlike "micro", is a folder of the user's.

    So is any path object, since Path("./micro") and Path("micro") are the same.
    """
    if not isinstance(name, str) or not name.isidentifier():
        return None
    folder = Path(__file__).parent / "assets" / name
    return folder if folder.is_dir() else None


def offline() -> bool:
    """Whether the environment forbids downloads."""
    variables = ("TALKINGHEAD_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in variables)


def downloadable(name: str | os.PathLike[str]) -> bool:
    """Whether the hub may be asked for `name`: not for a path object or "a/b" where a is a folder here, nor offline."""
    return isinstance(name, str) and not offline() and not Path(name.partition("/")[0]).is_dir()


def _from_hub(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    cached_only = not downloadable(repository)
    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=cached_only)
    except (OSError, HFValidationError) as error:  # every download error of the hub is an OSError
        if cached_only and not offline():
            raise WeightsMissing(
                f"{repository}: no such folder in {Path(repository).parent.resolve()}, and no download of this name",
                f"check the path; if you mean a model on the hub, run: hf download {repository}",
            ) from error
        reason = "downloads are switched off" if offline() else _line(error)
        raise WeightsMissing(
            f"{repository}: no such folder here, no download of this name, and it could not be downloaded: {reason}",
            f"check the name and the connection, or run elsewhere: hf download {repository}",
        ) from error
    return Path(folder)


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise WeightsMissing(f"{path}: no such file", "check the path, or download the checkpoint again")
    return path


def _inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder`, refused if it lies elsewhere."""
    # The hub's cache keeps files once and links to them from every snapshot of the same repository.
    root = folder.parent.parent if folder.parent.name == "snapshots" else folder
    path = folder / name
    if Path(name).name != name or "\\" in name or not path.resolve().is_relative_to(root.resolve()):
        raise UnsafeCheckpoint(f"{folder.name}: names a file outside its folder: {name}", "do not use this checkpoint")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES * (16 if path.name == INDEX_FILE else 1):
        raise CheckpointCorrupt(f"{path.name}: too large for a file of settings")
    try:
        values = json.loads(path.read_text("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{path.name}: not valid JSON: {_line(error)}", _DAMAGED) from error
    if not isinstance(values, dict):
        raise CheckpointMismatch(f"{path.name}: must hold a table of settings, not a {type(values).__name__}")
    return values


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _refuse_code(values: Any, path: Path) -> None:
    if isinstance(values, dict):
        for key, value in values.items():
            if key in CODE_POINTERS:
                raise UnsafeCheckpoint(
                    f"{path.name}: {key} points to code, which is never run",
                    f"remove {key} if you trust the rest",
                )
            _refuse_code(value, path)
    elif isinstance(values, list):
        for value in values:
            _refuse_code(value, path)


def _check_header(path: Path) -> None:
    """Raise unless the header of a safetensors file describes exactly the bytes that follow it."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        raw = file.read(1)  # of the header, a JSON object
        if raw != b"{" and start.startswith((b"PK", b"\x80")):  # zip archives and pickles
            raise _unsafe(path)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 0 < length <= min(size - 8, MAX_HEADER_BYTES):
            raise CheckpointCorrupt(f"{path.name}: not a safetensors file, or cut off", _DAMAGED)
        raw += file.read(length - 1)
    try:
        if raw.count(b'"dtype"') > MAX_TENSORS:
            raise ValueError(f"lists more than {MAX_TENSORS} tensors")
        header = json.loads(raw, object_pairs_hook=_no_duplicates)
        header.pop("__metadata__", None)
        spans = sorted(_span(name, entry) for name, entry in header.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointCorrupt(f"{path.name}: damaged safetensors header: {_line(error)}", _DAMAGED) from error
    end = 0
    for first, last in spans:
        if first != end:
            raise CheckpointCorrupt(f"{path.name}: its tensors overlap or leave gaps", _DAMAGED)
        end = last
    if end != size - 8 - length:
        raise CheckpointCorrupt(f"{path.name}: {size - 8 - length} bytes of weights instead of {end}", _DAMAGED)


def _span(name: str, entry: Mapping[str, Any]) -> tuple[int, int]:
    first, last = entry["data_offsets"]
    shape = entry["shape"]
    if not all(type(number) is int and number >= 0 for number in (first, last, *shape)):
        raise ValueError(f"{name} has a shape or place that is no whole number")
    if last - first != math.prod(shape) * _DTYPE_BYTES[entry["dtype"]]:
        raise ValueError(f"{name} of shape {shape} does not fill its place")
    return first, last


def _check_archive(path: Path) -> None:
    """Raise unless `path` is the plain, uncompressed zip archive that `torch.save` writes."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80":
        raise _unsafe(path)
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointCorrupt(f"{path.name}: not a torch file, or cut off", _DAMAGED) from error
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > path.stat().st_size:
        raise CheckpointCorrupt(f"{path.name}: not as torch.save writes it: packed or overlapping records", _DAMAGED)


def _check_names_and_shapes(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    faults = [f"{name} is missing" for name in wanted if name not in given]
    faults += [f"{name} is unknown" for name in given if name not in wanted]
    for name, tensor in given.items():
        target = wanted.get(name)
        if target is None:
            continue
        if tensor.shape != target.shape:
            faults.append(f"{name} is {list(tensor.shape)}, not {list(target.shape)}")
        elif tensor.is_floating_point() != target.is_floating_point():
            faults.append(f"{name} is {tensor.dtype}, not {target.dtype}")
    if faults:
        raise CheckpointMismatch(
            f"{where}: does not fit the model: {_first(faults)}",
            "the weights are of another model or size: check config.json beside them",
        )


def _unsafe(path: Path) -> UnsafeCheckpoint:
    return UnsafeCheckpoint(
        f"{path.name}: holds a pickle that would run code when loaded; it was not loaded",
        "use a safetensors file, or one written by torch.save with tensors only",
    )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _first(names: Iterable[str], count: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
