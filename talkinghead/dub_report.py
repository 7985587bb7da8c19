"""Did a dubbed film get its new mouth, and nothing else? What a tracker sees in the frames, beside what was asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, cast

import numpy as np

from .dubbing import played
from .errors import LowQualityFaceWarning, NoFaceFound
from .evaluation.intervals import Track, correlation
from .face.landmarks import BROWS, EYES, LEFT_EYE_CORNERS, LOWER_LIP, NOSE_TIP, RIGHT_EYE_CORNERS, UPPER_LIP
from .face.tracker import MediaPipeTracker, eye_distance
from .motion.articulation import lip_gap
from .types import Array, Clip, Frame
from .video import Video

SEALED = 0.02  # centimetres of opening that the motion asks for, up to which the lips are to be sealed
CLOSED = 5  # percentile of a film's openings that stands for its own closed lips
FEWEST = 3  # frames with a face: of fewer nothing can be told
UP = 0.8  # of the way from the nose's tip to the eyes: from there on no pixel is to change


@dataclass(frozen=True)
class DubReport:
    """How a dubbed film, before it is encoded, compares to the filmed one and to its motion.

    frames:  that show a face before and after
    lips:    correlation of the seen distance of the inner lips with that of the motion; None if one never changes
    filmed:  the same with that of the film's own mouth: what is left of it
    sealed:  that distance where the motion has the lips sealed, on average, in percent of that of the eyes; None if
             it never has
    closed:  that of the film's own closed lips: its 5th percentile
    upper:   mean distance of the landmarks of eyes and brows from where they were, in the same unit
    changed: pixels that differ at the eyes and above, in all frames together
    """

    frames: int
    lips: float | None
    filmed: float | None
    sealed: float | None
    closed: float
    upper: float
    changed: int

    @property
    def notes(self) -> list[str]:
        """What was measured, in plain words."""
        lips, filmed = ("not to be told" if r is None else f"r = {r:.3f}" for r in (self.lips, self.filmed))
        sealed = "none" if self.sealed is None else f"{self.sealed:.2f} % of the eyes' distance apart"
        return [
            f"lips against the new motion: {lips}; against the filmed mouth: {filmed} ({self.frames} frames)",
            f"sealed lips: {sealed}; the film's own closed ones: {self.closed:.2f} %",
            f"eyes and brows: {self.upper:.2f} % of the eyes' distance off",
            f"pixels changed at the eyes and above: {self.changed}",
        ]

    def report(self) -> dict[str, Any]:
        """The measures as plain values, for JSON."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Reel:
    """Frames that can be read again and again, as a tracker reads a Video."""

    frames: Callable[[], Iterator[Frame]]


def measure_dub(film: Video, clip: Clip, tracker: MediaPipeTracker) -> DubReport:
    """Draw `clip`, which is `film` dubbed, and look at both with `tracker`. Frames are not held.

    Raises NoFaceFound if fewer than 3 frames show a face both before and after; ValueError if `clip` has no motion.
    """
    if clip.motion is None:
        raise ValueError("a dubbed clip has a motion, this one has none")
    count = sum(1 for _ in film.frames())

    def shown() -> Iterator[Frame]:
        return (image for _, image in islice(played(film, count), len(clip)))

    def compared() -> Iterator[Frame]:
        for n, (face, image, drawn) in enumerate(zip(before, shown(), clip, strict=True)):
            changed[n] = 0 if face is None else changed_above(face, image, drawn)
            yield drawn

    changed = np.zeros(len(clip), int)
    with warnings.catch_warnings():  # of several faces; who dubbed the film was told
        warnings.simplefilter("ignore", LowQualityFaceWarning)
        before = list(tracker.sight(cast(Video, Reel(shown))))
        after = list(tracker.sight(cast(Video, Reel(compared))))
    numbers = [n for n, pair in enumerate(zip(before, after, strict=True)) if all(face is not None for face in pair)]
    if len(numbers) < FEWEST:
        found = f"{len(numbers)} of {len(clip)} frames show a face both in the film and in its dubbed frames"
        raise NoFaceFound(found, f"at least {FEWEST} are needed to measure them")
    own, seen = (np.stack([cast(Array, faces[n]) for n in numbers]) for faces in (before, after))
    unit = np.array([eye_distance(face) for face in own])
    upper = np.linalg.norm((seen - own)[:, [*EYES, *BROWS], :2], axis=2).mean(1) / unit
    wanted, filmed, gap = lip_gap(clip.motion.expression)[numbers].astype(np.float64), gaps(own), gaps(seen)
    asked = gap[wanted <= SEALED]
    return DubReport(
        frames=len(numbers),
        lips=known(correlation(gap, wanted)),
        filmed=known(correlation(gap, filmed)),
        sealed=float(asked.mean()) if len(asked) else None,
        closed=float(np.percentile(filmed, CLOSED)),
        upper=100 * float(upper.mean()),
        changed=int(changed.sum()),
    )


def gaps(faces: Array) -> Track:
    """Distance of the inner lips [T] in the picture of `faces` [T, 478, 3], in percent of that of the eyes.

    Depth does not count: trackers guess it, by up to 6 % of the distance of the eyes between lips that touch.
    """
    apart = np.linalg.norm((faces[:, UPPER_LIP] - faces[:, LOWER_LIP])[:, :2], axis=1)
    return np.asarray(100 * apart / np.array([eye_distance(face) for face in faces]), np.float64)


def known(value: float) -> float | None:
    """`value`; None if it is not a number, which JSON has no word for."""
    return None if np.isnan(value) else value


def changed_above(face: Array, before: Frame, after: Frame) -> int:
    """How many pixels differ that lie at the eyes or above, on `face` [478, 3], as the head is held."""
    rows, columns = np.nonzero((before != after).any(2))
    right, left = (face[list(corners), :2].mean(0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    up = np.array([left[1] - right[1], right[0] - left[0]])
    tip = face[NOSE_TIP, :2]
    eyes = float(((left + right) / 2 - tip) @ up)
    return int(((np.stack([columns, rows], 1) - tip) @ up > UP * eyes).sum())
