"""The outline of the face: a head that turns stretches what the portrait shows there, and that must be skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import grey_closing
from scipy.spatial.distance import cdist

from ...face.landmarks import LIPS
from ...face.model import Ids
from ...types import Array, Frame
from .field import OVAL

DEEP = 0.1  # face heights inwards from the outline: from there on nothing changes, nor from where a lip is
SKIN = (0.75, 1.0)  # of that way: what is there is taken for skin
MOST = 0.25  # of that way: what reaches farther in, as whiskers and shadows do, belongs to the face
GAP = 3  # ways from one landmark to the next: a shadow that is no wider interrupts an outline that goes on beside it
SAMPLES, FINER = 33, 4  # places along the way, and ways from between two landmarks
UNLIKE, LEAST = 0.25, 16  # of the most that colours differ from skin, and levels of 255: what differs by less is skin
STRETCHED = (0.02, 0.2)  # by how much wider than in the portrait the way is where it begins, and where it is all skin


@dataclass(frozen=True, eq=False)
class Outline:
    """What is shown near the outline of a face when its skin is stretched.

    nearest: [468] the spoke, one of the 36 of the outline, that each landmark belongs to
    anchor:  [36] the landmark inside that each spoke runs to
    usual:   [36] pixels from the outline to that in the portrait
    inward:  [468, 2] how far each landmark shows what lies further in, in pixels, at the most
    """

    nearest: Ids
    anchor: Ids
    usual: Array
    inward: Array

    @classmethod
    def of(cls, image: Frame, landmarks: Array, height: float) -> Outline:
        """The outline of the face of `height` pixels at `landmarks` [478, 3] in `image`.

        Trackers draw it a little outside the cheeks, where hair, an ear or the background is seen.
        """
        points = landmarks[:468, :2]
        oval = points[OVAL]
        deep = np.minimum(DEEP * height, cdist(oval, points[list(LIPS)]).min(1)).astype(np.float32)  # [36]
        along = np.roll(oval, -1, 0) - np.roll(oval, 1, 0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-3)
        normal *= np.sign(((oval.mean(0) - oval) * normal).sum())  # inwards
        steps = np.linspace(0, 1, SAMPLES, dtype=np.float32)
        inwards = deep[:, None] * normal
        starts, ways = (finer(points) for points in (oval, inwards))  # [4 * 36, 2]
        way = (starts[:, None] + steps[:, None] * ways[:, None]).astype(np.float32)  # [4 * 36, SAMPLES, 2]
        seen = cv2.remap(image, way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        skin = np.median(seen[:, (steps >= SKIN[0]) & (steps <= SKIN[1])], axis=1, keepdims=True)
        unlike = np.abs(seen - skin).max(2)
        limit = np.maximum(UNLIKE * unlike.max(1, keepdims=True), LEAST)
        ends = steps[np.argmin(unlike > limit, axis=1)]  # where it is skin for the first time
        ends = grey_closing(np.where(ends > MOST, 0, ends), size=GAP * FINER, mode="wrap")
        ends = np.stack([np.roll(ends, shift)[::FINER] for shift in range(1 - FINER, FINER)]).max(0)
        away = cdist(points, oval)
        nearest = away.argmin(1)
        depth = away.min(1)
        share = ends[nearest] * np.clip(1 - depth / np.maximum(deep[nearest], 1e-3), 0, 1)
        anchor = cdist(oval + inwards, points).argmin(1)
        return cls(
            nearest=nearest.astype(np.int32),
            anchor=anchor.astype(np.int32),
            usual=np.linalg.norm(points[anchor] - oval, axis=1).astype(np.float32),
            inward=(share[:, None] * inwards[nearest]).astype(np.float32),
        )

    def taken(self, posed: Array) -> Array:
        """How far inwards of its own place each landmark shows the portrait [468, 2], when the head is at `posed`."""
        wide = np.linalg.norm(posed[self.anchor, :2] - posed[OVAL, :2], axis=1)
        wider: Array = wide / np.maximum(self.usual, 0.5) - 1
        stretched = np.clip((wider - STRETCHED[0]) / (STRETCHED[1] - STRETCHED[0]), 0, 1).astype(np.float32)
        shown: Array = stretched[self.nearest, None] * self.inward
        return shown


def finer(points: Array) -> Array:
    """`points` [N, 2] around a face with FINER - 1 more between neighbours: [FINER * N, 2]."""
    parts = np.linspace(0, 1, FINER, endpoint=False, dtype=np.float32)[:, None]
    there: Array = (points[:, None] + parts * (np.roll(points, -1, 0) - points)[:, None]).reshape(-1, 2)
    return there
