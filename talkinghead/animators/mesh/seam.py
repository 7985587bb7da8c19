"""Filmed lips: where their flesh begins, so that no old teeth are pulled along, and the line they meet at."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ...face.footage import inside_lips
from ...face.landmarks import OUTER_LIPS
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .light import Light
from .lips import LOWER_EDGE, UPPER_EDGE, downwards, untangled
from .opening import Opening

UPPER_BORDER = np.array([OUTER_LIPS[0], *OUTER_LIPS[:9:-1]])  # as UPPER_EDGE, where the lips end in skin
LOWER_BORDER = np.array(OUTER_LIPS[:11])
EDGE, BORDER = np.concatenate([UPPER_EDGE, LOWER_EDGE]), np.concatenate([UPPER_BORDER, LOWER_BORDER])
# Where a lip's flesh may end, in face heights from where its edge was seen, outwards and inwards, and how far from it
# that is likely: what trackers err by. Over STEP of the SAMPLES between, the picture changes most where it does.
OUTWARDS, INWARDS, LIKELY = 0.03, 0.02, 0.012
SAMPLES, STEP = 24, 4
FAINT = 10.0  # a change, in steps of 0 to 255, that tells nothing
MARGIN = 0.012  # face heights from there to what is all flesh: a film is not sharp
DEEPEST = 0.5  # of a lip's height at least is kept

UNDER = 0.75  # pixels that lips reach under the edge of what is painted between them
# Where lips meet it is dark: how dark, over how many centimetres to each side, and up to what gap. By eye.
DARK, WIDE, APART = 0.35, 0.08, 0.16


def flesh(image: Frame, landmarks: Array, height: float) -> Array:
    """`landmarks` [478, 2 or 3] of a face of `height` pixels, [478, 2], with the inner edges of the lips moved out to
    where their flesh begins. It ends where `image` changes most near the edges that were seen.
    """
    points = landmarks[:, :2].copy()
    edge = points[np.stack([UPPER_EDGE, LOWER_EDGE])[:, 1:-1]]  # [2, 9, 2]
    lip = edge - points[np.stack([UPPER_BORDER, LOWER_BORDER])[:, 1:-1]]
    deep = np.maximum(np.linalg.norm(lip, axis=-1, keepdims=True), 1e-3)
    inwards = lip / deep
    steps = np.linspace(-OUTWARDS, INWARDS, SAMPLES, dtype=np.float32) * height
    spots = edge[:, :, None] + inwards[:, :, None] * steps[:, None]
    colours = cv2.remap(image, spots.reshape(18, -1, 2), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colours = colours.reshape(2, 9, SAMPLES, 3).astype(np.float32)
    change = np.linalg.norm(colours[:, :, STEP:] - colours[:, :, :-STEP], axis=-1)
    steps = (steps[STEP:] + steps[:-STEP]) / 2
    change *= np.exp(-((steps / (LIKELY * height)) ** 2)) * (steps > (DEEPEST - 1) * deep)
    weight = np.maximum(change, 1e-3) ** 4
    there = (weight * steps).sum(2) / weight.sum(2) * np.clip(change.max(2) / FAINT, 0, 1)
    ends = np.clip(there - MARGIN * height, (DEEPEST - 1) * deep[..., 0], 0)
    beside = np.pad(ends, ((0, 0), (1, 1)), mode="edge")
    ends = np.minimum(ends, (beside[:, :-2] + 2 * ends + beside[:, 2:]) / 4)
    inside, column = lip_columns()
    start, way = points[BORDER[column]], points[EDGE[column]] - points[BORDER[column]]
    along = ((points[inside] - start) * way).sum(1) / np.maximum((way**2).sum(1), 1e-3)  # 1 at the edges
    shift = np.pad(ends[..., None] * inwards, ((0, 0), (1, 1), (0, 0))).reshape(-1, 2)
    points[inside] += np.clip(along, 0, 1)[:, None] * shift[column]
    return points


@lru_cache(maxsize=1)
def lip_columns() -> tuple[Ids, Ids]:
    """The landmarks [K] of the lips inside their border, and on which way from BORDER to EDGE each is: 0 to 21 [K]."""
    rest = face_model().neutral
    inside = inside_lips()
    start, way = rest[BORDER], rest[EDGE] - rest[BORDER]
    off = rest[inside, None] - start
    along = np.clip((off * way).sum(2) / np.maximum((way**2).sum(1), 1e-6), 0, 1)
    column = np.linalg.norm(off - along[..., None] * way, axis=2).argmin(1)
    column[np.searchsorted(inside, EDGE)] = np.arange(len(EDGE))
    return inside.astype(np.int32), column.astype(np.int32)


def underlaid(points: Array, amount: float) -> Array:
    """`points` [478, 2] with lips that reach a little under what is painted between them, as far as `amount` says.

    A pixel at the edge, which is painted in part, would show what the film has there.
    """
    points, down = points.copy(), downwards(points)
    points[UPPER_EDGE] += UNDER * amount * down
    points[LOWER_EDGE] -= UNDER * amount * down
    return points


def draw_seam(frame: Frame, lips: Array, light: Light, unit: float, amount: float) -> None:
    """Darken `frame` [H, W, 3] where the lips at `lips` [478, 2] touch, or nearly do.

    light:  of the mouth
    unit:   pixels per centimetre
    amount: 0 to 1; film of closed lips has its own seam
    """
    wide = max(WIDE * unit, 0.7)
    reach = 2 * wide * downwards(lips)
    upper, lower = untangled(lips)
    slit = Opening.between(upper - reach, lower + reach, frame)
    if slit is None:
        return
    gap = np.maximum(slit.under + slit.over - 4 * wide, 0)
    away = np.maximum(2 * wide - np.minimum(slit.under, slit.over), 0)
    dark = np.exp(-((away / wide) ** 2) - (gap / (APART * unit)) ** 2)
    slit.paint(frame, np.broadcast_to(light.cavity, (*dark.shape, 3)), DARK * amount * dark)
