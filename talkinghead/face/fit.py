"""From tracked landmarks to motion: which blendshapes and which pose put the model's points where they were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blendshapes import EXPRESSIONS, GAZE, INDEX
from ..types import Array, Motion
from .geometry import FLIP, procrustes, rotation_angles
from .landmarks import LEFT_EYE_CORNERS, LEFT_IRIS, RIGHT_EYE_CORNERS, RIGHT_IRIS, weights
from .model import face_model

# Both are our choice; with them the fit errs by 0.55 to 0.8 % of the distance of the eyes on the four GRID clips.
DEPTH_WEIGHT = 0.35  # trackers guess z: it counts about a third as much as x and y
RIDGE = 0.8  # pulls every weight to zero, so that shapes which look alike share the work and noise makes no faces
LEARNED_FROM = 300  # frames that the personal neutral is learned from: plenty, and a bound on memory
CHUNK = 250  # frames fitted at once


@dataclass(frozen=True, eq=False)
class Fit:
    """A face model fitted to a tracked face.

    motion:    its motion, relative to the face at rest and to its usual pose
    neutral:   [468, 3] this person's face at rest, in the model's space
    landmarks: [T, 468, 3] pixels: where the fitted model puts the landmarks
    """

    motion: Motion
    neutral: Array
    landmarks: Array

    def error(self, observed: Array) -> Array:
        """Distance [T, 468] to the `observed` landmarks [T, 478, 3] in the picture, in % of the distance of the eyes.

        The eyes are as far apart as their centres are in space, so that turning the head does not shrink it.
        """
        off = np.linalg.norm((self.landmarks - observed[:, :468])[..., :2], axis=-1)
        right, left = (observed[:, list(pair)].mean(1) for pair in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
        percent: Array = (100 * off / np.linalg.norm(right - left, axis=-1)[:, None]).astype(np.float32)
        return percent


def fit_motion(landmarks: Array, fps: float) -> Fit:
    """Fit the face model to `landmarks` [T, 478, 3] in pixels, T ≥ 1.

    Expression and pose are solved in turn, per frame: weights in 0..1 by ridge regression, the pose by Procrustes.
    The person's own face at rest is learned from the whole sequence, so that a wide mouth is not read as a smile. It
    takes motion to learn it: of a still face or a few frames, part of the person's shape is read as expression.
    """
    observed = (landmarks * FLIP).astype(np.float32)
    some = np.unique(np.linspace(0, len(observed) - 1, min(len(observed), LEARNED_FROM)).round().astype(int))
    neutral = learn_neutral(observed[some, :468])
    pieces = [solve(observed[i : i + CHUNK, :468], neutral) for i in range(0, len(observed), CHUNK)]
    expression, scale, rotation, shift = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    expression[:, list(GAZE)] = gaze(observed, scale, rotation, shift)[:, list(GAZE)]
    placed = np.concatenate(
        [
            pose(neutral + shapes(expression[part]), scale[part], rotation[part], shift[part])
            for part in (slice(i, i + CHUNK) for i in range(0, len(observed), CHUNK))
        ]
    )
    return Fit(relative_motion(expression, scale, rotation, shift, fps), neutral, placed * FLIP)


def shapes(expression: Array) -> Array:
    """What weights [T, 52] add to the 468 vertices of the skin: [T, 468, 3]."""
    added: Array = np.einsum("te,enx->tnx", expression, face_model().basis[:, :468], dtype=np.float32)
    return added


def pose(points: Array, scale: Array, rotation: Array, shift: Array) -> Array:
    """Points [T, N, 3] of the model's space in the picture, y up."""
    placed: Array = scale[:, None, None] * np.einsum("tij,tnj->tni", rotation, points) + shift[:, None]
    return placed


def unpose(points: Array, scale: Array, rotation: Array, shift: Array) -> Array:
    """The inverse of `pose`."""
    flat: Array = np.einsum("tji,tnj->tni", rotation, points - shift[:, None]) / scale[:, None, None]
    return flat


def learn_neutral(observed: Array, rounds: int = 8) -> Array:
    """This person's face at rest [468, 3]: the median over time of what the expressions do not explain."""
    neutral = face_model().neutral[:468].copy()
    expression = np.zeros((len(observed), EXPRESSIONS), np.float32)
    for _ in range(rounds):
        added = shapes(expression)
        placed = procrustes(neutral + added, observed, weights())
        flat = unpose(observed, *placed)
        expression = solve_expression(flat - neutral, expression)
        neutral = np.median(flat - shapes(expression), axis=0).astype(np.float32)
    return neutral


def solve(observed: Array, neutral: Array, rounds: int = 4) -> tuple[Array, Array, Array, Array]:
    """Expression [T, 52], scale [T], rotation [T, 3, 3] and shift [T, 3] of each frame, for a known `neutral`."""
    expression = np.zeros((len(observed), EXPRESSIONS), np.float32)
    placed = procrustes(np.broadcast_to(neutral, observed.shape), observed, weights())
    for _ in range(rounds):
        expression = solve_expression(unpose(observed, *placed) - neutral, expression)
        placed = procrustes(neutral + shapes(expression), observed, weights())
    return expression, *placed


def solve_expression(offsets: Array, start: Array, sweeps: int = 30) -> Array:
    """Weights [T, 52] in 0..1 that best explain `offsets` [T, 468, 3]: ridge regression by coordinate descent."""
    importance = np.sqrt(weights()[:, None] * np.array([1, 1, DEPTH_WEIGHT], np.float32))
    design = (face_model().basis[:, :468] * importance).reshape(EXPRESSIONS, -1)
    normal = design @ design.T + RIDGE * np.eye(EXPRESSIONS, dtype=np.float32)
    target = (offsets * importance).reshape(len(offsets), -1) @ design.T
    solution = start.copy()
    for _ in range(sweeps):
        for k in range(EXPRESSIONS):
            if k not in GAZE:
                step = (target[:, k] - solution @ normal[:, k]) / normal[k, k]
                solution[:, k] = np.clip(solution[:, k] + step, 0, 1)
    return solution.astype(np.float32)


def gaze(observed: Array, scale: Array, rotation: Array, shift: Array) -> Array:
    """The eyeLook weights [T, 52]: how far each iris is from where it usually is, against what eyeLook = 1 moves."""
    expression = np.zeros((len(observed), EXPRESSIONS), np.float32)
    flat = unpose(observed[:, 468:], scale, rotation, shift)
    for side, iris, nasal in (("Right", RIGHT_IRIS, 1), ("Left", LEFT_IRIS, -1)):
        centre = flat[:, [index - 468 for index in iris]].mean(1)
        x, y = (centre - np.median(centre, axis=0))[:, :2].T
        for direction, amount in (("In", nasal * x), ("Out", -nasal * x), ("Up", y), ("Down", -y)):
            index = INDEX[f"eyeLook{direction}{side}"]
            reach = np.linalg.norm(face_model().basis[index, iris[0]])
            expression[:, index] = np.clip(amount / reach, 0, 1)
    return expression


def relative_motion(expression: Array, scale: Array, rotation: Array, shift: Array, fps: float) -> Motion:
    """Motion relative to the usual pose: the middle of the sequence's rotations, places and sizes."""
    usual = np.median(rotation, axis=0)
    u, _, vt = np.linalg.svd(usual)  # the nearest rotation to the element-wise median
    turn = np.einsum("ji,tjk->tik", u @ vt, rotation) * FLIP[:, None] * FLIP
    middle, size = np.median(shift, axis=0), float(np.median(scale))
    translation = (shift - middle) * FLIP / (size * face_model().height)
    translation[:, 2] = 0  # weak perspective knows depth only through size, which rotation disturbs too
    return Motion(expression, rotation_angles(turn), translation.astype(np.float32), fps)
