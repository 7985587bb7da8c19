"""Recordings of speech: found, read, and given our motion. One that cannot be used is told of, and no more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..blendshapes import INDEX
from ..motion.articulation import GAP_CM, lip_gap
from ..pipeline import TalkingHead
from ..training.prepare import FAILURES, INAUDIBLE, VIDEOS
from ..types import Array, Motion, Speech
from ..video import open_video
from .intervals import Track
from .lipsync import FPS, Follower

SOUNDS = frozenset((".wav", ".flac", ".ogg", ".mp3", ".opus", ".m4a", ".aac"))


class LeftOut(NamedTuple):
    """What was not measured of a file, and why."""

    name: str
    part: str
    reason: str


@dataclass(frozen=True, eq=False)
class Film:
    """The face in a video: landmarks [T, 478, 3] in pixels, frames a second, and the picture's width and height."""

    landmarks: Array
    fps: float
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Recording:
    """Speech, the face that was filmed with it if there is one, and our motion for its sound at 25 a second.

    The motion is the generator's: blinks, gaze and idle movement are left out.
    """

    name: str
    path: Path
    speech: Speech
    motion: Motion
    film: Film | None = None

    @property
    def mouth(self) -> Mouth:
        """What our mouth does."""
        return Mouth.of(self.motion)


class Mouth(NamedTuple):
    """What tells sounds apart in a mouth, 25 times a second.

    gap:    [T] of the inner lips, as a share of the widest (GAP_CM)
    rounding: [T] mouthPucker and mouthFunnel
    bite:   [T] mouthRollLower
    """

    gap: Track
    rounding: Track
    bite: Track

    @classmethod
    def of(cls, motion: Motion) -> Mouth:
        """The mouth of a motion."""
        expression = motion.expression.astype(np.float64)
        rounding = expression[:, INDEX["mouthPucker"]] + expression[:, INDEX["mouthFunnel"]]
        return cls(lip_gap(motion.expression) / GAP_CM, rounding, expression[:, INDEX["mouthRollLower"]])

    def fitted(self, length: int) -> Mouth:
        """This mouth for `length` frames: cut, or begun again at its end."""
        return Mouth(*(np.resize(track, length) for track in self))


def find_files(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[tuple[str, Path]], list[LeftOut]]:
    """The sound and video files in `paths`, folders searched, each once and with a name of its own."""
    found: list[Path] = []
    left_out = []
    for given in map(Path, paths):
        inside = [given]
        if given.is_dir():
            inside = [path for path in sorted(given.rglob("*")) if path.suffix.lower() in SOUNDS | VIDEOS]
            inside = [path for path in inside if path.is_file() and not path.name.startswith(".")]
        if not inside:
            left_out.append(LeftOut(str(given), "all", "the folder holds no sound or video files"))
        found += [path for path in inside if path not in found]
    stems = [path.stem for path in found]
    names = [path.stem if stems.count(path.stem) == 1 else str(Path(path.parent.name, path.name)) for path in found]
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, found, strict=True)]
    return list(zip(names, found, strict=True)), left_out


def read(name: str, path: Path, head: TalkingHead, follower: Follower) -> tuple[Recording | None, list[LeftOut]]:
    """The recording in a file, or None; and what is left out of it."""
    try:
        speech = Speech.of(path)
        if np.abs(speech.samples).max(initial=0) < INAUDIBLE:
            return None, [LeftOut(name, "all", "its sound is silent")]
        motion = move(head, speech)
    except FAILURES as error:
        return None, [LeftOut(name, "all", reason(error))]
    if path.suffix.lower() in SOUNDS:
        return Recording(name, path, speech, motion), []
    try:
        video = open_video(path)
        landmarks = follower.follow(video)
        film = Film(landmarks, float(video.fps), video.size)
    except FAILURES as error:
        return Recording(name, path, speech, motion), [LeftOut(name, "filmed lips", reason(error))]
    return Recording(name, path, speech, motion, film), []


def move(head: TalkingHead, speech: Speech) -> Motion:
    """What the models make of `speech`, free-running, at 25 frames a second."""
    return head.motion_generator(head.audio_encoder(speech)).resample(FPS)


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
