"""How something is to be said, beside what: the options of `TalkingHead.speak`, checked together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, TypedDict

import numpy as np

from ..blendshapes import MOUTH
from ..types import Array, Motion
from .curves import Curve, curve, frame_times
from .gaze import Gaze, add_eye_open, add_gaze, eye_open_keyframes, gaze_keyframes
from .idle import BLINKS_PER_MINUTE, add_idle, check_blink_rate
from .mood import Mood, add_mood, mood_keyframes, row_gap, with_gap
from .style import StyleChoice, articulation_keyframes, strengths, style_keyframes


class Options(TypedDict, total=False):
    """The options of `TalkingHead.speak` and `motion`, which all may be left out. `Controls` says what they do."""

    seed: int
    expression_scale: float
    mouth_scale: float
    head_motion: float
    style: StyleChoice
    articulation: Curve
    lip_open: Curve
    mood: Mood
    blink_rate: float
    eye_open: Curve
    gaze: Gaze


@dataclass(frozen=True)
class Controls:
    """How a face speaks.

    seed:             of blinks, gaze and head motion
    expression_scale: how strongly the whole face moves with speech: 0 to 2, 1 as heard
    mouth_scale:      how strongly jaw, lips and cheeks do, times that: 0 to 2
    head_motion:      how strongly the head moves: 0 to 2
    style:            how jaw and lips speak: neutral, casual, mumble, whisper, enunciate or shout; or a
                      Style(jaw, lips)
    articulation:     how strongly they do: 0.4 to 1.6, times what `style` says
    lip_open:         how far the lips part, as a ratio of what speech does: 0 to 2. Lips that shut still do
    mood:             neutral, calm, happy, sad, angry, surprised, fearful or disgusted; or strengths 0 to 1, as in
                      {"happy": 0.6, "surprised": 0.2}
    blink_rate:       blinks a minute at rest: 0 to 60; speech adds some
    eye_open:         how far the eyes are open, as a ratio of what the portrait shows: 0 to 1.4. Blinks still shut
    gaze:             where the eyes look: degrees (right, up) in the picture, at most (±30, ±25); "camera" keeps them
                      on the viewer while the head turns; None lets them wander about

    Style, articulation, lip_open, mood, eye_open and gaze may change with time: [(0.0, "neutral"), (2.5, "shout")],
    seconds from the start.

    Raises ValueError for one that is not in its range.
    """

    seed: int = 0
    expression_scale: float = 1.0
    mouth_scale: float = 1.0
    head_motion: float = 1.0
    style: StyleChoice = "neutral"
    articulation: Curve = 1.0
    lip_open: Curve = 1.0
    mood: Mood = None
    blink_rate: float = BLINKS_PER_MINUTE
    eye_open: Curve = 1.0
    gaze: Gaze = None

    def __post_init__(self) -> None:
        if not isinstance(self.seed, Integral) or int(self.seed) < 0:
            raise ValueError(f"seed must be a whole number, 0 or more, not {self.seed!r:.40}")
        _check_scale("expression_scale", self.expression_scale)
        _check_scale("mouth_scale", self.mouth_scale)
        _check_scale("head_motion", self.head_motion)
        style_keyframes(self.style)
        articulation_keyframes(self.articulation)
        curve("lip_open", self.lip_open, 0, 2)
        mood_keyframes(self.mood)
        check_blink_rate(self.blink_rate)
        eye_open_keyframes(self.eye_open)
        if self.gaze is not None:
            gaze_keyframes(self.gaze)

    def strengths(self, frames: int, *, fps: float = 25.0, start: int = 0) -> Array | None:
        """How strongly jaw and lips move, [frames, 2], from frame number `start` on; None if all is neutral."""
        return strengths(self.style, self.articulation, frames, fps=fps, start=start)

    def scale(self, motion: Motion) -> Motion:
        """`motion` with its expression and its pose as strong as they should be."""
        if self.expression_scale == self.mouth_scale == self.head_motion == 1:
            return motion
        expression = motion.expression
        if self.expression_scale != 1 or self.mouth_scale != 1:
            scales = np.full(expression.shape[1], self.expression_scale, np.float32)
            scales[list(MOUTH)] *= np.float32(self.mouth_scale)
            expression = np.clip(expression * scales, 0, 1)
        head = np.float32(self.head_motion)
        return Motion(expression, motion.rotation * head, motion.translation * head, motion.fps, motion.state)

    def articulate(self, motion: Motion, *, start: int = 0) -> Motion:
        """`motion` made from speech as strong as it should be, its lips parting as far as they should."""
        motion, opening = self.scale(motion), curve("lip_open", self.lip_open, 0, 2)
        if (opening.values == 1).all():
            return motion
        spoken = motion.expression.astype(np.float64)
        ratio = opening.at(frame_times(start, len(motion), motion.fps))[:, 0]
        return replace(motion, expression=with_gap(spoken, row_gap(spoken) * ratio).astype(np.float32))

    def enliven(self, motion: Motion, *, start: int = 0, before: Motion | None = None) -> Motion:
        """`motion` made from speech as strong as it should be, with idle motion, mood, and eyes that look at a place.

        start, before: for a piece of a longer one, as in `add_idle`; `before` as it was made from speech
        """
        earlier = 0 if before is None else start - len(before)
        alive = add_idle(
            self.articulate(motion, start=start),
            seed=self.seed,
            blink_rate=self.blink_rate,
            head_motion=self.head_motion,
            start=start,
            before=None if before is None else self.articulate(before, start=earlier),
        )
        alive = add_mood(alive, self.mood, start=start)
        return add_eye_open(add_gaze(alive, self.gaze, start=start), self.eye_open, start=start)


def _check_scale(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and 0 <= float(value) <= 2):  # not so for NaN either
        raise ValueError(f"{name} must be a number from 0 to 2, not {value!r:.40}")
