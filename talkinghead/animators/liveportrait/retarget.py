"""How open lips and eyes are, and the conditions by which the retargeting networks change it."""

from __future__ import annotations

import numpy as np

from ...face.landmarks import (
    LEFT_EYE_CORNERS,
    LEFT_LIDS,
    LOWER_LIP,
    MOUTH_CORNERS,
    RIGHT_EYE_CORNERS,
    RIGHT_LIDS,
    UPPER_LIP,
)
from ...types import Array

EPSILON = 1e-6
LIP_ZERO = 0.03  # from this lip ratio on a source's mouth counts as open
EYES_SHUT, EYES_OPEN = 0.18, 0.39  # a source video whose first eye ratio is below the one gets the other as target

# Pairs of the 203 landmarks that LivePortrait's own network gives: what opens, and what it is measured by. Its left
# eye is the left one in the picture.
_EYES_203 = (((6, 18), (0, 12)), ((30, 42), (24, 36)))
_LIPS_203 = ((90, 102), (48, 66))
# The same of MediaPipe's 478.
_EYES_478 = ((RIGHT_LIDS, RIGHT_EYE_CORNERS), (LEFT_LIDS, LEFT_EYE_CORNERS))
_LIPS_478 = ((UPPER_LIP, LOWER_LIP), MOUTH_CORNERS)
# A lip ratio of the 203 landmarks is about so many of MediaPipe's: the slopes were 0.80 and 0.94 on two clips.
LIP_SLOPE = 0.87


def eye_ratio(landmarks: Array) -> Array:
    """How open the eyes are [..., 2], the left one in the picture first; `landmarks` are [..., 203 or 478, 2 or 3]."""
    pairs = _EYES_203 if landmarks.shape[-2] == 203 else _EYES_478
    return np.stack([_ratio(landmarks, *pair) for pair in pairs], -1)


def lip_ratio(landmarks: Array) -> Array:
    """How open the lips are [..., 1]: 0 is closed; `landmarks` are [..., 203 or 478, 2 or 3]."""
    pair = _LIPS_203 if landmarks.shape[-2] == 203 else _LIPS_478
    ratio: Array = _ratio(landmarks, *pair)[..., None]
    return ratio


def _ratio(landmarks: Array, opening: tuple[int, ...], measure: tuple[int, ...]) -> Array:
    if landmarks.shape[-2] not in (203, 478):
        raise ValueError(f"landmarks must be 203 or 478 points, not {landmarks.shape[-2]}")
    distances = [np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1) for a, b in (opening, measure)]
    ratio: Array = distances[0] / (distances[1] + EPSILON)
    return ratio


def eye_condition(source: Array, target: Array) -> Array:
    """What the eye network is asked for [T, 3]: source ratios [1 or T, 2] and the target [T, 1 or 2].

    Of a target of two eyes the first counts: the network was trained to open both alike.
    """
    frames = max(len(source), len(target))
    parts = [np.broadcast_to(source, (frames, 2)), np.broadcast_to(target[:, :1], (frames, 1))]
    condition: Array = np.concatenate(parts, 1).astype(np.float32)
    return condition


def lip_condition(source: Array, target: Array) -> Array:
    """What the lip network is asked for [T, 2]: the source's ratio [1 or T, 1] and the target [1 or T, 1]."""
    frames = max(len(source), len(target))
    parts = [np.broadcast_to(values, (frames, 1)) for values in (source, target)]
    condition: Array = np.concatenate(parts, 1).astype(np.float32)
    return condition
