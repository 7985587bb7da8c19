"""Where the eyes look, and how wide they are open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import INDEX
from ..types import Motion
from .curves import Curve, Keyframes, curve, frame_times, keyframes

Direction = Literal["camera"] | tuple[float, float]
Gaze = Direction | Sequence[tuple[float, Direction]] | None

# How far eyes turn at eyeLook = 1, in degrees: as the face model was built, but for looking up, which reaches 25.
TURN = 30.0
UP = 25.0
STEADY = 0.25  # of the glances that are left to eyes with a place to look at
WIDE = 0.42  # of its opening that eyeWide = 1 adds to the eye of the face model
WIDEST = 1.4


def gaze_keyframes(gaze: Any) -> Keyframes:
    """What `gaze` means over time: degrees to the picture's right and up, and whether they are from the camera.

    Raises ValueError.
    """
    return keyframes("gaze", gaze, _read)


def parse_gaze(text: str) -> Direction | None:
    """The gaze written as "wander", "camera" or "10,-5". Raises ValueError."""
    if text in ("wander", "camera"):
        return "camera" if text == "camera" else None
    try:
        right, up = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"gaze must be wander, camera, or degrees right,up such as 10,-5, not {text!r:.60}") from None
    return right, up


def eye_open_keyframes(eye_open: Any) -> Keyframes:
    """The values of `eye_open` over time. Raises ValueError."""
    return curve("eye_open", eye_open, 0, WIDEST)


def add_gaze(motion: Motion, gaze: Gaze, *, start: int = 0) -> Motion:
    """`motion` of a face whose eyes look to `gaze`, with a trace of the glances that they had.

    gaze:  (x, y) in degrees from straight ahead, x to the picture's right, y up; "camera" keeps them on the viewer
           while the head turns; keyframes [(seconds, one of these), …]; None changes nothing
    start: number of the first frame, when `motion` is a piece of a longer one

    Raises ValueError.
    """
    if gaze is None:
        return motion
    right, up, camera = gaze_keyframes(gaze).at(frame_times(start, len(motion), motion.fps)).T
    pitch, yaw, _ = np.degrees(motion.rotation.astype(np.float64)).T  # positive ones look down and to the left
    right, up = right + camera * yaw, up + camera * pitch
    expression = motion.expression.astype(np.float64)
    for side, nasal, temporal in (("Left", "In", "Out"), ("Right", "Out", "In")):
        _turn(expression, f"eyeLook{temporal}{side}", f"eyeLook{nasal}{side}", right / TURN, right / TURN)
        _turn(expression, f"eyeLookUp{side}", f"eyeLookDown{side}", up / UP, up / TURN)
    return replace(motion, expression=expression.astype(np.float32))


def add_eye_open(motion: Motion, eye_open: Curve, *, start: int = 0) -> Motion:
    """`motion` with eyes open by so much: 0 shut, 1 as the portrait has them. Blinks still shut them.

    Above 1 the ratio is that of an average eye: the wider an eye is already, the less it gains. At most 1.4.

    Raises ValueError.
    """
    values = eye_open_keyframes(eye_open)
    if (values.values == 1).all():
        return motion
    opened = values.at(frame_times(start, len(motion), motion.fps))[:, 0]
    expression = motion.expression.astype(np.float64)
    for side in ("Left", "Right"):
        blink, wide = INDEX[f"eyeBlink{side}"], INDEX[f"eyeWide{side}"]
        expression[:, wide] = np.clip(expression[:, wide] + np.maximum(opened - 1, 0) / WIDE, 0, 1)
        expression[:, blink] = 1 - np.minimum(opened, 1) * (1 - np.clip(expression[:, blink], 0, 1))
    return replace(motion, expression=expression.astype(np.float32))


def _turn(
    expression: NDArray[np.float64],
    towards: str,
    away: str,
    forth: NDArray[np.float64],
    back: NDArray[np.float64],
) -> None:
    """Set two opposite eyeLook weights [T]: to `forth` where it is above 0, else to minus `back`."""
    glance = STEADY * (expression[:, INDEX[towards]] - expression[:, INDEX[away]])
    expression[:, INDEX[towards]] = np.clip(forth + glance, 0, 1)
    expression[:, INDEX[away]] = np.clip(-back - glance, 0, 1)


def _read(gaze: Any) -> tuple[float, float, float]:
    if isinstance(gaze, str) and gaze == "camera":
        return 0.0, 0.0, 1.0
    wanted = f'"camera", or degrees (right, up) of at most ±{TURN:g} and ±{UP:g}'
    if isinstance(gaze, str) or not isinstance(gaze, Sequence | np.ndarray) or len(gaze) != 2:
        raise ValueError(f"gaze must be {wanted}, not {gaze!r:.60}")
    for value, most in zip(gaze, (TURN, UP), strict=True):
        if not isinstance(value, Real) or not math.fabs(float(value)) <= most:  # not so for NaN either
            raise ValueError(f"gaze must be {wanted}, not {gaze!r:.60}")
    return float(gaze[0]), float(gaze[1]), 0.0
