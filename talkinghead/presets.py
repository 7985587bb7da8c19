"""Which parts a name stands for. Nothing is imported before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .animators.options import check_options
from .errors import OutputNotWritable, WeightsMissing
from .files import new_file
from .protocols import Animator, AudioEncoder, FaceTracker, MotionGenerator
from .weights import CONFIG_FILE, WEIGHTS_FILE, save_weights, write_config

DEFAULT = "micro"
DEFAULT_ANIMATOR = "mesh"
LIVEPORTRAIT, SKYREELS = "liveportrait", "skyreels-a1"  # the default motion, drawn by these public weights

FaceChoice = Literal["largest", "all"] | int | tuple[float, float, float, float]


class Parts(NamedTuple):
    """What a talking head is put together from."""

    face_tracker: FaceTracker
    audio_encoder: AudioEncoder
    motion_generator: MotionGenerator
    animator: Animator


def load_parts(
    name: str | os.PathLike[str],
    *,
    device: str,
    animator: str | os.PathLike[str] | Animator | None = None,
    animator_options: Mapping[str, Any] | None = None,
    face: FaceChoice = "largest",
) -> Parts:
    """The parts of a preset or a checkpoint folder, on `device`.

    name:     "liveportrait" and "skyreels-a1", also with "@REVISION", stand for the default motion with that animator;
        a path object is always a folder
    animator: its name or checkpoint folder, the animator itself, or None for the one that belongs to `name`
    animator_options: of one that is given by name or folder, see `animators.options`
    """
    from .audio_encoder import WhisperEncoder
    from .face.tracker import MediaPipeTracker
    from .motion.generator import FaceFormerGenerator

    if isinstance(name, str) and name.partition("@")[0] in (LIVEPORTRAIT, SKYREELS):
        name, animator = DEFAULT, name if animator is None else animator
    if animator is None:
        animator = DEFAULT_ANIMATOR
    if isinstance(animator, str | os.PathLike):
        drawn_by = load_animator(animator, device, animator_options)
    elif animator_options:
        raise TypeError("animator_options are for an animator given by name; an animator of your own has its own")
    else:
        drawn_by = animator
    if not (callable(drawn_by) and hasattr(drawn_by, "fps")):
        raise TypeError(f"animator must be a name or a callable with an fps, not {type(animator).__name__}")
    tracker = MediaPipeTracker(face=face)
    generator = FaceFormerGenerator.open(name, device=device)  # first: a public Whisper encoder has none
    return Parts(tracker, WhisperEncoder.open(name, device=device), generator, drawn_by)


def save_parts(audio_encoder: AudioEncoder, motion_generator: MotionGenerator, folder: Path) -> Path:
    """Write a checkpoint folder that `load_parts` reads.

    Raises TypeError for parts that are not this package's own, OutputExists if the folder holds a checkpoint,
    OutputNotWritable.
    """
    from .audio_encoder import SECTION as HEARING
    from .audio_encoder import WhisperEncoder
    from .motion.generator import SECTION as MOVING
    from .motion.generator import FaceFormerGenerator

    if not isinstance(audio_encoder, WhisperEncoder) or not isinstance(motion_generator, FaceFormerGenerator):
        raise TypeError(
            "only a WhisperEncoder with a FaceFormerGenerator can be saved; save parts of your own yourself"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputNotWritable(f"{folder}: cannot be made: {reason}", "choose another folder") from error
    networks = {HEARING: audio_encoder.network, MOVING: motion_generator.network}
    settings = {HEARING: asdict(audio_encoder.config), MOVING: asdict(motion_generator.network.config)}
    with new_file(folder / WEIGHTS_FILE) as weights, new_file(folder / CONFIG_FILE) as config:
        save_weights(weights, networks)
        write_config(config, settings)
    return folder


def load_animator(
    name: str | os.PathLike[str], device: str = "cpu", options: Mapping[str, Any] | None = None
) -> Animator:
    """The animator of this name, or of the checkpoint in this folder, on `device`.

    name: "mesh"; "liveportrait" or "skyreels-a1" from the hub, also with "@REVISION"; or a folder in the public layout
        of one of them, which a path object always is
    options: of that animator, see `animators.options`

    Raises InputError for options that it does not have, ValueError for a name that is not known, WeightsMissing for a
    folder that holds no animator's checkpoint, and what is wrong with the weights.
    """
    folder = os.fspath(name)
    kind, _, revision = folder.partition("@")
    known = isinstance(name, str) and kind in ANIMATORS
    if known and (kind != DEFAULT_ANIMATOR or name == kind):  # which has no revisions
        return ANIMATORS[kind](device, revision or None, check_options(kind, options))
    if not folder or not Path(folder).is_dir():
        wanted = f"one of {', '.join(ANIMATORS)}, a checkpoint folder, or a callable"
        raise ValueError(f"animator must be {wanted}, not {folder!r}")
    for open_folder in FOLDERS:
        if (animator := open_folder(folder, device, options)) is not None:
            return animator
    raise WeightsMissing(
        f"{folder}: holds no animator's checkpoint",
        "give a folder as KwaiVGI/LivePortrait (base_models) or Skywork/SkyReels-A1 (transformer, pose_guider) have it",
    )


def _mesh(device: str, revision: str | None, options: Any) -> Animator:
    from .animators.mesh import MeshAnimator

    return MeshAnimator()


def _liveportrait(device: str, revision: str | None, options: Any, folder: str | None = None) -> Animator:
    from .animators.liveportrait import LivePortraitAnimator

    drawing = {key: options.pop(key) for key in ("batch", "stitching") if key in options}
    return replace(LivePortraitAnimator.open(folder, revision=revision, device=device, **options), **drawing)


def _liveportrait_folder(folder: str, device: str, options: Mapping[str, Any] | None) -> Animator | None:
    from .animators.liveportrait.animator import opens

    return _liveportrait(device, None, check_options(LIVEPORTRAIT, options), folder) if opens(folder) else None


def _skyreels(device: str, revision: str | None, options: Any) -> Animator:
    from .animators.dit.options import open_with

    return open_with(options, device=device, revision=revision)


def _skyreels_folder(name: str, device: str, options: Mapping[str, Any] | None) -> Animator | None:
    from .animators.dit.options import open_with

    folder = Path(name)
    roots = (folder, folder / "SkyReels-A1-5B", folder / "pretrained_models" / "SkyReels-A1-5B")
    if not any((root / "transformer/config.json").is_file() and (root / "pose_guider").is_dir() for root in roots):
        return None
    return open_with(check_options(SKYREELS, options), folder, device=device)  # type: ignore[arg-type]


# By name, for a device, a revision of what is on the hub, and options; and by what lies in a folder.
ANIMATORS: dict[str, Callable[[str, str | None, Any], Animator]] = {
    "mesh": _mesh, LIVEPORTRAIT: _liveportrait, SKYREELS: _skyreels,
}  # fmt: skip
FOLDERS: tuple[Callable[[str, str, Mapping[str, Any] | None], Animator | None], ...] = (
    _liveportrait_folder,
    _skyreels_folder,
)
