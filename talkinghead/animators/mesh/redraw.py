"""The story of one frame of a film: its lower face is pulled to another mouth, whose inside is painted anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...face.footage import Footage, Take, lower_face
from ...face.geometry import Head
from ...types import Array, Frame
from .field import freedom
from .lips import LOWER_EDGE, UPPER_EDGE, almond, downwards, gaps, lip_line, overlapped
from .mouth import Mouth
from .warp import Warp

WITHIN = 0.024  # face heights: new edges are taken from so far inside the lips; teeth shine through at the old ones


@dataclass(frozen=True, eq=False)
class Redrawer:
    """A filmed person made ready to be given another mouth.

    mouth: its inside in the head's own space, lit as in the frame that shows the face best: it must not flicker
    """

    footage: Footage
    mouth: Mouth

    @classmethod
    def of(cls, footage: Footage, clearest: Frame) -> Redrawer:
        """`clearest` is the picture [H, W, 3] of that frame of `footage`."""
        landmarks = footage.landmarks[footage.clearest]
        lips = lip_line(clearest, landmarks)
        mouth = Mouth.of(footage.head(footage.clearest), clearest, landmarks, lips)
        return cls(footage, replace(mouth, own=None))  # what teeth the film shows are the old mouth's

    def draw(self, take: Take) -> Frame:
        """The picture of `take` with its mouth as it should be; above the nose no pixel changes."""
        own, head = take.landmarks, take.head
        texture = flesh(lip_line(take.image, own), head.height)
        free = freedom(own[:, :2], take.image, head)[:, None]
        face = own + (take.target - own) * free
        rest = (own + (take.sealed - own) * free)[:, :2]
        warp = Warp.of(take.image, head, own, texture, once=True)
        around = warp.surround.move((face - own)[:, :2], warp.surround.rest)
        still = warp.surround.source
        around = still + (around - still) * self.low(still, head)
        lips = almond(face[:, :2], rest)

        frame = take.image.copy()
        replace(warp, lids=None).draw(frame, overlapped(lips, texture), face, around)
        mouth = replace(self.mouth, unit=head.scale)
        # All between the lips is painted, wherever they were: so `posed`, where the mouth would be left as it is, is
        # far away.
        mouth.draw(frame, lips, lips + np.float32(head.height), take.expression, head.place)
        return frame

    def low(self, points: Array, head: Head) -> Array:
        """How much pixels `points` [N, 2] belong to the lower face, or lie as low as it does: [N, 1]."""
        middle = head.place(self.footage.closed[:468].mean(0, keepdims=True))[0, :2]
        up = np.array([head.rotation[0, 1], -head.rotation[1, 1]], np.float32)
        up /= max(float(np.linalg.norm(up)), 1e-3)
        height = self.footage.closed[:468, 1].mean() + (points - middle) @ up / head.scale
        return lower_face(self.footage, height)[:, None].astype(np.float32)


def flesh(points: Array, height: float) -> Array:
    """`points` [478, 2] of a face of `height` pixels with the inner edges of parted lips moved into the lips."""
    points, down = points.copy(), downwards(points)
    inside = np.clip(gaps(points, down), 0, WITHIN * height)[:, None] * down
    points[UPPER_EDGE] -= inside
    points[LOWER_EDGE] += inside
    return points
