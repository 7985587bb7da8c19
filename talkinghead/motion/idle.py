"""What a face does besides speaking: blinks, glances, movements of head and brows.

These are seeded random processes, so they go on in silence and never regress to a mean. All are functions of absolute
time, and of at most one second of speech before a frame: the motion of pieces is the motion of the whole, however it
is cut. Speech leads some of them:

    accents       the nods on loud syllables grow, shrink and turn aside, differently for each seed, and so do the
                  brows' rises on high ones: heads move with loudness and pitch (Munhall et al., "Visual prosody and
                  speech intelligibility", 2004), yet nobody moves alike twice
    phrase ends   some are followed by a blink (Nakano and Kitazawa, "Eyeblink entrainment at breakpoints of speech",
                  2010)

Head figures follow the slow part of what a tracker saw on 16 clips of talking people (standard deviations of 3.8, 4.7
and 3.3 degrees of pitch, yaw and roll, median frequency 0.2 to 0.8 Hz), at two thirds of their size: one photo shows
no sides of a head. Blinks at rest are about as many as Bentivoglio et al. (Analysis of blink rate patterns in normal
subjects, 1997) counted, 17 a minute; they saw 26 in conversation. The other figures are our choice, by eye.
"""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ..blendshapes import INDEX
from ..types import Array, Motion
from .articulation import lip_gap
from .curves import frame_times

Track = NDArray[np.float64]

# Streams of random numbers, so that a change of one process leaves the others as they are.
_BLINKS, _GLANCES, _HEAD, _BROWS, _ACCENTS, _RISES, _PHRASES = range(7)

BLINKS_PER_MINUTE = 15.0  # at rest; phrase ends add to them
REFRACTORY = 0.6  # seconds from one blink to the next, at least, but for double blinks
DOUBLE_BLINKS = 0.1  # share of blinks that are followed by another at once
DOUBLE_AFTER = 0.4  # seconds
BLINK_SECONDS = (0.14, 0.30)
BLINK_DEPTH = (0.88, 1.0)
CLOSING, CLOSED = 0.30, 0.28  # shares of a blink; the lids open in the rest, more slowly than they shut

PHRASE_BLINKS = 0.45  # share of phrase ends that are followed by a blink
PHRASE = 0.6  # seconds in which lips have spoken and come to rest, at a phrase end
SETTLED = 0.20  # seconds of rest at the end of these: longer than lips are shut for p, b and m
SHUT, PARTED = 0.03, 0.15  # centimetres between lips at rest, at most, and between those that speak, at some time
PHRASE_BLINK_DELAY = 0.08  # seconds from the phrase end to the blink, at most
APART = 0.7  # seconds from such a blink to any other, at least
LOOK_BACK = 1.0  # seconds of speech that decide about a frame: PHRASE, the delay, and the longest blink

GLANCES_PER_SECOND = 0.8
GLANCE_SECONDS = 0.05
GAZE = (0.07, 0.04)  # standard deviation left-right and up-down, in blendshape weights (1 is about 30 degrees)
AVERSIONS = 0.12  # share of glances that go away from the viewer, three times as far

HEAD_DEGREES = (2.5, 3.3, 2.3)  # standard deviation of pitch, yaw, roll, before their tails are cut
HEAD_TAIL = 3.0  # standard deviations that the head's noise never exceeds
HEAD_SHIFT = (0.008, 0.005, 0.008)  # standard deviation of x, y, z in face heights
HEAD_NOISE = ((0.6, 0.6), (0.3, 0.4))  # seconds between random poses, and share of the variance
ACCENTS = ((1.5, 0.8), (0.0, 1.2), (0.0, 0.8))  # mean and deviation of what a nod adds to pitch, yaw, roll
NOD = math.radians(3.0)  # the largest that counts as one: a head that looks down is not turned aside for it
RISES = (1.4, 0.6)  # the same of what a rise of the brows is multiplied by
ACCENT_NOISE = ((1.8, 1.0),)  # so slow that one accent is one movement, and the next another
ACCENT_TAIL = 2.0
BROWS = 0.05  # standard deviation of the brows' weights
BROW_NOISE = ((0.9, 1.0),)
BROWS_UP = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")
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
    before: Motion | None = None,
) -> Motion:
    """`motion` made from speech, with blinks, glances, and movements of head and brows added.

    seed:        the same seed gives the same idle motion
    blink_rate:  blinks a minute at rest; 0 for none, at most 60. Ends of phrases add some, in proportion
    head_motion: scales the head's own movement; 0 for none. Nods in `motion` should be scaled already
    start:       number of the first frame, when `motion` is a piece of a longer one
    before:      what came just before that piece, without idle motion; LOOK_BACK seconds of it, or all there is, make
                 pieces the same as the whole. None stands for silence

    Eyes that are shut or turned already stay so: a blink adds what is missing, a glance turns them further.

    Raises ValueError.
    """
    check_blink_rate(blink_rate)
    if not (math.isfinite(head_motion) and head_motion >= 0):
        raise ValueError(f"head_motion must be 0 or more, not {head_motion!r}")
    if start < 0 or seed < 0:
        raise ValueError(f"start and seed must be 0 or more, not {start!r} and {seed!r}")
    if before is not None and (before.fps != motion.fps or len(before) > start):
        raise ValueError(f"before must have the frame rate of the motion, and at most the {start} frames before it")
    times = frame_times(start, len(motion), motion.fps)
    ease = _smoothstep(times / EASE_IN)
    expression = motion.expression.astype(np.float64)
    _add_brows(expression, ease, times, seed)
    _add_glances(expression, ease, times, seed)
    at_rest = blinks(seed, blink_rate, start / motion.fps + motion.duration + APART)
    at_ends = phrase_blinks(motion, before, at_rest, seed, blink_rate, start)
    _add_blinks(expression, times, np.concatenate([at_rest, at_ends]))
    head = np.stack([_noise(times, (seed, _HEAD, axis), HEAD_NOISE, HEAD_TAIL) for axis in range(6)], axis=1)
    head *= head_motion * ease[:, None]
    turned = head[:, :3] * np.radians(HEAD_DEGREES) + ease[:, None] * _accents(motion.rotation, times, seed)
    return replace(
        motion,
        expression=expression.astype(np.float32),
        rotation=(motion.rotation + turned).astype(np.float32),
        translation=(motion.translation + head[:, 3:] * HEAD_SHIFT).astype(np.float32),
    )


def check_blink_rate(blink_rate: Any) -> None:
    """Raise ValueError unless `blink_rate` is a number of blinks a minute that a face can do."""
    if not (isinstance(blink_rate, Real) and 0 <= float(blink_rate) <= 60):  # not so for NaN either
        raise ValueError(f"blink_rate must be a number from 0 to 60 a minute, not {blink_rate!r:.40}")


def phrase_ends(expression: Array, fps: float) -> NDArray[np.intp]:
    """Frames at which lips come to rest after a phrase, [n], in what weights [T, 52] say; rest is before the first.

    Whether a frame is one is decided by the PHRASE seconds up to it: the lips have been shut for SETTLED seconds, and
    in all the time before they moved, with no such rest. The jaw may be on its way to the next sound already.
    """
    phrase, settled = round(PHRASE * fps), max(1, round(SETTLED * fps))
    gap = np.pad(lip_gap(expression), (phrase, 0))
    resting = _held(gap < SHUT, settled)
    rested_before = np.concatenate([[True], _any(resting, phrase - settled)[:-1]])
    spoke = np.concatenate([np.zeros(settled, bool), _any(gap > PARTED, phrase - settled)[:-settled]])
    return np.flatnonzero((resting & ~rested_before & spoke)[phrase:])


def phrase_blinks(motion: Motion, before: Motion | None, at_rest: Track, seed: int, rate: float, start: int) -> Track:
    """Blinks [n, 3], as of `blinks`, after phrase ends in `motion` and shortly before it, where no other is near."""
    probability = min(1.0, PHRASE_BLINKS * rate / BLINKS_PER_MINUTE)
    last = 0 if before is None else min(len(before), math.ceil(LOOK_BACK * motion.fps))
    recent = (
        motion.expression
        if before is None
        else np.concatenate([before.expression[len(before) - last :], motion.expression])
    )
    found = []
    for frame in phrase_ends(recent, motion.fps) + start - last:
        chance, delay, duration, depth = default_rng((seed, _PHRASES, int(frame))).random(4)
        begin = frame / motion.fps + PHRASE_BLINK_DELAY * delay
        if chance < probability and not (np.abs(at_rest[:, 0] - begin) < APART).any():
            found.append((begin, _between(BLINK_SECONDS, duration), _between(BLINK_DEPTH, depth)))
    return np.array(found).reshape(-1, 3)


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


def _add_blinks(expression: Track, times: Track, blinks: Track) -> None:
    """Shut both eyes, one a trace further than the other, by what blinks [n, 3] lack of being shut already."""
    if not len(times):
        return
    shut = np.zeros(len(times))
    seen = (blinks[:, 0] <= times[-1]) & (blinks[:, 0] + blinks[:, 1] >= times[0])
    for begin, duration, depth in blinks[seen]:
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
    """Make the rises that come with speech differ, and move the brows a little, the outer ends less."""
    mean, deviation = RISES
    rise = mean + deviation * _noise(times, (seed, _RISES), ACCENT_NOISE, ACCENT_TAIL)
    raised = BROWS * ease * _noise(times, (seed, _BROWS), BROW_NOISE)
    for name, share in zip(BROWS_UP, (1.0, 0.6, 0.6), strict=True):
        column = expression[:, INDEX[name]] * (1 + ease * (rise - 1)) + share * np.maximum(raised, 0)
        expression[:, INDEX[name]] = np.clip(column, 0, 1)
    for name in ("browDownLeft", "browDownRight"):
        expression[:, INDEX[name]] = np.clip(expression[:, INDEX[name]] + 0.5 * np.maximum(-raised, 0), 0, 1)


def _accents(rotation: Array, times: Track, seed: int) -> Track:
    """What the nods in `rotation` [T, 3] add to it, [T, 3]: strength and direction change from accent to accent."""
    gains = [
        mean + deviation * _noise(times, (seed, _ACCENTS, axis), ACCENT_NOISE, ACCENT_TAIL)
        for axis, (mean, deviation) in enumerate(ACCENTS)
    ]
    nod = np.clip(rotation[:, :1].astype(np.float64), -NOD, NOD)
    return np.asarray(nod * np.stack(gains, axis=1))


def _noise(
    times: Track, seed: tuple[int, ...], octaves: tuple[tuple[float, float], ...], tail: float = math.inf
) -> Track:
    """Smooth noise of variance 1 at `times`: per octave, random numbers at equal steps, joined by a cubic B-spline.

    octaves: seconds between the numbers, and share of the variance
    tail:    what it approaches and never exceeds
    """
    if not len(times):
        return np.zeros(0)
    total = np.zeros(len(times))
    for octave, (step, share) in enumerate(octaves):
        position = times / step
        knot = np.floor(position).astype(np.int64)
        u = position - knot
        weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
        values = _numbers((*seed, octave), int(knot[0]), int(knot[-1]) + 4)
        spline = sum(weight * values[knot - knot[0] + index] for index, weight in enumerate(weights))
        total += math.sqrt(share / _SPLINE_VARIANCE) * spline / 6
    return total if math.isinf(tail) else np.asarray(tail * np.tanh(total / tail))


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


def _held(true: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Whether `true` [T] was so at each of the last `frames` frames, [T]; it was not before the first."""
    return ~_any(~np.pad(true, (frames - 1, 0)), frames)[frames - 1 :]


def _any(true: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Whether `true` [T] was so at any of the last `frames` frames, [T]."""
    seen = np.pad(np.cumsum(true), (frames, 0))
    return np.asarray(seen[frames:] > seen[: len(true)])


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
