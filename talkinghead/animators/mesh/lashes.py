"""What a lid that shuts loses: its crease unfolds, and the band of lashes and make-up becomes one thin line."""

from __future__ import annotations

import cv2
import numpy as np

from ...types import Array, Frame
from .eyes import CREASE, LID_EDGE
from .skin import LIDS

BROW = np.concatenate([lid[7:] for lid in LIDS])  # the landmarks above each of CREASE

# Places on the way up from the lid's edge, which is 0, over its crease, 1, to the ring of landmarks below the brow, 2.
SKIN = (1.1, 1.5)  # what is there is taken for the lid's skin
MOST = 0.95  # where the band ends at the latest
SAMPLES = 41  # of the way

UNLIKE = 0.2  # of the most that the band's colour differs from the skin's: it ends where it differs by less
LEAST = 8  # levels of 255: what differs by less is no band


def lash_bands(image: Frame, landmarks: Array) -> Array:
    """From the upper lids' edges and creases to the skin that is there when the eyes are shut: [478, 2] pixels.

    Lashes, make-up, and what the tracker left of the eyeball outside the lids, count as the band at a lid's edge: all
    whose colour is unlike that of the skin above the crease. Elsewhere 0.
    """
    steps = np.linspace(0, 2, SAMPLES, dtype=np.float32)
    way = np.stack([places(landmarks, step) for step in steps], axis=1)  # [14, SAMPLES, 2]
    seen = cv2.remap(image, way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    skin = np.median(seen[:, (steps >= SKIN[0]) & (steps <= SKIN[1])], axis=1, keepdims=True)
    unlike = np.abs(seen - skin).max(2) * (steps <= MOST)
    limit = np.maximum(UNLIKE * unlike.max(1, keepdims=True), LEAST)
    ends = np.where(unlike > limit, steps, 0).max(1).reshape(2, 7)
    padded = np.pad(ends, ((0, 0), (1, 1)), mode="edge")
    ends = np.maximum(ends, (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4).reshape(14, 1)
    bands = np.zeros_like(landmarks[:, :2])
    bands[LID_EDGE] = places(landmarks, ends) - landmarks[LID_EDGE, :2]
    bands[CREASE] = places(landmarks, np.maximum((ends + SKIN[1]) / 2, 1)) - landmarks[CREASE, :2]
    return bands


def places(landmarks: Array, steps: Array) -> Array:
    """The places [14, 2] that are `steps` far on the way up from each landmark of the lids' edges."""
    edge, crease, brow = (landmarks[row, :2] for row in (LID_EDGE, CREASE, BROW))
    there: Array = edge + np.minimum(steps, 1) * (crease - edge) + np.maximum(steps - 1, 0) * (brow - crease)
    return there.astype(np.float32)
