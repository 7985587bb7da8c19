"""Moods: what joy, sorrow or anger add to a face that speaks.

The shapes are the prototypes of Ekman and Friesen's Facial Action Coding System for the basic emotions (EMFACS, 1983;
FACS Investigator's Guide, table 11-1), its action units (AU) written in ARKit's names:

    AU1 browInnerUp   AU2 browOuterUp   AU4 browDown   AU5 eyeWide   AU6 cheekSquint   AU7 eyeSquint   AU9 noseSneer
    AU10 mouthUpperUp   AU12 mouthSmile   AU14 mouthDimple   AU15 mouthFrown   AU17 mouthShrugLower
    AU20 mouthStretch   AU24 mouthPress

How strong each is at a strength of 1 is our choice, by eye: clear, but still possible while speaking. The dropped jaw
and parted lips of surprise and fear (AU25 to 27) are left out, since jaw and lips belong to what is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import EXPRESSIONS, INDEX, MOUTH
from ..types import Motion
from .articulation import gap_per_weight
from .curves import Keyframes, frame_times, keyframes

# Of both sides, where a name has two.
MOODS: dict[str, dict[str, float]] = {
    "neutral": {},
    "calm": {"eyeSquint": 0.10, "mouthSmile": 0.12, "browInnerUp": 0.05},
    "happy": {"cheekSquint": 0.50, "mouthSmile": 0.55, "mouthDimple": 0.10, "eyeSquint": 0.15},  # 6 + 12
    "sad": {"browInnerUp": 0.75, "browDown": 0.20, "mouthFrown": 0.60, "mouthShrugLower": 0.15},  # 1 + 4 + 15
    "angry": {"browDown": 0.95, "eyeWide": 0.20, "eyeSquint": 0.40, "mouthPress": 0.30, "noseSneer": 0.20},  # 4+5+7+24
    "surprised": {"browInnerUp": 0.70, "browOuterUp": 0.75, "eyeWide": 0.55},  # 1 + 2 + 5
    "fearful": {
        "browInnerUp": 0.75, "browOuterUp": 0.35, "browDown": 0.25, "eyeWide": 0.55, "mouthStretch": 0.30,
    },  # 1 + 2 + 4 + 5 + 20
    "disgusted": {
        "noseSneer": 0.55, "browDown": 0.35, "eyeSquint": 0.25, "mouthUpperUp": 0.12, "mouthFrown": 0.25,
        "mouthShrugLower": 0.12,
    },  # 9 + 10 + 15 + 17
}  # fmt: skip

MoodMix = str | Mapping[str, float] | None  # a name, names with strengths 0 to 1, or None for neutral
Mood = MoodMix | Sequence[tuple[float, MoodMix]]  # one of these, or keyframes (seconds, one of these)

ROUND = ("mouthPucker", "mouthFunnel")  # shapes of speech that a smile or a frown must not undo


def mood_keyframes(mood: Any) -> Keyframes:
    """What `mood` means over time, as keyframes of 52 weights. Raises ValueError."""
    return keyframes("mood", mood, _read)


def parse_mood(text: str) -> dict[str, float]:
    """The mood written as "happy", "happy=0.6" or "happy=0.6,surprised=0.2". Raises ValueError."""
    mixed: dict[str, float] = {}
    for part in text.split(","):
        name, _, strength = part.partition("=")
        try:
            mixed[name.strip()] = float(strength) if strength else 1.0
        except ValueError:
            raise ValueError(f"mood must be written as happy=0.6,surprised=0.2, not {text!r:.60}") from None
    return mixed


def add_mood(motion: Motion, mood: Mood, *, start: int = 0) -> Motion:
    """`motion` of a face in a mood; the lips' gap stays what it was, so that what is shut stays shut.

    mood:  a name of MOODS, a mixture such as {"happy": 0.6, "surprised": 0.2} with strengths 0 to 1, or keyframes
           [(seconds, one of these), …] between which it changes evenly
    start: number of the first frame, when `motion` is a piece of a longer one

    A mood fills what a weight lacks to 1. Its mouth yields where speech rounds the lips, its wide eyes where they shut.

    Raises ValueError.
    """
    frames = mood_keyframes(mood)
    if not frames.values.any():
        return motion
    offsets = frames.at(frame_times(start, len(motion), motion.fps))  # [T, 52]
    spoken = motion.expression.astype(np.float64)
    rounded = np.clip(spoken[:, [INDEX[name] for name in ROUND]].sum(axis=1, keepdims=True), 0, 1)
    offsets[:, list(MOUTH)] *= 1 - rounded
    for side in ("Left", "Right"):
        offsets[:, INDEX[f"eyeWide{side}"]] *= 1 - np.clip(spoken[:, INDEX[f"eyeBlink{side}"]], 0, 1)
    face = with_gap(spoken + offsets * np.clip(1 - spoken, 0, 1), row_gap(spoken))
    return replace(motion, expression=face.astype(np.float32))


def with_gap(face: NDArray[np.float64], gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """`face` [T, 52] with lips as far apart as `gap` [T] centimetres: by mouthClose, and where that ends, the jaw."""
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    for column in (close, jaw):
        excess = row_gap(face) - gap
        face[:, column] = np.clip(face[:, column] - excess / gap_per_weight()[column], 0, 1)
    return face


def row_gap(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `lip_gap`, but to the last bit the same for each row however many there are, which a matrix product is not."""
    return np.asarray((face * gap_per_weight()).sum(axis=1))


def _read(mood: Any) -> list[float]:
    """The 52 weights of a mood that does not change."""
    if isinstance(mood, str) or mood is None:
        mood = {mood or "neutral": 1.0}
    known = f"one of {', '.join(MOODS)}"
    if not isinstance(mood, Mapping):
        raise ValueError(f"mood must be {known}, a mixture, or keyframes [(seconds, mood), …], not {mood!r:.60}")
    weights = [0.0] * EXPRESSIONS
    for name, strength in mood.items():
        if not isinstance(name, str) or name not in MOODS:
            raise ValueError(f"mood must be {known}, not {name!r:.40}")
        if not isinstance(strength, Real) or not 0 <= float(strength) <= 1:  # not so for NaN either
            raise ValueError(f"the strength of the mood {name} must be a number from 0 to 1, not {strength!r:.40}")
        for shape, size in MOODS[name].items():
            for column in _columns(shape):
                weights[column] = min(1.0, weights[column] + float(strength) * size)
    return weights


def _columns(shape: str) -> list[int]:
    """The weight of this name, or those of its two sides."""
    return [INDEX[name] for name in (shape, f"{shape}Left", f"{shape}Right") if name in INDEX]
