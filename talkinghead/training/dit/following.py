"""How well a video follows the landmarks that drove it, at any picture size.

Pictures of the model's size can be too small for a face tracker, so a reader is fitted: by ridge regression on the
pictures of films whose landmarks are known, it tells from a picture how far the lips are open, where the face is and
how it leans. The score of a video is the correlation of what is read from its frames with what its landmarks say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...face.landmarks import LEFT_EYE_CORNERS, LOWER_LIP, RIGHT_EYE_CORNERS, UPPER_LIP
from ...types import Array, Frame

MEASURES = ("lips", "x", "y", "lean")
RIDGE = 0.01  # of the mean square of the pictures' components

Values = NDArray[np.float64]


def measures(landmarks: Array) -> Values:
    """What MEASURES are of landmarks [T, 478, 2] in pixels: [T, 4].

    lips: their opening as a share of the distance of the eyes; x, y: the middle of the face; lean: radians
    """
    right, left = (landmarks[:, list(corners)].mean(1) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    across = left - right
    opening = np.linalg.norm(landmarks[:, LOWER_LIP] - landmarks[:, UPPER_LIP], axis=1)
    centre = landmarks[:, :468].mean(1)
    lean = np.arctan2(across[:, 1], across[:, 0])
    return np.column_stack([opening / np.linalg.norm(across, axis=1), centre, lean]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Reader:
    """Tells MEASURES from pictures: linear in their pixels.

    centre: [P] mean picture; weights: [P, 4]; mean: [4] of the measures
    """

    centre: Values
    weights: Values
    mean: Values

    @classmethod
    def fit(cls, pictures: Sequence[Frame], landmarks: Array) -> Reader:
        """The reader that ridge regression gives for `pictures` [T, H, W, 3] with `landmarks` [T, 478, 2]."""
        pixels, wanted = flat(pictures), measures(landmarks)
        centre, mean = pixels.mean(0), wanted.mean(0)
        pixels = pixels - centre
        products = pixels @ pixels.T  # of pictures with each other: they are fewer than pixels
        ridge = RIDGE * np.trace(products) / len(products) * np.eye(len(products))
        return cls(centre, pixels.T @ np.linalg.solve(products + ridge, wanted - mean), mean)

    def __call__(self, pictures: Sequence[Frame]) -> Values:
        """MEASURES [T, 4] of `pictures` [T, H, W, 3]."""
        return (flat(pictures) - self.centre) @ self.weights + self.mean


def following(read: Values, landmarks: Array) -> dict[str, float]:
    """Correlation of what was read [T, 4] with what `landmarks` [T, 478, 2] say; 0 where nothing moves."""
    wanted = measures(landmarks)
    scores = {}
    for index, name in enumerate(MEASURES):
        one, other = read[:, index] - read[:, index].mean(), wanted[:, index] - wanted[:, index].mean()
        scale = float(np.linalg.norm(one) * np.linalg.norm(other))
        scores[name] = float(one @ other) / scale if scale > 1e-12 else 0.0
    return scores


def mean_score(scores: dict[str, float]) -> float:
    """The mean over MEASURES: the score of a video, -1 to 1."""
    return float(np.mean([scores[name] for name in MEASURES]))


def flat(pictures: Sequence[Frame]) -> Values:
    """Pictures as rows of components, 0 to 1."""
    return np.stack(pictures).reshape(len(pictures), -1).astype(np.float64) / 255
