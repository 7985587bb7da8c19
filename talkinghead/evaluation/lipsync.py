"""How well the lips that are made agree with the lips of the person who spoke, on videos of talking people.

Each figure stands beside the same one for a mouth that opens with the loudness: what hears no speech sound at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..face.geometry import stream_landmarks
from ..face.landmarks import CHIN, LEFT_EYE_CORNERS, LOWER_LIP, MOUTH_CORNERS, RIGHT_EYE_CORNERS, UPPER_LIP
from ..pipeline import TalkingHead
from ..types import Array, Portrait, Speech
from ..video import Video, open_video

OUTER_EYES = RIGHT_EYE_CORNERS[0], LEFT_EYE_CORNERS[0]
NOSE_BRIDGE = 168

LOUDNESS_RANGE = 40.0  # decibels below the loudest moment that count as different
SILENCE = 35.0  # decibels below the loudest moment
SETTLED = 0.12  # seconds from the ends of a silence after which the mouth should be shut
LAGS = np.arange(-5, 7)  # frames by which a signal is late: -200 to 240 ms at 25 frames a second

Track = NDArray[np.float64]


class Follower(Protocol):
    """Follows a face through a video, as MediaPipeTracker does."""

    def follow(self, video: Video) -> Array:
        """Landmarks [T, 478, 3] in pixels of the face in each frame."""
        ...


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


def loudness(speech: Speech, frames: int, fps: float = 25.0) -> Track:
    """Loudness [frames] in decibels of full scale, of the sound during each frame, at most 40 below the loudest."""
    edges = np.round(np.arange(frames + 1) * SAMPLE_RATE / fps).astype(int)
    power = np.concatenate([[0.0], np.cumsum(speech.samples.astype(np.float64) ** 2)])
    edges = np.minimum(edges, len(speech.samples))
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    decibels = 10 * np.log10(np.maximum(mean, 1e-10))
    return np.asarray(np.maximum(decibels, decibels.max(initial=-100.0) - LOUDNESS_RANGE))


def loudness_envelope(speech: Speech, frames: int, fps: float = 25.0) -> Track:
    """The loudness as a mouth would follow it: mean of three frames. The baseline of everything here."""
    padded = np.pad(loudness(speech, frames, fps), 1, mode="edge")
    return np.convolve(padded, np.ones(3) / 3, mode="valid")


def correlation(signal: Track, reference: Track, lag: int = 0) -> float:
    """Pearson correlation, -1 to 1, of `signal` from `lag` frames on with `reference`; NaN if one is constant."""
    length = min(len(signal), len(reference))
    first, last = max(0, -lag), min(length, length - lag)
    if last - first < 3:
        return float("nan")
    a, b = signal[first + lag : last + lag], reference[first:last]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def silent_frames(speech: Speech, frames: int, fps: float = 25.0) -> NDArray[np.bool_]:
    """Frames [frames] inside silences, where the mouth has had time to shut and does not yet get ready."""
    decibels = loudness(speech, frames, fps)
    margin = round(SETTLED * fps)
    # Silence at all frames around: a window that reaches over the ends of the sound sees silence there.
    quiet = np.pad(decibels <= decibels.max(initial=-100.0) - SILENCE, margin, constant_values=True)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(quiet, 2 * margin + 1).all(axis=1))


def silence_closure(aperture: Track, silent: NDArray[np.bool_]) -> float:
    """Mean aperture in silent frames as a share of the 95th percentile of all: 0 is shut. NaN without silence."""
    if not silent.any():
        return float("nan")
    return float(aperture[silent].mean() / max(float(np.percentile(aperture, 95)), 1e-9))


@dataclass(frozen=True)
class Agreement:
    """How one clip's lips agree with the person's; correlations at each of LAGS.

    aperture, width: of our mouth with the tracked one
    aperture_loudness, width_loudness: of the loudness envelope with the tracked one
    closure:  our `silence_closure`
    amplitude, speed: our aperture's standard deviation, and that of its change, over the person's
    """

    name: str
    aperture: Track
    width: Track
    aperture_loudness: Track
    width_loudness: Track
    closure: float
    amplitude: float
    speed: float


def compare(clip: str | os.PathLike[str], head: TalkingHead, follower: Follower) -> Agreement:
    """Track the face in the video `clip`, let it say the video's sound by `head`, and compare the two.

    The portrait is the frame whose mouth is most shut, as people are in pictures; blinks and idle motion are left out.

    Raises VideoUnreadable, NoFaceFound, and the errors of audio.
    """
    video, speech = open_video(clip), Speech.of(clip)
    tracked = follower.follow(video)
    rest = int(np.argmin(lip_aperture(tracked)))
    width, height = video.size
    portrait = Portrait(np.zeros((height, width, 3), np.uint8), tracked[rest])  # only its landmarks are moved
    motion = head.motion_generator(head.audio_encoder(speech)).resample(float(video.fps), len(tracked))
    made = np.stack(list(stream_landmarks(portrait, motion)))
    envelope = loudness_envelope(speech, len(tracked), float(video.fps))
    ours, theirs = lip_aperture(made), lip_aperture(tracked)

    def by_lag(signal: Track, reference: Track) -> Track:
        return np.array([correlation(signal, reference, int(lag)) for lag in LAGS])

    return Agreement(
        name=Path(clip).stem,
        aperture=by_lag(ours, theirs),
        width=by_lag(mouth_width(made), mouth_width(tracked)),
        aperture_loudness=by_lag(envelope, theirs),
        width_loudness=by_lag(envelope, mouth_width(tracked)),
        closure=silence_closure(ours, silent_frames(speech, len(tracked), float(video.fps))),
        amplitude=float(ours.std() / theirs.std()),
        speed=float(np.diff(ours).std() / np.diff(theirs).std()),
    )


def evaluate(clips: Iterable[str | os.PathLike[str]], head: TalkingHead, follower: Follower) -> list[Agreement]:
    """`compare` for each of `clips`."""
    return [compare(clip, head, follower) for clip in clips]


def best_common_lag(tracks: Sequence[Track]) -> tuple[int, float]:
    """The lag in frames, the same for all clips, at which their mean correlation is highest, and that mean."""
    mean = np.mean(tracks, axis=0)
    best = int(np.argmax(mean))
    return int(LAGS[best]), float(mean[best])


def table(agreements: Sequence[Agreement]) -> str:
    """A Markdown table: correlations at lag 0 (loudness in brackets), closure, amplitude and speed; then the means."""
    now = int(np.flatnonzero(LAGS == 0)[0])
    lines = [
        "| clip | aperture r (loudness) | width r (loudness) | open in silence | amplitude | speed |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        (each.name, each.aperture[now], each.aperture_loudness[now], each.width[now], each.width_loudness[now],
         each.closure, each.amplitude, each.speed)
        for each in agreements
    ]  # fmt: skip
    numbers = np.array([row[1:] for row in rows])
    mean = [np.nan if np.isnan(column).all() else np.nanmean(column) for column in numbers.T]
    for name, *values in [*rows, ("mean", *mean)]:
        lips, lips_loud, width, width_loud, closure, amplitude, speed = values
        silence = "no silence" if np.isnan(closure) else f"{100 * closure:.0f} %"
        lines.append(
            f"| {name} | {lips:.2f} ({lips_loud:.2f}) | {width:.2f} ({width_loud:.2f}) | {silence} "
            f"| {amplitude:.2f} | {speed:.2f} |"
        )
    for title, ours, loud in (("aperture", "aperture", "aperture_loudness"), ("width", "width", "width_loudness")):
        lag, best = best_common_lag([getattr(each, ours) for each in agreements])
        other, baseline = best_common_lag([getattr(each, loud) for each in agreements])
        lines.append(
            f"\n{title} at the best common lag: r {best:.2f} at {lag:+d} frames (loudness {baseline:.2f} at {other:+d})"
        )
    return "\n".join(lines)


def _distance(landmarks: Array, one: int, other: int) -> Track:
    """Distance [T] of two landmarks in the picture's plane: a tracker only guesses their depth."""
    return np.asarray(np.linalg.norm(landmarks[:, one, :2] - landmarks[:, other, :2], axis=1), np.float64)
