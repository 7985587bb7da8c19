"""Loudness and pitch of speech, and the little of head and brows that follows them.

No synthesiser tells how a head moves, so this is a policy written down, not something learned from people: the head
nods a little on accents of loudness, about 1 to 2 degrees, and is otherwise at rest on average; the inner brows rise
a little on accents of pitch. A motion model trained on it has this procedural prior distilled into it, no more.
Blinks, gaze and the idle drift of the head are not here: they come from a seeded process when motion is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE

HOP = 320  # samples per frame: 50 frames per second
WINDOW = 800  # samples of one look at loudness and pitch: 50 ms, at least three periods of a low voice
QUIET = 30.0  # decibels below the loudest, under which nothing is voice
PITCH_RANGE = (65.0, 400.0)  # hertz
PERIODIC = 0.45  # normalised autocorrelation of a voiced frame, at least
NEARLY = 0.9  # share of the highest peak
PIECE = 2000  # frames looked at at once: an hour at once would take 14 GB
SMOOTH = 0.12  # seconds (standard deviation) of an accent
ACCENT = 5.0  # decibels beyond the phrase that make an accent of 1
RISE = 3.0  # semitones beyond the phrase that make an accent of 1
PHRASE = 0.9  # seconds (standard deviation) of what an accent is compared with
NOD = np.radians(2.0)  # pitch of the head at an accent of 1


@dataclass(frozen=True)
class Prosody:
    """How something is said, 50 frames per second.

    loudness: [A] decibels above the mean of the voiced part
    accents:  [A] loudness beyond its phrase, about -1 to 1, smooth, 0 in silence
    brows:    [A] pitch beyond its phrase, 0 to 1, smooth
    """

    loudness: NDArray[np.float64]
    accents: NDArray[np.float64]
    brows: NDArray[np.float64]

    @classmethod
    def of(cls, samples: NDArray[np.float32]) -> Prosody:
        """Hear clean speech [N] at 16 kHz."""
        from scipy.ndimage import gaussian_filter1d

        def smooth(track: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
            return np.asarray(gaussian_filter1d(track, seconds * SAMPLE_RATE / HOP, mode="nearest"))

        def beyond_phrase(track: NDArray[np.float64], voiced: NDArray[np.float64]) -> NDArray[np.float64]:
            """`track` smoothed, less its mean over the phrase, both over voiced frames only."""
            level = smooth(track * voiced, PHRASE) / (smooth(voiced, PHRASE) + 1e-3)
            return smooth((track - level) * voiced, SMOOTH)

        decibels, semitones, voiced = _heard(samples)
        loud = decibels > max(decibels.max() - QUIET, -70)
        mean = decibels[loud].mean() if loud.any() else 0.0
        semitones = (semitones - (semitones * voiced).sum() / max(voiced.sum(), 1)) * voiced
        voiced = voiced * loud
        loudness = np.clip(decibels - mean, -QUIET, QUIET)
        accents = beyond_phrase(loudness, loud.astype(np.float64)) / ACCENT
        brows = beyond_phrase(semitones, voiced) / RISE
        return cls(loudness, np.clip(accents, -1, 1), np.clip(brows, 0, 1))

    def loudness_at(self, seconds: float) -> float:
        """Decibels above the voiced mean at a time."""
        frame = int(seconds * SAMPLE_RATE / HOP)
        return float(self.loudness[min(max(frame, 0), len(self.loudness) - 1)])


def head_pose(prosody: Prosody) -> NDArray[np.float32]:
    """Rotation (pitch, yaw, roll in radians; positive pitch looks down) and translation, [A, 6].

    Nods alone; their mean is zero, and yaw, roll and translation are zero everywhere.
    """
    pose = np.zeros((len(prosody.accents), 6), np.float32)
    pose[:, 0] = NOD * (prosody.accents - prosody.accents.mean())
    return pose


def _heard(samples: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Decibels, semitones above 100 Hz, and 0 or 1 for voiced, of each frame, [A] each."""
    frames = len(samples) // HOP
    padded = np.pad(samples, WINDOW // 2)
    pieces = []
    for first in range(0, max(frames, 1), PIECE):
        starts = HOP // 2 + HOP * np.arange(first, min(first + PIECE, frames))
        looks = padded[starts[:, None] + np.arange(WINDOW)].astype(np.float64)  # around the middle of each frame
        pieces.append((10 * np.log10((looks**2).mean(axis=1) + 1e-9), *_pitch(looks)))
    return tuple(np.concatenate(track) for track in zip(*pieces, strict=True))


def _pitch(looks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Semitones above 100 Hz in looks [A, WINDOW], [A], and which frames are voiced, [A] 0 or 1.

    By the first peak of the normalised autocorrelation that is nearly as high as its highest: later ones are octaves
    too low.
    """
    centred = looks - looks.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * WINDOW, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :WINDOW]
    correlation /= np.arange(WINDOW, 0, -1) / WINDOW  # fewer samples overlap at longer lags
    shortest, longest = int(SAMPLE_RATE / PITCH_RANGE[1]), int(SAMPLE_RATE / PITCH_RANGE[0])
    candidates = correlation[:, shortest:longest]
    peak = (candidates >= correlation[:, shortest - 1 : longest - 1]) & (
        candidates >= correlation[:, shortest + 1 : longest + 1]
    )
    high = candidates >= NEARLY * candidates.max(axis=1, keepdims=True)
    lags = (peak & high).argmax(axis=1) + shortest
    peaks = correlation[np.arange(len(lags)), lags] / (correlation[:, 0] + 1e-6)
    voiced = (peaks > PERIODIC).astype(np.float64)
    return 12 * np.log2(SAMPLE_RATE / lags / 100), voiced
