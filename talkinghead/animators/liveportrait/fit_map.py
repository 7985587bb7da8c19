"""`fit-map`: from landmarks to expressions, learned in closed form on a user's own footage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import VideoUnreadable
from ...face.geometry import Head
from ...types import Array
from .adapter import POINTS, LandmarkMap, displacements, unposed
from .drive import LIP_KEYPOINTS
from .retarget import lip_ratio
from .sizes import KEYPOINTS

LEAST_FRAMES = 250  # 10 s: nearly three for each of the 90 inputs
LEAST_OPENING = 0.05  # standard deviation of the lip ratio: below it the mouth hardly moves (speech has 0.1 or more)
RIDGE = 3e-4  # of the inputs' mean energy: our choice, against landmarks that move alike
HELD_OUT = 0.2  # of each video, its end: what the fit is judged by


@dataclass(frozen=True, eq=False)
class Footage:
    """One video of a face.

    name:       for messages
    moved:      [T, 45, 2] displacements from the face at rest
    expression: [T, 21, 3] the motion extractor's, less that of the face at rest
    lips:       [T, 1] how open they are
    """

    name: str
    moved: Array
    expression: Array
    lips: Array

    @classmethod
    def of(cls, name: str, landmarks: Array, expression: Array) -> Footage:
        """From `landmarks` [T, 478, 3] and the extractor's `expression` [T, 21, 3] of the same frames.

        The face at rest is the mean of the tenth of frames whose lips are the least open: expressions carry identity,
        so that only what they differ from it can be learned from one person for another.
        """
        lips = lip_ratio(landmarks)
        rest = np.argsort(lips[:, 0])[: max(1, len(lips) // 10)]
        head = Head.of(landmarks[rest[0]])
        shapes = unposed(landmarks, head)
        moved = displacements(shapes, shapes[rest].mean(0))
        return cls(name, moved, expression - expression[rest].mean(0), lips)


@dataclass(frozen=True, eq=False)
class FittedMap:
    """A landmark map and how well it foretells what it was not fitted to.

    r2:     of all coordinates that move, on the end of each video
    lip_r2: of the lips'
    frames: that it was fitted to
    """

    mapping: LandmarkMap
    r2: float
    lip_r2: float
    frames: int


def fit_map(footage: list[Footage], ridge: float = RIDGE) -> FittedMap:
    """The ridge regression from displacements to expressions, fitted to the beginnings and judged on the ends.

    Raises VideoUnreadable if there are fewer than 250 frames, or if no mouth opens.
    """
    frames = sum(len(video.moved) for video in footage)
    if frames < LEAST_FRAMES:
        raise VideoUnreadable(
            f"{frames} frames are too few to fit a map to: at least {LEAST_FRAMES} are needed",
            "give more or longer videos of a face that speaks",
        )
    opening = max(float(video.lips.std()) for video in footage)
    if opening < LEAST_OPENING:
        raise VideoUnreadable(
            f"the mouth hardly moves in these videos: its lip ratio varies by {opening:.3f}, {LEAST_OPENING} is needed",
            "give videos of a face that speaks",
        )
    cuts = [round(len(video.moved) * (1 - HELD_OUT)) for video in footage]
    moved, target = _joined([(v.moved[:cut], v.expression[:cut]) for v, cut in zip(footage, cuts, strict=True)])
    weights = _ridge(moved, target, ridge)
    held = [(v.moved[cut:], v.expression[cut:]) for v, cut in zip(footage, cuts, strict=True)]
    unseen, wanted = _joined(held)
    error, spread = (unseen @ weights - wanted) ** 2, (wanted - wanted.mean(0)) ** 2
    lips = np.isin(np.arange(3 * KEYPOINTS) // 3, LIP_KEYPOINTS)
    return FittedMap(
        LandmarkMap(weights.astype(np.float32)),
        float(1 - error.sum() / max(spread.sum(), 1e-12)),
        float(1 - error[:, lips].sum() / max(spread[:, lips].sum(), 1e-12)),
        len(moved),
    )


def _joined(pairs: list[tuple[Array, Array]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    moved = np.concatenate([a.reshape(len(a), -1) for a, _ in pairs]).astype(np.float64)
    return moved, np.concatenate([b.reshape(len(b), -1) for _, b in pairs]).astype(np.float64)


def _ridge(moved: NDArray[np.float64], target: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Weights [90, 63]; no constant, since the face at rest is to stay at rest."""
    normal = moved.T @ moved
    strength = ridge * np.trace(normal) / len(normal)
    weights: NDArray[np.float64] = np.linalg.solve(normal + strength * np.eye(2 * len(POINTS)), moved.T @ target)
    return weights
