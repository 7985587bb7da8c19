"""The slit between two lips or two lids: which pixels of the picture it covers, and how much of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...types import Array, Frame

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom lie outside

SMOOTH = 4  # points of the curve per landmark


@dataclass(frozen=True, eq=False)
class Opening:
    """Pixels of a box around the slit, as far as it lies in the picture.

    left, top:   of the box in the picture
    mask:        [H, W] how much of each pixel is inside, 0 to 1: exactly 0 where the edges touch
    along:       [H, W] position between the corners, -1 to 1
    under, over: [H, W] pixels below the upper edge and above the lower one
    """

    left: int
    top: int
    mask: Array
    along: Array
    under: Array
    over: Array

    @classmethod
    def between(cls, upper: Array, lower: Array, picture: Frame, margin: int = 2) -> Opening | None:
        """The slit between two edges [N, 2] that share their corners, from left to right; None if nothing is open."""
        upper, lower = smooth(upper), smooth(lower)
        corner, axis = upper[0], upper[-1] - upper[0]
        length = max(float(np.hypot(*axis)), 1e-3)
        axis = axis / length
        frame = np.array([axis, [-axis[1], axis[0]]], np.float32)  # along the slit, and down across it
        upper, lower = (upper - corner) @ frame.T, (lower - corner) @ frame.T
        columns = np.linspace(0, length, len(upper), dtype=np.float32)
        ceiling, floor = (np.interp(columns, np.maximum.accumulate(e[:, 0]), e[:, 1]) for e in (upper, lower))
        if (floor - ceiling).max() <= 0:
            return None
        edges = np.concatenate([np.stack([columns, ceiling], 1), np.stack([columns, floor], 1)]) @ frame + corner
        box = extent(edges, picture, margin)
        if box is None:
            return None
        left, top, right, bottom = box
        x = np.arange(left, right, dtype=np.float32)[None] - corner[0]
        y = np.arange(top, bottom, dtype=np.float32)[:, None] - corner[1]
        here, down = x * axis[0] + y * axis[1], y * axis[0] - x * axis[1]
        place = here.ravel()
        under = down - np.interp(place, columns, ceiling).reshape(down.shape)
        over = np.interp(place, columns, floor).reshape(down.shape) - down
        covered = np.minimum(under, 0.5) + np.minimum(over, 0.5)
        sides = np.clip(np.minimum(here, length - here) + 0.5, 0, 1)
        mask = np.clip(covered, 0, 1) * sides
        along = 2 * here / length - 1
        return cls(left, top, *(a.astype(np.float32) for a in (mask, along, under, over)))

    def seen_from(self, points: Array, source: Array) -> Array:
        """Where each pixel of the box was [H, W, 2], by the affine map that best takes `points` to `source` [N, 2]."""
        columns = np.column_stack([points - [self.left, self.top], np.ones(len(points))])
        back = np.linalg.lstsq(columns, source, rcond=None)[0].astype(np.float32)
        y, x = np.indices(self.mask.shape, np.float32)
        where: Array = x[..., None] * back[0] + y[..., None] * back[1] + back[2]
        return where

    def paint(self, frame: Frame, colours: Array, opacity: Array | float = 1.0) -> None:
        """Lay `colours` [H, W, 3] over this box of `frame` [..., 3], where the slit is open."""
        height, width = self.mask.shape
        below = frame[self.top : self.top + height, self.left : self.left + width]
        mixed = below + (colours - below) * (self.mask * opacity)[..., None]
        np.rint(np.clip(mixed, 0, 255), out=mixed)
        below[...] = mixed


def extent(points: Array, picture: Frame | Array, margin: float = 0) -> Box | None:
    """The box of pixels of `picture` around `points` [..., 2]; None if it is empty."""
    if not points.size:
        return None
    height, width = picture.shape[:2]
    places = points.reshape(-1, 2)
    (x, y), (x_end, y_end) = places.min(0) - margin, places.max(0) + margin
    left, top = max(math.floor(x), 0), max(math.floor(y), 0)
    right, bottom = min(math.ceil(x_end) + 1, width), min(math.ceil(y_end) + 1, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def smooth(edge: Array) -> Array:
    """A Catmull-Rom curve through `edge` [N, 2]: [(N - 1) * SMOOTH + 1, 2]."""
    return catmull_rom(len(edge)) @ edge


@lru_cache(maxsize=4)
def catmull_rom(points: int) -> Array:
    """The matrix [(points - 1) * SMOOTH + 1, points] that draws a curve through points; its ends run straight on."""
    padded = np.zeros((points + 2, points))
    padded[1:-1] = np.eye(points)
    padded[0, :2], padded[-1, -2:] = (2, -1), (-1, 2)
    t = (np.arange(SMOOTH) / SMOOTH)[:, None]
    weights = np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]) / 2
    rows = [weights @ padded[i : i + 4] for i in range(points - 1)]
    matrix: Array = np.concatenate([*rows, padded[-2:-1]]).astype(np.float32)
    matrix.setflags(write=False)
    return matrix
