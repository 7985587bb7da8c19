"""Every error and warning that a user can cause.

    TalkingHeadError
    ├── InputError (ValueError)            what was given cannot be used
    │   ├── AudioUnreadable, AudioEmpty, AudioTooShort, AudioTooLong, AudioNonFinite, AudioFormatRefused
    │   ├── ImageUnreadable, ImageTooLarge, ImageTooSmall, ImageFormatRefused
    │   ├── NoFaceFound, SeveralFacesFound, FaceTooSmall, FaceTurnedAway
    │   ├── VideoUnreadable
    │   └── MotionUnreadable
    ├── CheckpointError                    weights cannot be used
    │   └── UnsafeCheckpoint, CheckpointCorrupt, CheckpointMismatch, NonFiniteWeights, WeightsMissing
    ├── OutputError (OSError)              the result cannot be written
    │   └── OutputNotWritable, DiskFull, OutputExists
    ├── NumericalError                     a model produced NaN or infinity
    └── DeviceOutOfMemory                  a model does not fit into the memory of the GPU or the machine

    TalkingHeadWarning (UserWarning)       the work goes on, and the result may not be what you want
    └── SilentAudioWarning, TruncatedAudioWarning, ClippedAudioWarning, PhaseCancelledWarning,
        LowQualityFaceWarning, AnimatedImageWarning

Arguments of the wrong type or range raise the built-in TypeError or ValueError.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path


class TalkingHeadError(Exception):
    """Base of all errors below.

    str(error) is one line: what was given and what is wrong with it.
    hint: one line: what to do about it; may be empty.
    code: stable snake_case name of the kind of error, for programs.
    """

    code: str = "talking_head_error"

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(TalkingHeadError, ValueError):
    """Something the user gave cannot be used."""


class AudioUnreadable(InputError):
    """The sound file is damaged, empty or not a sound file."""


class AudioEmpty(InputError):
    """The sound holds no samples."""


class AudioTooShort(InputError):
    """The sound is shorter than one video frame (40 ms)."""


class AudioTooLong(InputError):
    """The sound is longer than the limit."""


class AudioNonFinite(InputError):
    """The sound holds NaN or infinity."""


class AudioFormatRefused(InputError):
    """A playlist, a URL or a sample rate that is not accepted."""


class ImageUnreadable(InputError):
    """The image file is damaged, empty or not an image."""


class ImageTooLarge(InputError):
    """The image has more pixels than the limit."""


class ImageTooSmall(InputError):
    """The image is too small to hold a face."""


class ImageFormatRefused(InputError):
    """An image format that is not accepted."""


class NoFaceFound(InputError):
    """The image holds no face, or none that was asked for."""


class SeveralFacesFound(InputError):
    """The image holds several faces and none was chosen."""


class FaceTooSmall(InputError):
    """The face has too few pixels to be animated."""


class FaceTurnedAway(InputError):
    """The face is seen in profile or from behind."""


class VideoUnreadable(InputError):
    """The video file is damaged or not a video."""


class MotionUnreadable(InputError):
    """The motion file is damaged or not a motion file."""


class CheckpointError(TalkingHeadError):
    """Weights cannot be used."""


class UnsafeCheckpoint(CheckpointError):
    """The file would run code when loaded, or points outside its folder."""


class CheckpointCorrupt(CheckpointError):
    """The file is damaged."""


class CheckpointMismatch(CheckpointError):
    """Names, shapes or settings do not fit the model."""


class NonFiniteWeights(CheckpointError):
    """A weight is NaN or infinite."""


class WeightsMissing(CheckpointError):
    """The weights are not on this machine."""


class OutputError(TalkingHeadError, OSError):
    """The result cannot be written."""


class OutputNotWritable(OutputError):
    """The output path cannot be written to."""


class DiskFull(OutputError):
    """No space was left while writing."""


class OutputExists(OutputError):
    """The output exists and replacing it was not asked for."""


class NumericalError(TalkingHeadError):
    """A model produced NaN or infinity."""


class DeviceOutOfMemory(TalkingHeadError):
    """A model does not fit into the memory of the GPU or the machine."""


class TalkingHeadWarning(UserWarning):
    """Base of all warnings below."""


class SilentAudioWarning(TalkingHeadWarning):
    """The sound holds no speech: the mouth will stay closed."""


class TruncatedAudioWarning(TalkingHeadWarning):
    """The file holds less sound than its header says."""


class ClippedAudioWarning(TalkingHeadWarning):
    """The samples exceed -1 to 1 and were scaled down."""


class PhaseCancelledWarning(TalkingHeadWarning):
    """The channels cancel each other: the louder one is used alone."""


class LowQualityFaceWarning(TalkingHeadWarning):
    """The face was found, but the result may be poor."""


class AnimatedImageWarning(TalkingHeadWarning):
    """The image has several frames: the first one is used."""


def warn(kind: type[TalkingHeadWarning], message: str) -> None:
    """Warn, pointing at the line outside this package from which the work was asked for."""
    inside = str(Path(__file__).parent) + os.sep
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, kind, stacklevel=level)
