"""The values that flow through a talking head.

They hold NumPy arrays: stages may run on any device, the seams are plain memory.

    N  audio samples     T  video frames     H, W  pixels     A, D  audio features
    x right, y down, z away from the camera; rotation in radians
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio import SAMPLE_RATE as SAMPLE_RATE
from .audio import AudioSource, Sound, check_duration, open_sound
from .blendshapes import EXPRESSIONS as EXPRESSIONS
from .blendshapes import NAMES
from .errors import MotionUnreadable, OutputNotWritable
from .files import check_new_file, check_unpacked, local_path, new_file, open_regular
from .pixels import Frame as Frame
from .video import write_video

Array = NDArray[np.float32]

LEAST_FACE = 8  # pixels
MOST_MOTION = 256 << 20  # bytes of a motion file, unpacked; 232 a frame are 50 MB for an hour at 60 frames a second
LANDMARKS = 478  # MediaPipe's face mesh (468) and its two irises (5 each)


def check_array(name: str, array: Any, dtype: type, *shape: int | None) -> None:
    """Raise unless `array` is a finite array of `dtype` and `shape`; None stands for any size."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        given = f"array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be a NumPy array of {np.dtype(dtype)}, not {given}")
    if array.ndim != len(shape) or any(w not in (None, g) for w, g in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{wanted}], not {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, but holds NaN or infinity")


def frame_count(seconds: Fraction, fps: float) -> int:
    """How many frames cover `seconds`: exact, so 2.2 s at 25 fps are 55 frames and not 56."""
    return math.ceil(seconds * exact_rate(fps))


def exact_rate(fps: float) -> Fraction:
    """`fps` as the fraction it stands for: 29.97 is 2997/100, 30000/1001 stays so."""
    return Fraction(float(fps)).limit_denominator(1001)


def check_fps(fps: Any) -> float:
    """`fps` as a float; raise TypeError unless it is a number, ValueError unless it is 1 to 1000."""
    if not isinstance(fps, Real):
        raise TypeError(f"fps must be a number, not {type(fps).__name__}")
    if not 1 <= float(fps) <= 1000:  # not so for NaN either
        raise ValueError(f"fps must be 1 to 1000, not {fps!r}")
    return float(fps)


def check_new_motion(path: str | PathLike[str], force: bool = False) -> Path:
    """Like `check_new_file`, and the name must end in .npz, by which motion files are told from videos."""
    if Path(path).suffix.lower() != ".npz":
        raise OutputNotWritable(f"{path}: a motion file must be named .npz", "give it the suffix .npz")
    return check_new_file(path, force)


@dataclass(frozen=True, eq=False)
class Speech:
    """Mono speech at 16 kHz, and the sound it was taken from.

    samples: [N] float32, -1 to 1
    sound:   the sound as it was given (its own rate and channels), for the finished video; None means `samples`
    """

    samples: Array
    sound: Sound | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_array("samples", self.samples, np.float32, None)
        if (loudest := float(np.abs(self.samples).max(initial=0))) > 1:
            raise ValueError(f"samples must lie in -1 to 1, but reach {loudest:g}; use Speech.of for integer PCM")
        if self.sound is not None and not isinstance(self.sound, Sound):
            raise TypeError(f"sound must be a Sound or None, not {type(self.sound).__name__}")

    @classmethod
    def of(
        cls,
        audio: Speech | AudioSource,
        sample_rate: int | None = None,
        *,
        max_duration: float | None = None,
        strict: bool = False,
    ) -> Speech:
        """Speech from a path, bytes, a binary file, `(rate, array)`, or an array with its `sample_rate`.

        A Speech stays as it is. Arrays are [N], [N, channels] or [channels, N], float in -1 to 1 or integer PCM.

        max_duration: longest sound accepted, in seconds; None accepts any
        strict:       refuse a file that holds less sound than its header says, instead of warning

        Raises AudioUnreadable, AudioEmpty, AudioTooShort, AudioTooLong, AudioNonFinite, AudioFormatRefused;
        TypeError for other types, and for the rate of what has its own.
        """
        if isinstance(audio, Speech):
            if sample_rate is not None:
                raise TypeError("sample_rate is for arrays; a Speech has its own")
            check_duration("the speech", audio.seconds.numerator, audio.seconds.denominator, max_duration)
            return audio
        samples, sound = open_sound(audio, sample_rate, max_duration=max_duration, strict=strict)
        return cls(samples, sound)

    @property
    def seconds(self) -> Fraction:
        """Exact length of the sound."""
        if self.sound is not None:
            return Fraction(self.sound.frames, self.sound.rate)
        return Fraction(len(self.samples), SAMPLE_RATE)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.seconds)

    def frames(self, fps: float) -> int:
        """How many video frames cover this speech."""
        return frame_count(self.seconds, fps)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture and the face found in it.

    image:     [H, W, 3] uint8 RGB
    landmarks: [478, 3] float32 MediaPipe face mesh in pixels of `image` (not in 0 to 1); z is scaled like x
    """

    image: Frame
    landmarks: Array

    def __post_init__(self) -> None:
        check_array("image", self.image, np.uint8, None, None, 3)
        check_array("landmarks", self.landmarks, np.float32, LANDMARKS, 3)
        height, width = self.image.shape[:2]
        x, y = self.landmarks[:, 0], self.landmarks[:, 1]
        if np.ptp(self.landmarks[:, :2], axis=0).min() < LEAST_FACE:
            raise ValueError(f"landmarks must be in pixels and span at least {LEAST_FACE} of them; are they in 0 to 1?")
        if not ((x >= 0) & (x < width) & (y >= 0) & (y < height)).any():
            raise ValueError(f"landmarks must lie in the image of {width} x {height} pixels, but none of them does")


@dataclass(frozen=True, eq=False)
class Motion:
    """How a face moves, apart from whose face it is.

    expression:  [T, 52] float32 blendshape weights, 0 to 1, ordered as `talkinghead.blendshapes.NAMES`
    rotation:    [T, 3] float32 pitch, yaw, roll in radians, relative to the portrait. Positive pitch looks down,
                 positive yaw turns the nose to the left of the picture, positive roll leans clockwise in it
    translation: [T, 3] float32 x, y, z in face heights, relative to the portrait
    state:       what the generator that made this motion needs to continue it; not saved
    """

    expression: Array
    rotation: Array
    translation: Array
    fps: float = 25.0
    state: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_array("expression", self.expression, np.float32, None, EXPRESSIONS)
        check_array("rotation", self.rotation, np.float32, len(self), 3)
        check_array("translation", self.translation, np.float32, len(self), 3)
        object.__setattr__(self, "fps", check_fps(self.fps))
        if len(self) and np.abs(self.expression).max() > 2:
            worst = float(self.expression.flat[np.abs(self.expression).argmax()])
            raise ValueError(f"expression must be weights of about 0 to 1, but holds {worst:g}; is it in percent?")

    @classmethod
    def still(cls, frames: int, fps: float = 25.0) -> Motion:
        """No motion at all, for `frames` frames."""
        rest = np.zeros((frames, 3), np.float32)
        return cls(np.zeros((frames, EXPRESSIONS), np.float32), rest, rest.copy(), fps)

    def __len__(self) -> int:
        return len(self.expression)

    def __getitem__(self, frames: slice) -> Motion:
        """Some of the frames, as in `motion[25:50]`."""
        if not isinstance(frames, slice):
            raise TypeError(f"motion takes a slice such as motion[0:25], not {frames!r}")
        if frames.step not in (None, 1):
            raise ValueError("motion takes slices of step 1; use .resample(fps) for another frame rate")
        return Motion(self.expression[frames], self.rotation[frames], self.translation[frames], self.fps)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self) / self.fps

    def resample(self, fps: float, frames: int | None = None) -> Motion:
        """The same motion at another frame rate, linearly interpolated.

        frames: how many to make; None covers the same time. The last pose is held where time runs past the end.
        """
        fps = check_fps(fps)
        if frames is not None and frames < 0:
            raise ValueError(f"frames must be 0 or more, not {frames}")
        if fps == self.fps and frames in (None, len(self)):
            return self
        if not len(self):
            raise ValueError("motion of no frames cannot be resampled")
        if frames is None:
            frames = frame_count(Fraction(len(self)) / exact_rate(self.fps), fps)
        now = np.arange(len(self)) / self.fps
        then = np.arange(frames) / fps

        def at(track: Array) -> Array:
            columns = [np.interp(then, now, column) for column in track.T]
            return np.stack(columns, axis=1).astype(np.float32)

        return Motion(at(self.expression), at(self.rotation), at(self.translation), fps)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> Path:
        """Write an npz file with the arrays expression, names, rotation, translation and fps.

        Raises OutputExists unless `force`, OutputNotWritable, DiskFull.
        """
        check_new_motion(path, force)
        with new_file(path, force=force) as part, open(part, "wb") as file:
            np.savez_compressed(
                file,
                expression=self.expression,
                names=np.array(NAMES),
                rotation=self.rotation,
                translation=self.translation,
                fps=np.float64(self.fps),
            )
        return Path(path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Motion:
        """Read what `save` wrote; columns are put in this package's order by their names.

        Raises MotionUnreadable, also for a file that unpacks to over 256 MB: 5 hours at 60 frames a second are less.
        """
        file_path = local_path(path, MotionUnreadable)
        hint = "give an npz file written by Motion.save or `talkinghead motion`"
        try:
            with open_regular(file_path, MotionUnreadable) as file:
                check_unpacked(file, MOST_MOTION)
                with np.load(file, allow_pickle=False) as arrays:
                    names = [str(name) for name in arrays["names"]]
                    tracks = [_numbers(arrays, name) for name in ("expression", "rotation", "translation")]
                    fps = float(arrays["fps"])
            if sorted(names) != sorted(NAMES):
                odd = sorted(set(names) ^ set(NAMES))[:5]
                raise ValueError(f"its names are not the 52 ARKit ones: {', '.join(odd)}")
            check_array("expression", tracks[0], np.float32, None, EXPRESSIONS)
            return cls(tracks[0][:, [names.index(name) for name in NAMES]], tracks[1], tracks[2], fps)
        except MotionUnreadable:
            raise
        except (*_DAMAGED, KeyError, ValueError, TypeError) as error:
            reason = f"no array named {error}" if isinstance(error, KeyError) else str(error) or "damaged"
            raise MotionUnreadable(f"{file_path.name}: not a motion file: {reason}", hint) from error


# What NumPy and zipfile raise for a damaged archive, or (AttributeError) for a bare array under its name.
_DAMAGED = (
    OSError,
    EOFError,
    AttributeError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def _numbers(arrays: Any, name: str) -> Array:
    """One array of a motion file as float32; too large numbers become infinite, which its check refuses."""
    values = arrays[name]
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not {values.dtype}")
    with np.errstate(over="ignore"):
        numbers: Array = values.astype(np.float32)
    return numbers


@dataclass(frozen=True, eq=False)
class Clip:
    """Video with sound, drawn when it is asked for.

    draw:   makes a fresh iterator over the frames [H, W, 3] uint8 RGB
    length: how many frames it gives
    size:   width and height in pixels
    speech: its sound, or None
    motion: what the face does in it
    untouched: numbers of the frames that were left as they were filmed, since no face was seen in them
    """

    draw: Callable[[], Iterator[Frame]] = field(repr=False)
    length: int
    size: tuple[int, int]
    fps: float
    speech: Speech | None = field(default=None, repr=False)
    motion: Motion | None = field(default=None, repr=False)
    untouched: tuple[int, ...] = field(default=(), repr=False)

    def __iter__(self) -> Iterator[Frame]:
        drawn = 0
        for drawn, frame in enumerate(self.draw(), 1):
            if drawn > self.length:
                break
            yield frame
        if drawn != self.length:
            more = "more than " if drawn > self.length else f"only {drawn} of "
            raise ValueError(f"the animator drew {more}{self.length} frames")

    def __len__(self) -> int:
        return self.length

    @property
    def duration(self) -> float:
        """Length of the picture in seconds."""
        return self.length / self.fps

    @property
    def frames(self) -> NDArray[np.uint8]:
        """All frames at once: [T, H, W, 3] uint8. One minute of 512 x 512 at 25 fps takes 1.2 GB."""
        width, height = self.size
        frames = np.empty((self.length, height, width, 3), np.uint8)
        for index, frame in enumerate(self):
            frames[index] = frame
        return frames

    def save(self, path: str | PathLike[str], *, force: bool = False, progress: bool | None = None) -> Path:
        """Draw the frames and write them with the sound, in one pass, to an H.264 and AAC mp4.

        force:    replace a file that exists
        progress: show a bar; None shows it on a terminal

        The sound is read again from where it came. The final name appears only when complete.

        Raises OutputExists, OutputNotWritable, DiskFull, OutputError; AudioUnreadable if the sound has gone since.
        """
        speech = self.speech
        sound = None if speech is None else speech.sound or Sound.of_array(speech.samples, SAMPLE_RATE)
        return write_video(
            path,
            self,
            size=self.size,
            fps=exact_rate(self.fps),
            count=self.length,
            sound=sound,
            force=force,
            progress=progress,
        )
