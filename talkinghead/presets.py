"""Which parts a name stands for. Nothing is imported before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple

from .errors import OutputNotWritable
from .files import new_file
from .protocols import Animator, AudioEncoder, FaceTracker, MotionGenerator
from .weights import CONFIG_FILE, WEIGHTS_FILE, save_weights, write_config

DEFAULT = "micro"
DEFAULT_ANIMATOR = "mesh"
LIVEPORTRAIT = "liveportrait"  # the micro model's motion, drawn by LivePortrait's public weights

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

    animator: its name, the animator itself, or None for the one that belongs to `name`
    """
    from .audio_encoder import WhisperEncoder
    from .face.tracker import MediaPipeTracker
    from .motion.generator import FaceFormerGenerator

    model, _, revision = str(name).partition("@")
    if model == LIVEPORTRAIT:
        name, animator = DEFAULT, f"{LIVEPORTRAIT}@{revision}" if animator is None else animator
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
    """The animator of this name, or of the weights in a folder, on `device`.

    name: "mesh"; "liveportrait" or "liveportrait@REVISION", from the hub; a folder in LivePortrait's public layout

    Raises ValueError for a name that is not known, and what is wrong with the weights.
    """
    kind, _, revision = name.partition("@")
    if kind in ANIMATORS and (kind == LIVEPORTRAIT or name == kind):  # mesh has no revisions
        return ANIMATORS[kind](device, revision or None)
    if Path(name).is_dir():
        for opener in FOLDERS:
            if (opened := opener(name, device)) is not None:
                return opened
    known = ", ".join(ANIMATORS)
    raise ValueError(f"animator must be one of {known}, a folder of weights, or a callable, not {name!r}")


def _mesh(device: str, revision: str | None) -> Animator:
    from .animators.mesh import MeshAnimator

    return MeshAnimator()


def _liveportrait(device: str, revision: str | None) -> Animator:
    from .animators.liveportrait import LivePortraitAnimator

    return LivePortraitAnimator.open(revision=revision, device=device)


def _liveportrait_folder(folder: str, device: str) -> Animator | None:
    from .animators.liveportrait import LivePortraitAnimator
    from .animators.liveportrait.animator import opens

    return LivePortraitAnimator.open(folder, device=device) if opens(folder) else None


# By name, for a device and a revision of what is on the hub; and by what lies in a folder.
ANIMATORS: dict[str, Callable[[str, str | None], Animator]] = {"mesh": _mesh, LIVEPORTRAIT: _liveportrait}
FOLDERS: tuple[Callable[[str, str], Animator | None], ...] = (_liveportrait_folder,)
