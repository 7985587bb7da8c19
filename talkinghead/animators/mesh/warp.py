"""Pulls the portrait's own pixels along: face, hair and neck in one map and one resampling."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...face.geometry import Head
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .field import Surround
from .opening import extent
from .raster import hold_border, rasterise, soften_silhouettes
from .skin import LidSkin

BORDER = 0.03  # face heights
JUMP = 3.0  # pixels between neighbours' places in the portrait: there one thing hides another
STILL = 1 / 64  # pixels: the resampling rounds less than that away


@dataclass(frozen=True, eq=False)
class Warp:
    """The portrait on a mesh: the face and what surrounds it.

    image:     [H, W, 3]
    source:    [468 + R, 2] where the vertices are in the portrait
    behind:    [R] depth of the vertices around the face: farther than any of the face
    triangles: [F, 3] clockwise on the screen
    surround:  how the vertices around the face follow it
    lids:      the skin that a blink stretches
    border:    pixels from the picture's border over which the last of the motion dies away
    """

    image: Frame
    source: Array
    behind: Array
    triangles: Ids
    surround: Surround
    lids: LidSkin | None
    border: float

    @classmethod
    def of(cls, image: Frame, head: Head, landmarks: Array, texture: Array) -> Warp:
        """The mesh of a face at `landmarks` [478, 3] whose picture is at `texture` [478, 2]."""
        surround = Surround.of(head, landmarks, image)
        source = np.concatenate([texture[:468], surround.source]).astype(np.float32)
        rings = np.arange(len(surround.source), dtype=np.float32)
        behind = landmarks[:, 2].max() + head.height * (1 + rings / len(rings))
        triangles = np.concatenate([face_model().triangles[:, ::-1], surround.triangles]).astype(np.int32)
        return cls(
            image=image,
            source=source,
            behind=behind.astype(np.float32),
            triangles=triangles,
            surround=surround,
            lids=LidSkin.of(image, landmarks, head.height),
            border=max(1.0, BORDER * head.height),
        )

    def draw(self, frame: Frame, face: Array, depth: Array, around: Array) -> None:
        """Redraw what moves on `frame`, a copy of the image.

        face, depth: [478, 2] and [478] where the landmarks go
        around:      [R, 2] where the vertices around them go
        """
        points = np.empty((len(self.source), 3), np.float32)
        points[:468, :2], points[468:, :2] = face[:468], around
        points[:468, 2], points[468:, 2] = depth[:468], self.behind
        moved = np.abs(points[:, :2] - self.source).max(1) > STILL
        triangles = self.triangles[moved[self.triangles].any(1)]
        box = extent(np.concatenate([points[triangles, :2], self.source[triangles]]), frame)
        if box is None:
            return
        left, top, right, bottom = box
        where = np.empty((bottom - top, right - left, 2), np.float32)
        where[..., 0], where[..., 1] = np.arange(left, right), np.arange(top, bottom)[:, None]
        points[:, :2] -= np.array([left, top], np.float32)
        rasterise(points, triangles, self.source, where, np.full(where.shape[:2], np.inf, np.float32))
        height, width = frame.shape[:2]
        if min(left, top, width - right, height - bottom) < self.border:
            hold_border(where, left, top, width, height, self.border)
        region = frame[top:bottom, left:right]
        cv2.remap(self.image, where, None, cv2.INTER_CUBIC, region, cv2.BORDER_REFLECT_101)
        soften_silhouettes(region, where, JUMP)
        if self.lids is not None:
            self.lids.calm(region, where, points[:, :2])
