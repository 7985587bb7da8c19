"""What is not heard: blinks and the head's movement, over several seeds; and whether long speech drifts.

There is no truth to compare these with: figures of people stand beside them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..audio import SAMPLE_RATE
from ..blendshapes import INDEX
from ..motion.articulation import lip_gap
from ..pipeline import TalkingHead
from ..types import Array, Motion, Speech
from .intervals import NAN, Track, correlation

BLINK = 0.5  # eyeBlink above its median that is a blink
FOOT = 0.1  # share of its height at which a blink begins and ends
LEAST_GAP = 0.01  # centimetres; of lips that open less, differences are taken as shares of it
MINUTE = 60 * SAMPLE_RATE  # samples
SETTLING = 2.0  # seconds after the start that are not compared: only the first minute begins at rest
ANGLES = ("pitch", "yaw", "roll")


@dataclass(frozen=True)
class Dynamics:
    """What a face did in the same speech with several seeds.

    minutes:   watched with each seed
    blinks:    [seeds] how many were seen
    durations: [n] of all of those, seconds
    angles:    [seeds, 3] standard deviations of pitch, yaw and roll, degrees
    speeds:    [seeds, 3] standard deviations of their change, degrees a second
    alike:     correlation of the head's movement between two seeds, mean of all pairs and angles
    lips:      largest difference of the lips' gap between two seeds, as a share of its 95th percentile
    """

    minutes: float
    blinks: Track
    durations: Track
    angles: Track
    speeds: Track
    alike: float
    lips: float


def dynamics(head: TalkingHead, sounds: Sequence[Array], seeds: int) -> Dynamics:
    """Let `head` move to `sounds` one after the other, one to three minutes of them, with `seeds` seeds."""
    sound = np.concatenate(sounds)[: 3 * MINUTE]
    speech = Speech(np.resize(sound, max(len(sound), MINUTE)))
    return compare_seeds([head.motion(speech, seed=seed) for seed in range(seeds)])


def compare_seeds(motions: Sequence[Motion]) -> Dynamics:
    """What differs between the motions made for the same speech with different seeds, and what does not."""
    durations = [blink_durations(blinking(motion), motion.fps) for motion in motions]
    moved = np.array([head_movement(motion.rotation, motion.fps) for motion in motions])
    gaps = np.array([lip_gap(motion.expression) for motion in motions])
    pairs = [
        correlation(a.rotation[:, axis].astype(np.float64), b.rotation[:, axis].astype(np.float64))
        for a, b in combinations(motions, 2)
        for axis in range(3)
    ]
    known = [r for r in pairs if np.isfinite(r)]
    return Dynamics(
        minutes=motions[0].duration / 60,
        blinks=np.array([len(found) for found in durations], np.float64),
        durations=np.concatenate(durations),
        angles=moved[:, 0],
        speeds=moved[:, 1],
        alike=float(np.mean(known)) if known else NAN,
        lips=float(np.abs(gaps - gaps[0]).max() / max(float(np.percentile(gaps[0], 95)), LEAST_GAP)),
    )


def head_movement(rotation: Array, fps: float) -> tuple[Track, Track]:
    """Standard deviations of pitch, yaw and roll in degrees, and of their change in degrees a second."""
    degrees = np.degrees(rotation.astype(np.float64))
    return degrees.std(axis=0), (np.diff(degrees, axis=0) * fps).std(axis=0)


def blinking(motion: Motion) -> Track:
    """How far both eyes are shut [T], beyond how they mostly are."""
    shut = motion.expression[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].mean(axis=1).astype(np.float64)
    return np.asarray(shut - np.median(shut))


def blink_durations(shut: Track, fps: float) -> Track:
    """Seconds of each blink in `shut` [T], from where it rises above a tenth of its height to where it falls below.

    A blink that has begun before the first frame or ends after the last is left out.
    """
    above = np.concatenate([[False], shut > BLINK, [False]]).astype(int)
    durations = []
    for start, end in zip(np.flatnonzero(np.diff(above) > 0), np.flatnonzero(np.diff(above) < 0), strict=True):
        foot = FOOT * float(shut[start:end].max())
        before, after = np.flatnonzero(shut[:start] < foot), np.flatnonzero(shut[end:] < foot)
        if len(before) and len(after):
            first, last = before[-1], end + after[0]
            late = _past(shut[first], shut[first + 1], foot)
            early = _past(shut[last], shut[last - 1], foot)
            durations.append(last - first - late - early)
    return np.array(durations, np.float64) / fps


def _past(low: float, high: float, level: float) -> float:
    """The share of the way from `low` to `high` at which `level` is reached."""
    return (level - low) / (high - low) if high > low else 0.0


@dataclass(frozen=True)
class Endurance:
    """A long run of one minute of speech repeated.

    first, last:  gap mean, SD and speed (SD of its change per frame) in centimetres, and SD of the pitch in degrees, in
        the first minute and the last
    hearing, moving: processor seconds for all of it, of log-mel and encoder, and of the generator
    one_minute:   processor seconds for one minute
    """

    minutes: int
    first: dict[str, float]
    last: dict[str, float]
    hearing: float
    moving: float
    one_minute: float

    @property
    def growth(self) -> float:
        """Processor time per minute of the long run, over that of a run of one minute."""
        return (self.hearing + self.moving) / (self.minutes * self.one_minute)

    @property
    def times_real_time(self) -> float:
        """Seconds of speech per processor second."""
        return 60 * self.minutes / (self.hearing + self.moving)


def endurance(head: TalkingHead, sounds: Sequence[Array], minutes: int) -> Endurance:
    """Let `head` move to `sounds`, repeated to fill minutes that are all the same, on one thread."""
    minute = np.resize(np.concatenate(sounds)[:MINUTE], MINUTE)
    with one_thread():
        _timed(head, minute)  # what is done once, such as compiling, is not counted
        _, hearing, moving = _timed(head, minute)
        motion, *spent = _timed(head, np.tile(minute, minutes))
    frames = round(60 * motion.fps)
    settled = round(SETTLING * motion.fps)
    first = motion[settled:frames]
    last = motion[(minutes - 1) * frames + settled : minutes * frames]
    return Endurance(minutes, _figures(first), _figures(last), spent[0], spent[1], hearing + moving)


def _timed(head: TalkingHead, samples: Array) -> tuple[Motion, float, float]:
    """The motion of `samples`, and the processor seconds of hearing and moving."""
    begun = time.process_time()
    features = head.audio_encoder(Speech(samples))
    heard = time.process_time()
    motion = head.motion_generator(features)
    return motion, heard - begun, time.process_time() - heard


def _figures(motion: Motion) -> dict[str, float]:
    gap = lip_gap(motion.expression)
    return {
        "gap mean, cm": float(gap.mean()),
        "gap SD, cm": float(gap.std()),
        "gap speed SD, cm a frame": float(np.diff(gap).std()),
        "pitch SD, degrees": float(np.degrees(motion.rotation[:, 0]).std()),
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and its libraries use one thread."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
