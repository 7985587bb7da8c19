"""How something is to be said, beside what: the options of `TalkingHead.speak`, checked together."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..types import Array, Motion
from .curves import Curve
from .idle import BLINKS_PER_MINUTE, add_idle, check_blink_rate
from .mood import Mood, add_mood, mood_keyframes
from .style import StyleChoice, articulation_keyframes, strengths, style_keyframes


@dataclass(frozen=True)
class Controls:
    """The options of `TalkingHead.speak`. Raises ValueError for one that is not in its range."""

    seed: int = 0
    expression_scale: float = 1.0
    head_motion: float = 1.0
    style: StyleChoice = "neutral"
    articulation: Curve = 1.0
    mood: Mood = None
    blink_rate: float = BLINKS_PER_MINUTE

    def __post_init__(self) -> None:
        if not isinstance(self.seed, Integral) or int(self.seed) < 0:
            raise ValueError(f"seed must be a whole number, 0 or more, not {self.seed!r:.40}")
        _check_scale("expression_scale", self.expression_scale)
        _check_scale("head_motion", self.head_motion)
        style_keyframes(self.style)
        articulation_keyframes(self.articulation)
        mood_keyframes(self.mood)
        check_blink_rate(self.blink_rate)

    def strengths(self, frames: int, *, fps: float = 25.0, start: int = 0) -> Array | None:
        """How strongly jaw and lips move, [frames, 2], from frame number `start` on; None if all is neutral."""
        return strengths(self.style, self.articulation, frames, fps=fps, start=start)

    def scale(self, motion: Motion) -> Motion:
        """`motion` with its expression and its pose as strong as they should be."""
        if self.expression_scale == self.head_motion == 1:
            return motion
        expression = motion.expression
        if self.expression_scale != 1:
            expression = np.clip(expression * np.float32(self.expression_scale), 0, 1)
        head = np.float32(self.head_motion)
        return Motion(expression, motion.rotation * head, motion.translation * head, motion.fps, motion.state)

    def enliven(self, motion: Motion, *, start: int = 0, before: Motion | None = None) -> Motion:
        """`motion` made from speech as strong as it should be, with idle motion and mood.

        start, before: for a piece of a longer one, as in `add_idle`; `before` as it was made from speech
        """
        alive = add_idle(
            self.scale(motion),
            seed=self.seed,
            blink_rate=self.blink_rate,
            head_motion=self.head_motion,
            start=start,
            before=None if before is None else self.scale(before),
        )
        return add_mood(alive, self.mood, start=start)


def _check_scale(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and 0 <= float(value) <= 2):  # not so for NaN either
        raise ValueError(f"{name} must be a number from 0 to 2, not {value!r:.40}")
