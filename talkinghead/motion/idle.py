"""What a face does besides speaking: blinks, glances, small movements of head and brows.

These are seeded random processes of their own, so they go on in silence and never regress to a mean. All are
functions of absolute time: the motion of pieces is the motion of the whole, however it is cut.

Head figures follow the slow part of what a tracker saw on 16 clips of talking people (standard deviations of 3 to 5
degrees, median frequency 0.2 to 0.8 Hz), made calmer by eye. Blinks are as many as Bentivoglio et al. (Analysis of
blink rate patterns in normal subjects, 1997) counted at rest, 17 a minute; they saw 26 in conversation. The other
figures are our choice, by eye.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ..blendshapes import INDEX
from ..types import Motion

Track = NDArray[np.float64]

# Streams of random numbers, so that a change of one process leaves the others as they are.
_BLINKS, _GLANCES, _HEAD, _BROWS = range(4)

BLINKS_PER_MINUTE = 17.0
REFRACTORY = 0.6  # seconds from one blink to the next, at least, but for double blinks
DOUBLE_BLINKS = 0.1  # share of blinks that are followed by another at once
DOUBLE_AFTER = 0.4  # seconds
BLINK_SECONDS = (0.14, 0.30)
BLINK_DEPTH = (0.88, 1.0)
CLOSING, CLOSED = 0.30, 0.28  # shares of a blink; the lids open in the rest, more slowly than they shut

GLANCES_PER_SECOND = 0.8
GLANCE_SECONDS = 0.05
GAZE = (0.07, 0.04)  # standard deviation left-right and up-down, in blendshape weights (1 is about 30 degrees)
AVERSIONS = 0.12  # share of glances that go away from the viewer, three times as far

HEAD_DEGREES = (1.5, 2.2, 1.2)  # standard deviation of pitch, yaw, roll
HEAD_SHIFT = (0.008, 0.005, 0.008)  # standard deviation of x, y, z in face heights
HEAD_NOISE = ((1.2, 0.3), (0.25, 0.7))  # seconds between random poses, and share of the variance
BROWS = 0.05  # standard deviation of the brows' weights
BROW_NOISE = ((0.9, 1.0),)
EASE_IN = 1.0  # seconds in which head, gaze and brows leave the pose of the portrait

_BLOCK = 64  # random numbers drawn from one seed
_SPLINE_VARIANCE = 151 / 315  # of a cubic B-spline through independent numbers of variance 1


def add_idle(
    motion: Motion,
    *,
    seed: int,
    blink_rate: float = BLINKS_PER_MINUTE,
    head_motion: float = 1.0,
    start: int = 0,
) -> Motion:
    """`motion` with blinks, glances, and small movements of head and brows added.

    seed:        the same seed gives the same idle motion
    blink_rate:  blinks a minute; 0 for none, at most 60
    head_motion: scales the head's movement; 0 for none
    start:       index of the first frame, when `motion` is a piece of a longer one

    Eyes that are shut or turned already stay so: a blink adds what is missing, a glance turns them further.
    """
    if not 0 <= blink_rate <= 60:
        raise ValueError(f"blink_rate must be 0 to 60 a minute, not {blink_rate!r}")
    if not (math.isfinite(head_motion) and head_motion >= 0):
        raise ValueError(f"head_motion must be 0 or more, not {head_motion!r}")
    if start < 0 or seed < 0:
        raise ValueError(f"start and seed must be 0 or more, not {start!r} and {seed!r}")
    times = (start + np.arange(len(motion))) / motion.fps
    ease = _smoothstep(times / EASE_IN)
    expression = motion.expression.astype(np.float64)
    _add_brows(expression, ease, times, seed)
    _add_glances(expression, ease, times, seed)
    _add_blinks(expression, times, seed, blink_rate)
    head = np.stack([_noise(times, (seed, _HEAD, axis), HEAD_NOISE) for axis in range(6)], axis=1)
    head *= head_motion * ease[:, None]
    return replace(
        motion,
        expression=expression.astype(np.float32),
        rotation=(motion.rotation + head[:, :3] * np.radians(HEAD_DEGREES)).astype(np.float32),
        translation=(motion.translation + head[:, 3:] * HEAD_SHIFT).astype(np.float32),
    )


def blinks(seed: int, rate: float, until: float) -> Track:
    """Blinks that begin before `until` seconds: [n, 3] begin and duration in seconds, depth 0 to 1.

    A renewal process: the time to the next blink depends on nothing before the last one. Its intervals are a dead
    time and a gamma distribution, skewed like people's; some blinks come in twos.
    """
    if not rate:
        return np.zeros((0, 3))
    rng = default_rng((seed, _BLINKS))
    mean = 60 / rate * (1 + DOUBLE_BLINKS)
    dead = min(REFRACTORY, 0.5 * mean)
    found: list[Track] = []
    last = 0.0
    while last < until:  # blocks of a fixed size, drawn one after another, so that `until` changes none of them
        begins = last + np.cumsum(dead + rng.gamma(2.0, (mean - dead) / 2, _BLOCK))
        last = begins[-1]
        double = rng.random(_BLOCK) < DOUBLE_BLINKS
        begins = np.concatenate([begins, begins[double] + DOUBLE_AFTER])
        # Drawn for both blinks of every pair, whether or not there are two.
        durations, depths = rng.uniform(*BLINK_SECONDS, 2 * _BLOCK), rng.uniform(*BLINK_DEPTH, 2 * _BLOCK)
        found.append(np.stack([begins, durations[: len(begins)], depths[: len(begins)]], axis=1))
    every = np.concatenate(found)
    every = every[np.argsort(every[:, 0])]
    return every[every[:, 0] < until]


def _add_blinks(expression: Track, times: Track, seed: int, rate: float) -> None:
    """Shut both eyes, one a trace further than the other, by what blinks lack of being shut already."""
    if not len(times):
        return
    shut = np.zeros(len(times))
    for begin, duration, depth in blinks(seed, rate, float(times[-1]) + 1e-9):
        if begin + duration < times[0]:
            continue
        phase = (times - begin) / duration
        rise = _smoothstep(phase / CLOSING)
        fall = _smoothstep((phase - CLOSING - CLOSED) / (1 - CLOSING - CLOSED))
        shut = np.maximum(shut, depth * (rise - fall))
    for name, share in (("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 0.97)):
        column = expression[:, INDEX[name]]
        column += np.clip(1 - column, 0, 1) * share * shut


def _add_glances(expression: Track, ease: Track, times: Track, seed: int) -> None:
    """Turn both eyes together, in jumps from one point to the next."""
    across, up = _gaze(times, seed) * ease
    _turn(expression, "eyeLookOutLeft", "eyeLookInLeft", across)
    _turn(expression, "eyeLookInRight", "eyeLookOutRight", across)
    _turn(expression, "eyeLookUpLeft", "eyeLookDownLeft", up)
    _turn(expression, "eyeLookUpRight", "eyeLookDownRight", up)


def _turn(expression: Track, towards: str, away: str, amount: Track) -> None:
    turned = expression[:, INDEX[towards]] - expression[:, INDEX[away]] + amount
    expression[:, INDEX[towards]] = np.clip(turned, 0, 1)
    expression[:, INDEX[away]] = np.clip(-turned, 0, 1)


def _gaze(times: Track, seed: int) -> Track:
    """Where the eyes look at `times`: [2, T] to the face's left and up, in blendshape weights."""
    if not len(times):
        return np.zeros((2, 0))
    rng = default_rng((seed, _GLANCES))
    begins, targets = np.zeros(1), np.zeros((1, 2))
    while begins[-1] <= times[-1]:
        steps = 0.2 + rng.gamma(1.5, (1 / GLANCES_PER_SECOND - 0.2) / 1.5, _BLOCK)
        begins = np.concatenate([begins, begins[-1] + np.cumsum(steps)])
        reach = np.where(rng.random(_BLOCK) < AVERSIONS, 3.0, 1.0)
        targets = np.concatenate([targets, rng.standard_normal((_BLOCK, 2)) * GAZE * reach[:, None]])
    now = np.searchsorted(begins, times, side="right") - 1
    before = np.maximum(now - 1, 0)
    moved = _smoothstep((times - begins[now]) / GLANCE_SECONDS)[:, None]
    return np.asarray((targets[before] + moved * (targets[now] - targets[before])).T)


def _add_brows(expression: Track, ease: Track, times: Track, seed: int) -> None:
    """Raise and lower the brows a little, both together and the outer ends less."""
    raised = BROWS * ease * _noise(times, (seed, _BROWS), BROW_NOISE)
    for name, share in (("browInnerUp", 1.0), ("browOuterUpLeft", 0.6), ("browOuterUpRight", 0.6)):
        expression[:, INDEX[name]] = np.clip(expression[:, INDEX[name]] + share * np.maximum(raised, 0), 0, 1)
    for name in ("browDownLeft", "browDownRight"):
        expression[:, INDEX[name]] = np.clip(expression[:, INDEX[name]] + 0.5 * np.maximum(-raised, 0), 0, 1)


def _noise(times: Track, seed: tuple[int, ...], octaves: tuple[tuple[float, float], ...]) -> Track:
    """Smooth noise of variance 1 at `times`: per octave, random numbers at equal steps, joined by a cubic B-spline.

    octaves: seconds between the numbers, and share of the variance
    """
    total = np.zeros(len(times))
    for octave, (step, share) in enumerate(octaves):
        position = times / step
        knot = np.floor(position).astype(np.int64)
        u = position - knot
        weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
        values = _numbers((*seed, octave), int(knot[0]), int(knot[-1]) + 4) if len(knot) else np.zeros(0)
        spline = (
            sum(weight * values[knot - knot[0] + index] for index, weight in enumerate(weights)) if len(knot) else 0
        )
        total += math.sqrt(share / _SPLINE_VARIANCE) * spline / 6
    return total


def _numbers(seed: tuple[int, ...], first: int, last: int) -> Track:
    """The normal random numbers `first` to `last` of an endless sequence that can be entered anywhere."""
    blocks = range(first // _BLOCK, (last - 1) // _BLOCK + 1)
    drawn = [_block(seed, block).standard_normal(_BLOCK) for block in blocks]
    offset = blocks.start * _BLOCK
    numbers: Track = np.concatenate(drawn)
    return numbers[first - offset : last - offset]


def _block(seed: tuple[int, ...], block: int) -> Generator:
    return default_rng((*seed, block))


def _smoothstep(x: Track) -> Track:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))
