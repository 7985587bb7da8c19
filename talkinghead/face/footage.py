"""A filmed face, frame by frame: where it is, what it does, and where another mouth would bring it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import EXPRESSIONS, MOUTH
from ..types import Array, Frame
from .fit import CHUNK, LEARNED_FROM, learn_neutral, solve
from .geometry import FLIP, Head, lip_sealing, lips_parted
from .landmarks import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE_CORNERS,
    LEFT_LIDS,
    LIPS,
    NOSE_BASE,
    NOSE_TIP,
    OUTER_LIPS,
    RIGHT_EYE_CORNERS,
    RIGHT_LIDS,
)
from .model import face_model

# Seconds of a face over which a parabola is laid to tell motion from a tracker's noise. It is centred: nothing lags.
# The lips' inner edges stay as they are seen: in one frame they part so far that what lies between would show.
SMOOTH_LANDMARKS, SMOOTH_LIPS, SMOOTH_WEIGHTS = 0.28, 0.20, 0.28
CUT = 0.5  # eye distances that a face moves from one frame to the next only where the film was cut
# It is cut as well where a face moves by more than JUMP of them, and FARTHER times as far as in the NEAR frames around.
JUMP, FARTHER, NEAR = 0.04, 4.0, 3
NEAR_LIPS = 1.5  # centimetres over which what a mouth does is laid down exactly; further off it is added to what is
# Skin beside the lips goes with their border, the less the farther in centimetres it is: where a mouth is wide open,
# trackers and face models have the skin below it stay behind, and it would be smeared or folded. By eye.
ALONG, SHARED = 0.9, 0.5
# Height of the oval in the model, in centimetres: beside the ears it lies tight on the skull, below the jaw moves it.
TEMPLES, JAW = -1.5, -4.5


@dataclass(frozen=True, eq=False)
class Take:
    """One frame of a film, and the mouth that its face is to have.

    image:      [H, W, 3]
    landmarks:  [478, 3] where the face is in it
    target:     [478, 3] where another mouth brings it; the inner edges of its lips are where they are to be seen
    sealed:     [478, 3] the same with closed lips
    expression: [52] what the face does then
    head:       this person's head at rest with closed lips, as it is held in this frame
    parted:     how far the film has the lips parted: 0 is closed, 1 is so wide that one sees between them
    """

    image: Frame
    landmarks: Array
    target: Array
    sealed: Array
    expression: Array
    head: Head
    parted: float


@dataclass(frozen=True, eq=False)
class Footage:
    """A face followed through a film of T frames; rows of frames that show none are 0.

    fps:        frames a second
    seen:       [T] whether a face was seen
    landmarks:  [T, 478, 3] pixels
    neutral:    [478, 3] this person's face at rest, in the model's space
    expression: [T, 52]
    scale, rotation, shift: [T], [T, 3, 3], [T, 3] how the head is held, as in Head
    """

    fps: float
    seen: NDArray[np.bool_]
    landmarks: Array
    neutral: Array
    expression: Array
    scale: Array
    rotation: Array
    shift: Array

    @classmethod
    def of(cls, sightings: Iterable[Array | None], fps: float) -> Footage:
        """What landmarks [478, 3] tell that were seen in the frames of a film, None for a frame without a face.

        At least one frame must show one. Of each frame only its landmarks are held: 6 kB.
        """
        rows = list(sightings)
        seen = np.array([row is not None for row in rows])
        landmarks = np.stack([np.zeros((478, 3), np.float32) if row is None else row for row in rows])
        del rows
        for run in runs(landmarks, seen):
            outer, inner = smoothed(landmarks[run][:, OUTER_LIPS], SMOOTH_LIPS * fps), landmarks[run][:, INNER_LIPS]
            landmarks[run] = smoothed(landmarks[run], SMOOTH_LANDMARKS * fps)
            landmarks[run, OUTER_LIPS], landmarks[run, INNER_LIPS] = outer, inner
        found = np.flatnonzero(seen)
        some = found[np.unique(np.linspace(0, len(found) - 1, min(len(found), LEARNED_FROM)).round().astype(int))]
        neutral = learn_neutral(landmarks[some, :468] * FLIP)
        shape = (len(seen), EXPRESSIONS), (len(seen),), (len(seen), 3, 3), (len(seen), 3)
        fitted = tuple(np.zeros(size, np.float32) for size in shape)
        for start in range(0, len(found), CHUNK):
            part = found[start : start + CHUNK]
            for values, solved in zip(fitted, solve(landmarks[part, :468] * FLIP, neutral), strict=True):
                values[part] = solved
        expression = fitted[0]
        for run in runs(landmarks, seen):
            expression[run] = np.clip(smoothed(expression[run], SMOOTH_WEIGHTS * fps), 0, 1)
        whole = np.concatenate([neutral, face_model().neutral[468:]])
        return cls(fps, seen, landmarks, whole, *fitted)

    def __len__(self) -> int:
        return len(self.seen)

    @cached_property
    def closed(self) -> Array:
        """This person's face at rest with sealed lips [478, 3]."""
        face = self.neutral + lips_parted(self.neutral) * lip_sealing(self.neutral)
        upper, lower = list(INNER_LIPS[1:10]), list(INNER_LIPS[:10:-1])
        face[upper] = face[lower] = (face[upper] + face[lower]) / 2
        return face.astype(np.float32)

    @cached_property
    def clearest(self) -> int:
        """The frame that shows the face best: held as usual, with open eyes."""
        found = np.flatnonzero(self.seen)
        usual = np.median(self.rotation[found], axis=0)
        turned = np.abs(self.rotation[found] - usual).max((1, 2))
        wide = sum(distance(self.landmarks[found], *lids) for lids in (RIGHT_LIDS, LEFT_LIDS))
        return int(found[np.argmin(turned - 0.5 * wide / np.median(wide))])

    @cached_property
    def lower(self) -> tuple[Array, Array]:
        """How much of a mouth's motion each landmark takes [478, 1], and how exactly it is laid down there [478, 1]."""
        height = self.neutral[:, 1]
        low = lower_face(self, height)
        oval = list(FACE_OVAL)
        low[oval] = np.minimum(low[oval], smoothstep((TEMPLES - height[oval]) / (TEMPLES - JAW)))
        away = np.linalg.norm(self.neutral[:, None] - self.neutral[list(LIPS)], axis=2).min(1)
        near = np.exp(-((away / NEAR_LIPS) ** 2))
        return low[:, None].astype(np.float32), near[:, None].astype(np.float32)

    @cached_property
    def parted(self) -> Array:
        """How far the lips are parted [T], 0 to 1; already, and still, in frames beside those where they are.

        A tracker can miss by a frame or two when lips part or close, and teeth are seen then.
        """
        parted = np.zeros(len(self), np.float32)
        for run in runs(self.landmarks, self.seen):
            own = np.array([lips_parted(face) for face in self.landmarks[run]], np.float32)
            reach, ease = np.pad(own, 3, mode="edge"), np.array([1, 2, 1], np.float32) / 4
            parted[run] = np.convolve(np.lib.stride_tricks.sliding_window_view(reach, 5).max(1), ease, mode="valid")
        return parted

    @cached_property
    def beside(self) -> tuple[Array, Array]:
        """How each landmark's way follows that of the lips' border: shares [478, 20] of it, and their sums [478, 1]."""
        squared = ((self.neutral[:, None] - self.neutral[list(OUTER_LIPS)]) ** 2).sum(2)
        nearest = squared.min(1, keepdims=True)
        share = np.exp((nearest - squared) / SHARED**2)
        share *= self.lower[0] * np.exp(-np.sqrt(nearest) / ALONG) / share.sum(1, keepdims=True)
        share[list(OUTER_LIPS)] = share[inside_lips()] = 0
        share = share.astype(np.float32)
        return share, share.sum(1, keepdims=True)

    def head(self, frame: int) -> Head:
        """This person's head at rest with sealed lips, as it is held in `frame`."""
        return Head(
            shape=self.closed,
            scale=float(self.scale[frame]),
            rotation=self.rotation[frame],
            shift=self.shift[frame],
            gain=np.ones(EXPRESSIONS, np.float32),
            sealing=np.zeros_like(self.closed),
        )

    def take(self, frame: int, image: Frame, expression: Array) -> Take:
        """`frame` with `image` [H, W, 3], and the mouth of `expression` [52] in place of its own.

        The lips go to the face at rest plus the upper face's expression of this frame plus the new mouth, so nothing
        is left of the old one. Further off, what the two mouths differ by is added to where the face is, so that a
        tracker's errors move nothing. The upper face stays.
        """
        own, head, mouth = self.landmarks[frame], self.head(frame), list(MOUTH)
        before, basis = self.expression[frame], face_model().basis
        after = before.copy()
        after[mouth] = expression[mouth]
        rest = before.copy()
        rest[mouth] = 0
        seen, wanted, sealed = (
            head.place(face + np.tensordot(weights, basis, 1))
            for face, weights in ((self.neutral, before), (self.closed, after), (self.closed, rest))
        )
        # Eyes and brows of the model pull at the lips, which must meet where the new mouth has them sealed.
        upper, lower = list(INNER_LIPS[1:10]), list(INNER_LIPS[:10:-1])
        ajar = (sealed[lower] - sealed[upper]) / 2
        for face in (wanted, sealed):
            face[upper] += ajar
            face[lower] -= ajar
        low, near = self.lower
        way = low * (wanted - seen + near * (seen - own))
        share, all_of_it = self.beside
        target = own + way + share @ way[list(OUTER_LIPS)] - all_of_it * way
        return Take(image, own, target, sealed, after, head, float(self.parted[frame]))


@lru_cache(maxsize=1)
def inside_lips() -> NDArray[np.int64]:
    """The landmarks of the lips inside their border: all that the mesh leads to from their inner edges."""
    triangles = face_model().triangles
    inside = np.zeros(468, bool)
    inside[list(INNER_LIPS)] = True
    count = 0
    while inside.sum() > count:
        count = inside.sum()
        inside[triangles[inside[triangles].any(1)]] = True
        inside[list(OUTER_LIPS)] = False
    return np.flatnonzero(inside)


def lower_face(footage: Footage, height: Array) -> Array:
    """How much places at `height` [N], in centimetres of the model, belong to the lower face: 0 to 1 [N].

    All below the nose does, nothing from a quarter of the way from the nose's tip to the eyes on.
    """
    neutral = footage.neutral
    eyes = neutral[list(RIGHT_EYE_CORNERS + LEFT_EYE_CORNERS), 1].mean()
    top, bottom = 0.75 * neutral[NOSE_TIP, 1] + 0.25 * eyes, neutral[NOSE_BASE, 1]
    return smoothstep((top - height) / (top - bottom))


def runs(landmarks: Array, seen: NDArray[np.bool_]) -> Iterator[slice]:
    """Stretches of frames that show a face without a cut; `landmarks` [T, 478, 3]."""
    centre = landmarks[..., :2].mean(1)
    step = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    eyes = distance(landmarks, RIGHT_EYE_CORNERS[0], LEFT_EYE_CORNERS[0])
    padded = np.pad(step, (NEAR, NEAR + 1))  # one more, for a film of one frame
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1)[:-1].copy()
    around[:, NEAR] = 0
    usual = np.maximum(JUMP * eyes[1:], FARTHER * around.max(1, initial=0))
    joined = seen[1:] & seen[:-1] & (step <= np.minimum(CUT * eyes[1:], usual))
    edges = [0, *(np.flatnonzero(~joined) + 1), len(seen)]
    for start, end in pairwise(edges):
        if seen[start]:
            yield slice(int(start), int(end))


def smoothed(track: Array, frames: float) -> Array:
    """`track` [T, …] with noise smoothed away over about so many frames, without lag (Savitzky and Golay, 1964)."""
    from scipy.signal import savgol_filter

    window = min(2 * round(frames / 2 - 0.5) + 1, len(track) - (len(track) + 1) % 2)
    if window < 5:
        return track
    smooth: Array = savgol_filter(track, window, 2, axis=0).astype(np.float32)
    return smooth


def distance(landmarks: Array, one: int, other: int) -> Array:
    """Pixels [T] between two of the landmarks [T, 478, 3]."""
    return np.asarray(np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1))


def smoothstep(x: Any) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))
