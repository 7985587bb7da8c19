"""Speaking styles: how strongly jaw and lips take part in speech.

Two axes span how people speak, as in Edwards et al., "JALI: An Animator-Centric Viseme Model for Expressive Lip
Synchronization" (2016): a jaw that hardly moves with lips that hardly move mumbles, both strong shout, strong lips
alone speak clearly. The directions are theirs, the numbers our choice by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..types import Array
from .curves import Curve, Keyframes, curve, frame_times, keyframes

LEAST, MOST = 0.4, 1.6  # of a strength; the motion model was trained on 0.44 to 1.88


class Style(NamedTuple):
    """Strength of the jaw's and of the lips' movement, 0.4 to 1.6, 1 as fitted to real speakers."""

    jaw: float = 1.0
    lips: float = 1.0


NEUTRAL = Style()

STYLES: dict[str, Style] = {
    "neutral": NEUTRAL,
    "casual": Style(0.85, 0.8),
    "mumble": Style(0.6, 0.55),
    "whisper": Style(0.75, 1.15),  # the jaw is held, the lips are not
    "enunciate": Style(1.1, 1.45),
    "shout": Style(1.5, 1.25),
}

StyleChoice = str | Style | Sequence[tuple[float, str | Style]]  # a name, a Style, or keyframes (seconds, either)


def style_keyframes(style: Any) -> Keyframes:
    """What `style` means over time, as keyframes of (jaw, lips). Raises ValueError."""
    return keyframes("style", style, _read)


def articulation_keyframes(articulation: Any) -> Keyframes:
    """What `articulation` means over time, as keyframes of one number. Raises ValueError."""
    return curve("articulation", articulation, LEAST, MOST)


def strengths(
    style: StyleChoice, articulation: Curve, frames: int, *, fps: float = 25.0, start: int = 0
) -> Array | None:
    """Strengths of jaw and lips [frames, 2], LEAST to MOST; None where all of them are neutral.

    articulation: multiplies both
    start:        number of the first frame, when it is a piece of a longer speech

    Raises ValueError.
    """
    times = frame_times(start, frames, fps)
    both = style_keyframes(style).at(times) * articulation_keyframes(articulation).at(times)
    clipped = np.clip(both, LEAST, MOST).astype(np.float32)
    return None if (clipped == 1).all() else clipped


def _read(style: Any) -> Style:
    if isinstance(style, str) and style in STYLES:
        return STYLES[style]
    pair = isinstance(style, tuple) and len(style) == 2 and all(isinstance(number, Real) for number in style)
    if not pair or not all(LEAST <= float(number) <= MOST for number in style):  # not so for NaN either
        wanted = f"one of {', '.join(STYLES)}, or a Style(jaw, lips) of numbers from {LEAST:g} to {MOST:g}"
        raise ValueError(f"style must be {wanted}, not {style!r:.60}")
    return Style(float(style[0]), float(style[1]))
