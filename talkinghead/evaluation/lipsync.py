"""How well the lips that are made agree with the lips of the person who spoke, on videos of talking people.

Each figure stands beside the same one for a mouth that opens with the loudness, which hears no speech sound at all,
and for our mouth made from the sound of other clips, which moves like speech and says something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..face.geometry import stream_landmarks
from ..face.landmarks import CHIN, LEFT_EYE_CORNERS, LOWER_LIP, MOUTH_CORNERS, RIGHT_EYE_CORNERS, UPPER_LIP
from ..types import Array, Motion, Portrait, Speech
from ..video import Video
from .intervals import Track, correlation, reference_scaled

OUTER_EYES = RIGHT_EYE_CORNERS[0], LEFT_EYE_CORNERS[0]
NOSE_BRIDGE, NOSE_BASE = 168, 2

FPS = 25.0  # at which everything is compared, whatever the frame rate of a video
LOUDNESS_RANGE = 40.0  # decibels below the loudest moment that count as different
SILENCE = 35.0  # decibels below the loudest moment
SETTLED = 0.12  # seconds from the ends of a silence after which the mouth should be shut
SHUT = 0.05  # share of the 95th percentile of a gap, below which lips are closed
LAGS = np.arange(-5, 7)  # frames by which a signal is late: -200 to 240 ms
NOW = int(np.flatnonzero(LAGS == 0)[0])
MEASURES = ("aperture", "width", "jaw")


class Follower(Protocol):
    """Follows a face through a video, as MediaPipeTracker does."""

    def follow(self, video: Video) -> Array:
        """Landmarks [T, 478, 3] in pixels of the face in each frame."""
        ...


class Lips(NamedTuple):
    """What a mouth does, 25 times a second, in distances of the outer corners of the eyes.

    aperture: [T] of the inner lips
    width:    [T] of the corners of the mouth
    jaw:      [T] of the chin from the base of the nose
    """

    aperture: Track
    width: Track
    jaw: Track

    @classmethod
    def of(cls, landmarks: Array, fps: float = FPS) -> Lips:
        """The lips in landmarks [T, 478, 3], whatever their frame rate."""
        tracks = lip_aperture(landmarks), mouth_width(landmarks), jaw_drop(landmarks)
        return cls(*(resampled(track, fps) for track in tracks))

    def cut(self, length: int) -> Lips:
        """The first `length` frames."""
        return Lips(*(track[:length] for track in self))


def lip_aperture(landmarks: Array) -> Track:
    """Distance of the inner lips [T] in distances of the outer corners of the eyes, from landmarks [T, 478, 3].

    Lips that overlap, as moved ones may and real ones cannot, are shut: 0.
    """
    apart = landmarks[:, LOWER_LIP, :2] - landmarks[:, UPPER_LIP, :2]
    down = landmarks[:, CHIN, :2] - landmarks[:, NOSE_BRIDGE, :2]
    gap = np.where((apart * down).sum(axis=1) > 0, np.linalg.norm(apart, axis=1), 0)
    return np.asarray(gap / _distance(landmarks, *OUTER_EYES), np.float64)


def mouth_width(landmarks: Array) -> Track:
    """Distance of the corners of the mouth [T] in distances of the outer corners of the eyes."""
    return np.asarray(_distance(landmarks, *MOUTH_CORNERS) / _distance(landmarks, *OUTER_EYES))


def jaw_drop(landmarks: Array) -> Track:
    """Distance of the chin from the base of the nose [T] in distances of the outer corners of the eyes."""
    return np.asarray(_distance(landmarks, NOSE_BASE, CHIN) / _distance(landmarks, *OUTER_EYES))


def resampled(track: Track, fps: float) -> Track:
    """A track [T] of `fps` frames a second at 25 a second; a frame stands for its middle."""
    frames = round(len(track) * FPS / fps)
    if fps == FPS or not frames:
        return track[:frames]
    return np.interp((np.arange(frames) + 0.5) / FPS, (np.arange(len(track)) + 0.5) / fps, track)


def loudness(speech: Speech, frames: int, fps: float = FPS) -> Track:
    """Loudness [frames] in decibels of full scale, of the sound during each frame, at most 40 below the loudest."""
    edges = np.round(np.arange(frames + 1) * SAMPLE_RATE / fps).astype(int)
    power = np.concatenate([[0.0], np.cumsum(speech.samples.astype(np.float64) ** 2)])
    edges = np.minimum(edges, len(speech.samples))
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    decibels = 10 * np.log10(np.maximum(mean, 1e-10))
    return np.asarray(np.maximum(decibels, decibels.max(initial=-100.0) - LOUDNESS_RANGE))


def loudness_envelope(speech: Speech, frames: int, fps: float = FPS) -> Track:
    """The loudness as a mouth would follow it: mean of three frames. The baseline of everything here."""
    padded = np.pad(loudness(speech, frames, fps), 1, mode="edge")
    return np.convolve(padded, np.ones(3) / 3, mode="valid")


def silent_frames(speech: Speech, frames: int, fps: float = FPS) -> NDArray[np.bool_]:
    """Frames [frames] inside silences, where the mouth has had time to shut and does not yet get ready."""
    decibels = loudness(speech, frames, fps)
    margin = round(SETTLED * fps)
    # Silence at all frames around: a window that reaches over the ends of the sound sees silence there.
    quiet = np.pad(decibels <= decibels.max(initial=-100.0) - SILENCE, margin, constant_values=True)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(quiet, 2 * margin + 1).all(axis=1))


class Closure(NamedTuple):
    """How shut lips are in some frames. NaN without such frames.

    shut: share of them with a gap below 5 % of the 95th percentile of all frames
    open: their mean gap as a share of that percentile
    """

    shut: float
    open: float


def closure(gap: Track, silent: NDArray[np.bool_], like: Track | None = None) -> Closure:
    """How shut a mouth of `gap` [T] is in the frames `silent` [T], by the 95th percentile of `like`, or its own."""
    if not silent.any():
        return Closure(float("nan"), float("nan"))
    wide = max(float(np.percentile(gap if like is None else like, 95)), 1e-9)
    return Closure(float((gap[silent] < SHUT * wide).mean()), float(gap[silent].mean() / wide))


@dataclass(frozen=True, eq=False)
class Filmed:
    """A person who spoke, and our mouths on the same face, all as long as the shortest of them.

    real, ours: the person's lips, and ours for the same sound
    wrong:      ours for the sound of other clips
    gap, wrong_gaps: the gap of our lips in centimetres of the face model [T], and those for other sounds
    loud:       [T] the loudness envelope
    silent:     [T] frames inside silences
    """

    name: str
    real: Lips
    ours: Lips
    wrong: tuple[Lips, ...]
    gap: Track
    wrong_gaps: tuple[Track, ...]
    loud: Track
    silent: NDArray[np.bool_]


def moved_lips(landmarks: Array, size: tuple[int, int], motion: Motion) -> Lips:
    """The lips of a face that moves by `motion`, from landmarks [T, 478, 3] of the film of it.

    The portrait is the frame whose mouth is most shut, as people are in pictures.
    """
    width, height = size
    rest = landmarks[int(np.argmin(lip_aperture(landmarks)))]
    portrait = Portrait(np.zeros((height, width, 3), np.uint8), rest)  # only its landmarks are moved
    return Lips.of(np.stack(list(stream_landmarks(portrait, motion))), motion.fps)


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one clip's lips agree with the person's.

    ours, loud, wrong: correlation with the person's at each of LAGS, by MEASURES; `wrong` is the mean over other sounds
    amplitude, speed:  the aperture's standard deviation, and that of its change, over the person's
    error:             mean distance of the aperture from the person's
    shut:              closure in silence
        these four of "ours", "loudness" (as wide as ours), "frozen" (our mean) and "wrong sound"; `shut` of "real" too
    silent:            share of frames in silence
    """

    name: str
    ours: dict[str, Track]
    loud: dict[str, Track]
    wrong: dict[str, Track]
    amplitude: dict[str, float]
    speed: dict[str, float]
    error: dict[str, float]
    shut: dict[str, Closure]
    silent: float


def agreement(filmed: Filmed) -> Agreement:
    """Compare our lips with the person's."""
    real, ours = filmed.real, filmed.ours
    loud = reference_scaled(filmed.loud, ours.aperture)
    frozen = np.full(len(ours.aperture), ours.aperture.mean())
    mouths = {"ours": [ours.aperture], "loudness": [loud], "frozen": [frozen]}
    mouths["wrong sound"] = [lips.aperture for lips in filmed.wrong]
    gaps = {"ours": [filmed.gap], "loudness": [reference_scaled(filmed.loud, filmed.gap)]}
    gaps |= {"frozen": [np.full(len(filmed.gap), filmed.gap.mean())], "wrong sound": list(filmed.wrong_gaps)}

    def mean_by(measure: Measure, tracks: dict[str, list[Track]]) -> dict[str, float]:
        return {who: float(np.mean([measure(track) for track in several])) for who, several in tracks.items()}

    spread, speed = float(real.aperture.std()) or np.nan, float(np.diff(real.aperture).std()) or np.nan
    shut = {
        who: Closure(*np.mean([closure(track, filmed.silent, filmed.gap) for track in tracks], axis=0))
        for who, tracks in gaps.items()
    }
    return Agreement(
        name=filmed.name,
        ours={name: by_lag(getattr(ours, name), getattr(real, name)) for name in MEASURES},
        loud={name: by_lag(filmed.loud, getattr(real, name)) for name in MEASURES},
        wrong={
            name: np.mean([by_lag(getattr(lips, name), getattr(real, name)) for lips in filmed.wrong], axis=0)
            for name in MEASURES
        },
        amplitude=mean_by(lambda track: float(track.std()) / spread, mouths),
        speed=mean_by(lambda track: float(np.diff(track).std()) / speed, mouths),
        error=mean_by(lambda track: float(np.abs(track - real.aperture).mean()), mouths),
        shut={**shut, "real": closure(real.aperture, filmed.silent)},
        silent=float(filmed.silent.mean()),
    )


class Measure(Protocol):
    """A figure of one track."""

    def __call__(self, track: Track, /) -> float: ...


def by_lag(signal: Track, reference: Track) -> Track:
    """Correlation at each of LAGS."""
    return np.array([correlation(signal, reference, int(lag)) for lag in LAGS])


def best_common_lag(tracks: Sequence[Track]) -> tuple[int, float]:
    """The lag in frames, the same for all clips, at which their mean correlation is highest, and that mean."""
    stacked = np.array(tracks)
    count = np.isfinite(stacked).sum(axis=0)
    if not count.any():
        return 0, float("nan")
    mean = np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), -np.inf)
    best = int(np.argmax(mean))
    return int(LAGS[best]), float(mean[best])


def _distance(landmarks: Array, one: int, other: int) -> Track:
    """Distance [T] of two landmarks in the picture's plane: a tracker only guesses their depth."""
    return np.asarray(np.linalg.norm(landmarks[:, one, :2] - landmarks[:, other, :2], axis=1), np.float64)
