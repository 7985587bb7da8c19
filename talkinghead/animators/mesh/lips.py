"""The line where closed lips meet. Trackers draw two edges there, a few pixels apart; a closed mouth has one."""

from __future__ import annotations

import numpy as np

from ...face.geometry import lips_parted
from ...face.landmarks import INNER_LIPS
from ...types import Array, Frame
from .light import LUMA

UPPER_EDGE = np.array(INNER_LIPS[:11])  # from the picture's left to its right
LOWER_EDGE = np.array([INNER_LIPS[0], *INNER_LIPS[:9:-1]])
# How much of their opening the edges lose next to the corners, where real lips still touch: an almond, not a box.
ALMOND = np.array([0, 0.45, 0.15, 0, 0, 0, 0, 0, 0.15, 0.45, 0], np.float32)[:, None]
TOUCH = 1.0  # pixels

SAMPLES = 25  # along the way from lip to lip


def lip_line(image: Frame, landmarks: Array) -> Array:
    """The landmarks [478, 2] with the inner edges of closed lips moved onto the line where they meet.

    The line is the darkest spot between the two edges. Lips that are parted keep their edges.
    """
    points = landmarks[:, :2].copy()
    closed = 1 - lips_parted(landmarks)
    if closed == 0:
        return points
    upper, lower = points[UPPER_EDGE[1:-1]], points[LOWER_EDGE[1:-1]]
    middle, half = (upper + lower) / 2, (lower - upper) / 2
    reach = np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1.5)
    half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6) * reach
    steps = np.linspace(-1.5, 1.5, SAMPLES, dtype=np.float32)
    spots = middle[:, None] + steps[:, None] * half[:, None]  # [9, SAMPLES, 2]
    dark = -brightness(image, spots)
    dark = dark - dark.min(1, keepdims=True)
    weight = (dark / np.maximum(dark.max(1, keepdims=True), 1)) ** 6 * np.exp(-(steps**2))
    step = (weight * steps).sum(1) / np.maximum(weight.sum(1), 1e-6)
    step = np.convolve(np.pad(step, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    line = middle + step[:, None].astype(np.float32) * half
    points[UPPER_EDGE[1:-1]] += closed * (line - upper)
    points[LOWER_EDGE[1:-1]] += closed * (line - lower)
    return points


def brightness(image: Frame, spots: Array) -> Array:
    """Luminance of `image` at `spots` [..., 2], linear between pixels."""
    import cv2

    rows = np.ascontiguousarray(spots, np.float32)
    values: Array = cv2.remap(image, rows, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) @ LUMA
    return values


def almond(points: Array, rest: Array) -> Array:
    """`points` [478, 2] with less of an opening at the corners of the mouth, as far as it is wider than at `rest`."""
    points = points.copy()
    down = downwards(points)
    extra = gaps(points, down) - gaps(rest, downwards(rest))
    less = ALMOND / 2 * np.maximum(extra, 0)[:, None] * down
    points[UPPER_EDGE] += less
    points[LOWER_EDGE] -= less
    return points


def overlapped(points: Array, rest: Array) -> Array:
    """`points` [478, 2] with lips that touch laid over each other a little.

    Where the portrait shows parted lips, no pixel between them may then be left to what it shows there.
    """
    points = points.copy()
    down = downwards(points)
    gap, parted = gaps(points, down), gaps(rest, downwards(rest))
    over = np.clip(TOUCH - gap, 0, 2 * TOUCH) * np.clip(parted / TOUCH - 1, 0, 1)
    points[UPPER_EDGE] += over[:, None] / 2 * down
    points[LOWER_EDGE] -= over[:, None] / 2 * down
    return points


def untangled(points: Array) -> tuple[Array, Array]:
    """The edges [11, 2] of the upper and the lower lip, meeting halfway where they would cross."""
    upper, lower = points[UPPER_EDGE], points[LOWER_EDGE]
    crossed = (gaps(points, downwards(points)) <= 0)[:, None]
    middle = (upper + lower) / 2
    return np.where(crossed, middle, upper), np.where(crossed, middle, lower)


def downwards(points: Array) -> Array:
    """The direction [2] from the upper lip to the lower one."""
    x, y = points[UPPER_EDGE[-1]] - points[UPPER_EDGE[0]]
    return np.array([-y, x], np.float32) / max(float(np.hypot(x, y)), 1e-3)


def gaps(points: Array, down: Array) -> Array:
    """How far [11] the lips are apart; below 0 where they cross."""
    gap: Array = (points[LOWER_EDGE] - points[UPPER_EDGE]) @ down
    return gap
