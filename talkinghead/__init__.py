"""A portrait and a voice become a talking video.

    from talkinghead import TalkingHead

    TalkingHead.from_pretrained().speak("face.png", "hello.wav").save("hello.mp4")

Names are loaded when first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    AnimatedImageWarning,
    AudioEmpty,
    AudioFormatRefused,
    AudioNonFinite,
    AudioTooLong,
    AudioTooShort,
    AudioUnreadable,
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    ClippedAudioWarning,
    DeviceOutOfMemory,
    DiskFull,
    FaceTooSmall,
    FaceTurnedAway,
    ImageFormatRefused,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    InputError,
    LowQualityFaceWarning,
    MotionUnreadable,
    NoFaceFound,
    NonFiniteWeights,
    NumericalError,
    OutputError,
    OutputExists,
    OutputNotWritable,
    PhaseCancelledWarning,
    SeveralFacesFound,
    SilentAudioWarning,
    TalkingHeadError,
    TalkingHeadWarning,
    TruncatedAudioWarning,
    UnsafeCheckpoint,
    VideoUnreadable,
    WeightsMissing,
)

if TYPE_CHECKING:
    from .motion.style import Style
    from .pipeline import TalkingHead
    from .types import Clip, Motion, Portrait, Speech

_HOMES = {
    "TalkingHead": "pipeline",
    "Speech": "types",
    "Portrait": "types",
    "Motion": "types",
    "Clip": "types",
    "Style": "motion.style",
}

__all__ = [
    "AnimatedImageWarning",
    "AudioEmpty",
    "AudioFormatRefused",
    "AudioNonFinite",
    "AudioTooLong",
    "AudioTooShort",
    "AudioUnreadable",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointMismatch",
    "Clip",
    "ClippedAudioWarning",
    "DeviceOutOfMemory",
    "DiskFull",
    "FaceTooSmall",
    "FaceTurnedAway",
    "ImageFormatRefused",
    "ImageTooLarge",
    "ImageTooSmall",
    "ImageUnreadable",
    "InputError",
    "LowQualityFaceWarning",
    "Motion",
    "MotionUnreadable",
    "NoFaceFound",
    "NonFiniteWeights",
    "NumericalError",
    "OutputError",
    "OutputExists",
    "OutputNotWritable",
    "PhaseCancelledWarning",
    "Portrait",
    "SeveralFacesFound",
    "SilentAudioWarning",
    "Speech",
    "Style",
    "TalkingHead",
    "TalkingHeadError",
    "TalkingHeadWarning",
    "TruncatedAudioWarning",
    "UnsafeCheckpoint",
    "VideoUnreadable",
    "WeightsMissing",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
