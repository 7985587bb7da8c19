"""Motion templates: what a driving video did, in LivePortrait's `.pkl` format or in a safe one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from ...errors import MotionUnreadable, OutputNotWritable
from ...files import check_new_file, check_unpacked, local_path, new_file, open_regular
from ...types import Array, check_fps
from .drive import Driver
from .sizes import KEYPOINTS
from .transform import KeypointMotion, nearest_rotation

MAX_BYTES = 1 << 30  # an hour of public templates is 100 MB
MAX_FRAMES = 1_000_000
MAX_UNPACKED = 512 << 20  # bytes of an .npz; 316 a frame are 68 MB for an hour at 60 frames a second
SUFFIXES = (".pkl", ".npz")
_HINT = "give a template written by LivePortrait or by `talkinghead liveportrait template`"

# What a pickle of arrays and plain values refers to, by the names of NumPy 1 and 2; nothing else is ever called.
_PARTS: dict[str, tuple[tuple[str, ...], Any]] = {
    "_reconstruct": (("numpy.core.multiarray", "numpy._core.multiarray"), np.zeros(1).__reduce__()[0]),
    "scalar": (("numpy.core.multiarray", "numpy._core.multiarray"), np.float32(0).__reduce__()[0]),
    "_frombuffer": (("numpy.core.numeric", "numpy._core.numeric"), np.zeros(1).__reduce_ex__(5)[0]),
    "ndarray": (("numpy",), np.ndarray),
    "dtype": (("numpy",), np.dtype),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of dictionaries, lists, numbers, text and NumPy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how old protocols store bytes
            return _latin1
        modules, part = _PARTS.get(name, ((), None))
        if module not in modules:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is never run")
        return part


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes encoded as {encoding!r:.20}")
    return text.encode("latin1")


def check_new_template(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Like `check_new_file`, and the name must end in .pkl or .npz, by which the format is chosen."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputNotWritable(f"{path}: a template must be named .pkl or .npz", "give it the suffix .pkl")
    return check_new_file(path, force)


@dataclass(frozen=True, eq=False)
class Template:
    """The motion of a driving face.

    motion: of T frames
    fps:    frames per second
    eyes:   [T, 2] how open the eyes are, the left one in the picture first; None if the file does not tell
    lips:   [T, 1] how open the lips are; likewise
    """

    motion: KeypointMotion
    fps: float
    eyes: Array | None = None
    lips: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", check_fps(self.fps))
        if not len(self.motion):
            raise ValueError("a template needs at least one frame")
        for name, values, width in (("eyes", self.eyes, 2), ("lips", self.lips, 1)):
            if values is not None and values.shape != (len(self.motion), width):
                raise ValueError(f"{name} must be [{len(self.motion)}, {width}], not {list(values.shape)}")

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def driver(self) -> Driver:
        """What `drive` takes."""
        return Driver(self.motion, self.eyes, self.lips)

    def resample(self, fps: float) -> Template:
        """The same motion at another frame rate: interpolated, with rotations kept rotations."""
        if fps == self.fps or len(self) == 1:
            return Template(self.motion, fps, self.eyes, self.lips)
        frames = max(1, round(len(self) * fps / self.fps))
        then, now = np.arange(frames) / fps, np.arange(len(self)) / self.fps

        def at(values: Array) -> Array:
            columns = [np.interp(then, now, column) for column in values.reshape(len(values), -1).T]
            return np.stack(columns, 1).reshape(frames, *values.shape[1:]).astype(np.float32)

        own = self.motion
        rotation = nearest_rotation(at(own.rotation))
        motion = KeypointMotion(at(own.expression), rotation, at(own.scale), at(own.translation))
        eyes, lips = (None if values is None else at(values) for values in (self.eyes, self.lips))
        return Template(motion, fps, eyes, lips)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write a `.pkl` that LivePortrait and programs around it play (with NumPy 1.26 or newer), or an `.npz`.

        Raises OutputNotWritable for other suffixes, OutputExists, DiskFull.
        """
        check_new_template(path, force)
        with new_file(path, force=force) as part, open(part, "wb") as file:
            if Path(path).suffix.lower() == ".pkl":
                pickle.dump(self._public(), file, protocol=4)
            else:
                self._save_arrays(file)
        return Path(path)

    def _public(self) -> dict[str, Any]:
        own = self.motion
        frames = [
            {
                "scale": own.scale[i : i + 1],
                "R": own.rotation[i : i + 1],
                "exp": own.expression[i : i + 1],
                "t": own.translation[i : i + 1],
            }
            for i in range(len(self))
        ]
        lists = {"c_eyes_lst": self.eyes, "c_lip_lst": self.lips}
        ratios = {name: [] if rows is None else [row[None] for row in rows] for name, rows in lists.items()}
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        return {"n_frames": len(self), "output_fps": fps, "motion": frames, **ratios}

    def _save_arrays(self, file: IO[bytes]) -> None:
        own = self.motion
        arrays = {"exp": own.expression, "R": own.rotation, "scale": own.scale, "t": own.translation}
        ratios = {name: rows for name, rows in (("eyes", self.eyes), ("lips", self.lips)) if rows is not None}
        np.savez_compressed(file, allow_pickle=False, fps=np.float64(self.fps), **arrays, **ratios)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Template:
        """Read a template: `.npz` as written here, else a public `.pkl`, of which only arrays are taken.

        Raises MotionUnreadable, which names what is wrong.
        """
        file_path = local_path(path, MotionUnreadable)
        read: Callable[[BinaryIO], Template] = _of_arrays if file_path.suffix.lower() == ".npz" else _of_pickle
        try:
            with open_regular(file_path, MotionUnreadable) as file:
                if os.fstat(file.fileno()).st_size > MAX_BYTES:
                    raise ValueError("it is larger than 1 GB")
                return read(file)
        except MotionUnreadable:
            raise
        except Exception as error:  # a damaged pickle can raise anything that its parts do
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or "it is damaged"
            raise MotionUnreadable(f"{file_path.name}: not a motion template: {reason:.200}", _HINT) from error


def _of_arrays(file: BinaryIO) -> Template:
    check_unpacked(file, MAX_UNPACKED)
    with np.load(file, allow_pickle=False) as arrays:
        motion = KeypointMotion(*(arrays[name].astype(np.float32) for name in ("exp", "R", "scale", "t")))
        eyes, lips = (arrays[name].astype(np.float32) if name in arrays else None for name in ("eyes", "lips"))
        _check_rotations(motion.rotation)
        return Template(motion, float(arrays["fps"]), eyes, lips)


def _of_pickle(file: BinaryIO) -> Template:
    table = _ArraysOnly(file).load()
    if not isinstance(table, Mapping):
        raise ValueError(f"it holds a {type(table).__name__}, not a table")
    frames = table["motion"]
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES:
        raise ValueError("its motion is no list of frames")
    if table.get("n_frames", len(frames)) != len(frames):
        raise ValueError(f"it says {table['n_frames']} frames, but holds {len(frames)}")
    shapes = {"exp": (KEYPOINTS, 3), "R": (3, 3), "scale": (1,), "t": (3,)}
    tracks = [np.stack([_of_frame(frame, name, shape) for frame in frames]) for name, shape in shapes.items()]
    _check_rotations(tracks[1])
    eyes, lips = (
        _ratios(table, names, len(frames)) for names in (("c_eyes_lst", "c_d_eyes_lst"), ("c_lip_lst", "c_d_lip_lst"))
    )
    return Template(KeypointMotion(*tracks), float(table.get("output_fps", 25)), eyes, lips)


def _of_frame(frame: Any, name: str, shape: tuple[int, ...]) -> Array:
    if not isinstance(frame, Mapping):
        raise ValueError(f"a frame is a {type(frame).__name__}, not a table")
    value = frame[name] if name in frame or name != "R" else frame["R_d"]
    return _numbers(value, name, shape)


def _numbers(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size != int(np.prod(shape)):
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not numbers {list(shape)}")
    numbers: Array = array.astype(np.float32).reshape(shape)
    return numbers


def _ratios(table: Mapping[str, Any], names: tuple[str, ...], frames: int) -> Array | None:
    rows: Any = next((table[name] for name in names if table.get(name) is not None), [])
    if not len(rows):
        return None
    if len(rows) != frames:
        raise ValueError(f"{names[0]} has {len(rows)} rows for {frames} frames")
    width = 2 if "eyes" in names[0] else 1
    return np.stack([_numbers(row, names[0], (width,)) for row in rows])


def _check_rotations(rotation: Array) -> None:
    off = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max((1, 2), initial=0)
    wrong = np.flatnonzero(~((off < 0.05) & (np.linalg.det(rotation) > 0)))
    if len(wrong):
        raise ValueError(f"R of frame {wrong[0]} is no rotation")
