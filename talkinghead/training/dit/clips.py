"""Clips to train the video transformer on: one window of its frames each, and the reference picture.

CLIPS/manifest.json  settings, films with licences and clips, what was left out and why
CLIPS/<clip>.mp4     the driving frames, 12 a second, with their sound if the film has any
CLIPS/<clip>.npz     reference [H, W, 3] uint8, face [512, 512, 3] uint8 upright,
                     landmarks [frames, 478, 2] float32 in pixels of the pictures, the reference's first
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...animators.dit.draw import detected_box, draw_driving_face, draw_reference, face_box
from ...errors import InputError
from ...files import check_unpacked, open_regular
from ...settings import dataclass_from
from ...types import LANDMARKS, Array, Frame
from ...video import open_video

VERSION = 1
FPS = 12  # frames a second, as the public model was trained
MANIFEST = "manifest.json"
MOST_ARRAYS = 256 << 20  # bytes unpacked: a reference of 8192 x 8192 is less


@dataclass(frozen=True)
class ClipSettings:
    """What all clips of a folder share.

    height, width: of the pictures, in pixels
    frames:        of a window, the reference among them
    framing:       "face" is head and shoulders, "frame" all of the film's picture, cut or padded to 3:2
    """

    height: int = 480
    width: int = 720
    frames: int = 49
    framing: Literal["face", "frame"] = "face"

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 32 or self.height % 8 or self.width % 8:
            raise ValueError(f"height and width must be multiples of 8, from 32 on, not {self.height}, {self.width}")
        if self.frames < 9 or (self.frames - 1) % 8:
            raise ValueError(f"frames must be 9, 17, 25, …, not {self.frames}")
        if self.framing not in ("face", "frame"):
            raise ValueError(f'framing must be "face" or "frame", not {self.framing!r}')

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class Clip:
    """One clip in its folder."""

    name: str
    folder: Path
    settings: ClipSettings

    @property
    def video(self) -> Path:
        """The driving frames."""
        return self.folder / f"{self.name}.mp4"

    @property
    def checksum(self) -> int:
        """A number that tells clips apart."""
        return zlib.crc32(self.video.read_bytes(), zlib.crc32((self.folder / f"{self.name}.npz").read_bytes()))

    def pictures(self) -> list[Frame]:
        """The reference, then the driving frames, each [H, W, 3]. Raises InputError."""
        driving = list(open_video(self.video).frames())
        size = (*self.settings.canvas, 3)
        if len(driving) != self.settings.frames - 1 or any(frame.shape != size for frame in driving):
            raise InputError(f"{self.video.name}: is not a clip of {self.settings.frames - 1} frames of {size}", _AGAIN)
        return [self._array("reference", np.uint8, size), *driving]

    def face(self) -> Frame:
        """The reference face, upright [512, 512, 3]. Raises InputError."""
        face: Frame = self._array("face", np.uint8, (512, 512, 3))
        return face

    def landmarks(self) -> Array:
        """[frames, 478, 2] in pixels of the pictures, the reference's first. Raises InputError."""
        landmarks: Array = self._array("landmarks", np.float32, (self.settings.frames, LANDMARKS, 2))
        return landmarks

    def drawings(self) -> list[Frame]:
        """What the model is told of each frame: drawn as when a portrait is animated."""
        return draw(self.landmarks(), self.settings.canvas)

    def _array(self, name: str, kind: type, shape: tuple[int, ...]) -> Any:
        file = self.folder / f"{self.name}.npz"
        try:
            with open_regular(file, InputError) as opened:
                check_unpacked(opened, MOST_ARRAYS)
                with np.load(opened, allow_pickle=False) as arrays:
                    values = arrays[name]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file.name}: cannot be read: {error}", _AGAIN) from error
        if values.dtype != kind or values.shape != shape:
            found = f"{list(values.shape)} {values.dtype}"
            raise InputError(f"{file.name}: {name} must be {list(shape)} {np.dtype(kind)}, not {found}", _AGAIN)
        return values


def draw(landmarks: Array, canvas: tuple[int, int]) -> list[Frame]:
    """The drawings of landmarks [frames, 478, 2] in pixels, the reference's first; its box holds for all."""
    box = face_box(detected_box(landmarks[0]), canvas)
    driving = [draw_driving_face(row, box, canvas) for row in landmarks[1:]]
    return [draw_reference(box.inside(landmarks[0]), box, canvas), *driving]


def read_manifest(folder: str | PathLike[str]) -> dict[str, Any]:
    """The manifest of a folder of clips. Raises InputError."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["version"] != VERSION:
            raise ValueError(f"its version is {manifest['version']!r:.20}")
        dataclass_from(ClipSettings, manifest["settings"])
        for film in manifest["films"]:
            for key in ("name", "licence"):
                if not isinstance(film[key], str):
                    raise ValueError(f"a film's {key} is no text")
            if not all(isinstance(name, str) and Path(name).name == name for name in film["clips"]):
                raise ValueError("a clip's name is not one of a file in it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: holds no clips: {error}", "make them with `talkinghead prepare-dit`") from error
    return dict(manifest)


def read_clips(folder: str | PathLike[str]) -> list[Clip]:
    """The clips in a folder. Raises InputError if there are none."""
    manifest = read_manifest(folder)
    settings = dataclass_from(ClipSettings, manifest["settings"])
    clips = [Clip(name, Path(folder), settings) for film in manifest["films"] for name in film["clips"]]
    if not clips:
        raise InputError(f"{folder}: holds no clips", "make them with `talkinghead prepare-dit`")
    return clips


def empty_manifest(settings: ClipSettings) -> dict[str, Any]:
    """A manifest of no films."""
    return {"version": VERSION, "settings": asdict(settings), "films": [], "left_out": []}


_AGAIN = "make the clips again with `talkinghead prepare-dit`"
