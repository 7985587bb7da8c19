"""Which parts a name stands for. Nothing is imported before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple

from .errors import OutputNotWritable, WeightsMissing
from .files import new_file
from .protocols import Animator, AudioEncoder, FaceTracker, MotionGenerator
from .weights import CONFIG_FILE, WEIGHTS_FILE, save_weights, write_config

DEFAULT = "micro"
DEFAULT_ANIMATOR = "mesh"
SKYREELS = "skyreels-a1"

FaceChoice = Literal["largest"] | int | tuple[float, float, float, float]


class Parts(NamedTuple):
    """What a talking head is put together from."""

    face_tracker: FaceTracker
    audio_encoder: AudioEncoder
    motion_generator: MotionGenerator
    animator: Animator


def load_parts(
    name: str | os.PathLike[str], *, device: str, animator: str | Animator | None = None, face: FaceChoice = "largest"
) -> Parts:
    """The parts of a preset or a checkpoint folder, on `device`.

    name:     "skyreels-a1" stands for the default motion with that animator
    animator: its name or checkpoint folder, the animator itself, or None for the one that belongs to `name`
    """
    from .audio_encoder import WhisperEncoder
    from .face.tracker import MediaPipeTracker
    from .motion.generator import FaceFormerGenerator

    if name == SKYREELS:
        name, animator = DEFAULT, SKYREELS if animator is None else animator
    if animator is None:
        animator = DEFAULT_ANIMATOR
    drawn_by = load_animator(animator, device) if isinstance(animator, str) else animator
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


def load_animator(name: str, device: str = "cpu") -> Animator:
    """The animator of this name, or of the checkpoint in this folder, on `device`.

    Raises ValueError for a name that is not known, WeightsMissing for a folder that holds no animator's checkpoint.
    """
    if name in ANIMATORS:
        return ANIMATORS[name](device)
    folder = Path(name)
    if not name or not folder.is_dir():
        wanted = f"one of {', '.join(ANIMATORS)}, a checkpoint folder, or a callable"
        raise ValueError(f"animator must be {wanted}, not {name!r}")
    for holds, load in FOLDERS:
        if holds(folder):
            return load(folder, device)
    raise WeightsMissing(
        f"{name}: holds no animator's checkpoint",
        "give a folder with transformer/config.json and pose_guider in it, as Skywork/SkyReels-A1 is laid out",
    )


def _mesh(device: str) -> Animator:
    from .animators.mesh import MeshAnimator

    return MeshAnimator()


def _skyreels(device: str) -> Animator:
    from .animators.dit import SkyReelsAnimator

    return SkyReelsAnimator.from_pretrained(device=device)


def _skyreels_folder(folder: Path, device: str) -> Animator:
    from .animators.dit import SkyReelsAnimator

    return SkyReelsAnimator.from_pretrained(folder, device=device)


def _holds_skyreels(folder: Path) -> bool:
    roots = (folder, folder / "SkyReels-A1-5B", folder / "pretrained_models" / "SkyReels-A1-5B")
    return any((root / "transformer/config.json").is_file() and (root / "pose_guider").is_dir() for root in roots)


ANIMATORS: dict[str, Callable[[str], Animator]] = {"mesh": _mesh, SKYREELS: _skyreels}
# How a folder is told by what lies in it, and what loads it.
FOLDERS: list[tuple[Callable[[Path], bool], Callable[[Path, str], Animator]]] = [(_holds_skyreels, _skyreels_folder)]
