"""The story of one frame of a film: its lower face is pulled to another mouth, whose inside is painted anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...face.footage import Footage, Take, lower_face
from ...face.geometry import Head
from ...types import Array, Frame
from .field import OVAL, Surround, freedom
from .lips import almond, lip_line, overlapped
from .mouth import Mouth
from .seam import draw_seam, flesh, underlaid
from .warp import Warp


@dataclass(frozen=True, eq=False)
class Redrawer:
    """A filmed person made ready to be given another mouth.

    mouth:    its inside in the head's own space, lit as in the frame that shows the face best: it must not flicker
    surround: what is around the face in that frame; it takes long to find, and moves along with the face
    """

    footage: Footage
    mouth: Mouth
    surround: Surround

    @classmethod
    def of(cls, footage: Footage, clearest: Frame) -> Redrawer:
        """`clearest` is the picture [H, W, 3] of that frame of `footage`."""
        landmarks = footage.landmarks[footage.clearest]
        lips = lip_line(clearest, landmarks)
        head = footage.head(footage.clearest)
        mouth = replace(Mouth.of(head, clearest, landmarks, lips), own=None)  # what teeth are seen are the old mouth's
        return cls(footage, mouth, Surround.of(head, landmarks, clearest, stiff=False))

    def draw(self, take: Take) -> Frame:
        """The picture of `take` with its mouth as it should be; above the nose no pixel changes."""
        own, head = take.landmarks, take.head
        texture = lip_line(take.image, own)
        texture += take.parted * (flesh(take.image, own, head.height) - texture)
        surround = self.moved_along(own)
        free, around_free = (freedom(points[:, :2], take.image, head)[:, None] for points in (own, surround.source))
        face = own + (take.target - own) * free
        rest = (own + (take.sealed - own) * free)[:, :2]
        warp = Warp.of(take.image, head, own, texture, around=surround)
        still = surround.source
        around = surround.move((face - own)[:, :2], surround.rest)
        around = still + (around - still) * self.low(still, head) * around_free
        lips = almond(face[:, :2], rest)

        frame = take.image.copy()
        under = underlaid(overlapped(lips, texture), take.parted)
        warp.draw(frame, under, face, around)
        mouth = replace(self.mouth, unit=head.scale)
        # All between the lips is painted, wherever they were: so `posed`, where the mouth would be left as it is, is
        # far away.
        mouth.draw(frame, lips, lips + np.float32(head.height), take.expression, head.place)
        draw_seam(frame, lips, mouth.light, head.scale, take.parted)
        return frame

    def moved_along(self, landmarks: Array) -> Surround:
        """What is around the face when it is at `landmarks` [478, 3]: shifted, turned and scaled as its oval is."""
        known, oval = self.footage.landmarks[self.footage.clearest, OVAL, :2], landmarks[OVAL, :2]
        a, b = known - known.mean(0), oval - oval.mean(0)
        along, across = float((a * b).sum()), float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
        turn = np.array([[along, across], [-across, along]], np.float32) / float((a**2).sum())  # least squares
        source = (self.surround.source - known.mean(0)) @ turn + oval.mean(0)
        source[: len(OVAL)] = (oval + np.roll(oval, -1, 0)) / 2  # halfway between neighbours
        return replace(self.surround, source=source.astype(np.float32))

    def low(self, points: Array, head: Head) -> Array:
        """How much pixels `points` [N, 2] belong to the lower face, or lie as low as it does: [N, 1]."""
        middle = head.place(self.footage.closed[:468].mean(0, keepdims=True))[0, :2]
        up = np.array([head.rotation[0, 1], -head.rotation[1, 1]], np.float32)
        up /= max(float(np.linalg.norm(up)), 1e-3)
        height = self.footage.closed[:468, 1].mean() + (points - middle) @ up / head.scale
        return lower_face(self.footage, height)[:, None].astype(np.float32)
