"""Controls that change over time: one value, or keyframes joined by straight lines.

    1.2                              all the time
    [(0.0, 1.0), (2.5, 1.4)]         from 1 to 1.4 in two and a half seconds, then 1.4

Times are seconds from the beginning of the speech. Before the first keyframe its value holds, after the last one its.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = float | Sequence[tuple[float, float]]  # a number, or keyframes (seconds, number)
Read = Callable[[Any], Sequence[float]]  # what a value stands for, as D numbers; raises ValueError


class Keyframes(NamedTuple):
    """A control with its times: values of D numbers each.

    seconds: [K] rising, at least one
    values:  [K, D]
    """

    seconds: NDArray[np.float64]
    values: NDArray[np.float64]

    def at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values [T, D] at times [T]."""
        columns = [np.interp(seconds, self.seconds, column) for column in self.values.T]
        return np.stack(columns, axis=1)


def keyframes(name: str, control: Any, read: Read) -> Keyframes:
    """The keyframes of `control`: a value that `read` understands, or pairs (seconds, value) of such values.

    Raises ValueError, which calls the control `name`, for times that are not finite or do not rise, and for values
    that `read` refuses.
    """
    if not _holds_pairs(control):
        return Keyframes(np.zeros(1), np.array([read(control)], np.float64))
    times: list[float] = []
    values: list[Sequence[float]] = []
    for row in control:
        if not _is_row(row) or len(row) != 2:
            raise ValueError(f"{name}: a keyframe must be (seconds, value), not {row!r:.60}")
        seconds, value = row
        if not _is_number(seconds) or not math.isfinite(seconds):
            raise ValueError(f"{name}: the time of a keyframe must be in seconds, not {seconds!r:.40}")
        if times and seconds <= times[-1]:
            raise ValueError(f"{name}: the times of keyframes must rise, but {seconds:g} follows {times[-1]:g}")
        times.append(float(seconds))
        values.append(read(value))
    return Keyframes(np.array(times), np.array(values, np.float64))


def curve(name: str, control: Any, least: float, most: float) -> Keyframes:
    """The keyframes of a Curve whose numbers lie in `least` to `most`. Raises ValueError."""

    def read(value: Any) -> Sequence[float]:
        if not _is_number(value) or not least <= float(value) <= most:  # not so for NaN either
            wanted = f"a number from {least:g} to {most:g}, or keyframes [(seconds, number), …]"
            raise ValueError(f"{name} must be {wanted}, not {value!r:.60}")
        return (float(value),)

    return keyframes(name, control, read)


def frame_times(start: int, frames: int, fps: float) -> NDArray[np.float64]:
    """Seconds [frames] at which the frames from number `start` on are shown."""
    return np.asarray((start + np.arange(frames)) / fps)


def _holds_pairs(control: Any) -> bool:
    return _is_row(control) and any(_is_row(row) for row in control)


def _is_row(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
