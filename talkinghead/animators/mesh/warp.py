"""Pulls the portrait's own pixels along: face, hair and neck in one map and one resampling."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...face.geometry import Head
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .eyes import LID_EDGE
from .field import OVAL, Surround
from .opening import extent
from .raster import enlarged, hold_border, rasterise, shade, soften_silhouettes
from .shading import Shading
from .skin import LidSkin

BORDER = 0.03  # face heights
# A texture so much finer, read linearly, is as sharp as cubic interpolation of the picture in a fifth of the time.
# An odd number keeps every pixel of the picture as it is. Larger pictures would need too much memory.
ZOOM, LARGE = 3, 4_000_000  # pixels
JUMP = 3.0  # pixels between neighbours' places in the portrait: there one thing hides another
STILL = 1 / 64  # pixels: the resampling rounds less than that away


@dataclass(frozen=True, eq=False)
class Warp:
    """The portrait on a mesh: the face and what surrounds it.

    texture:   [zoom * h, zoom * w, 3] the part of the picture that can move, its corner at `left`, `top`
    zoom:      1 or ZOOM
    source:    [468 + R, 2] where the vertices are in the portrait
    behind:    [R] depth of the vertices around the face: farther than any of the face
    triangles: [F, 3] clockwise on the screen
    surround:  how the vertices around the face follow it
    lids:      the skin that a blink stretches; None leaves it
    shading:   the light on the skin; None leaves it
    border:    pixels from the picture's border over which the last of the motion dies away
    """

    texture: Frame
    zoom: int
    left: int
    top: int
    source: Array
    behind: Array
    triangles: Ids
    surround: Surround
    lids: LidSkin | None
    shading: Shading | None
    border: float

    @classmethod
    def of(cls, image: Frame, head: Head, landmarks: Array, texture: Array, *, around: Surround | None = None) -> Warp:
        """The mesh of a face at `landmarks` [478, 3] whose picture is at `texture` [478, 2].

        around: what is around the face, if it is known: for a mesh that is drawn once, with the head where it is. What
                is worth while for many frames is left out then
        """
        once = around is not None
        surround = around or Surround.of(head, landmarks, image)
        source = np.concatenate([texture[:468], surround.source]).astype(np.float32)
        rings = np.arange(len(surround.source), dtype=np.float32)
        behind = landmarks[:, 2].max() + head.height * (1 + rings / len(rings))
        triangles = np.concatenate([face_model().triangles[:, ::-1], surround.triangles]).astype(np.int32)
        left, top, right, bottom = extent(surround.source, image) or (0, 0, image.shape[1], image.shape[0])
        zoom = ZOOM if not once and (right - left) * (bottom - top) <= LARGE else 1
        part = image[top:bottom, left:right]
        return cls(
            texture=cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC),
            zoom=zoom,
            left=left,
            top=top,
            source=source,
            behind=behind.astype(np.float32),
            triangles=triangles,
            surround=surround,
            lids=None if once else LidSkin.of(image, landmarks, head.height),
            shading=None if once else Shading.of(image, landmarks),
            border=max(1.0, BORDER * head.height),
        )

    def draw(self, frame: Frame, face: Array, shape: Array, around: Array, taken: Array | None = None) -> None:
        """Redraw what moves on `frame`, a copy of the image.

        face:   [478, 2] where the landmarks go
        shape:  [478, 3] the same in space, as the light sees it
        around: [R, 2] where the vertices around them go
        taken:  [478, 2] how far from where the landmarks are in the portrait what they show there is; None is nowhere
        """
        found = self.places(frame, face, shape, around, taken)
        if found is None:
            return
        left, top, shown = found
        region = frame[top : top + shown.shape[0], left : left + shown.shape[1]]
        self.sample(shown, region)
        points = np.concatenate([face[:468, :2], around]).astype(np.float32)
        shut = taken is not None and bool(taken[LID_EDGE].any())
        self.finish(region, shown, points - np.array([left, top], np.float32), shut)

    def places(
        self, frame: Frame, face: Array, shape: Array, around: Array, taken: Array | None = None
    ) -> tuple[int, int, Array] | None:
        """What is shown where, for the arguments of `draw`: left and top of the part of `frame` that changes, and
        [H, W, 3] of it, where each pixel comes from in the portrait and the light on it. None if nothing moves.
        """
        points = np.empty((len(self.source), 3), np.float32)
        points[:468, :2], points[468:, :2] = face[:468, :2], around
        points[:468, 2], points[468:, 2] = shape[:468, 2], self.behind
        way = np.abs(points[:, :2] - self.source).max(1)
        triangles = self.triangles[(way > STILL)[self.triangles].any(1)]
        drawn = np.unique(triangles)
        box = extent(np.concatenate([points[drawn, :2], self.source[drawn]]), frame)
        if box is None:
            return None
        left, top, right, bottom = box
        shown = np.empty((bottom - top, right - left, 3), np.float32)
        shown[..., 0], shown[..., 1] = np.arange(left, right), np.arange(top, bottom)[:, None]
        shown[..., 2] = 1
        values = np.ones((len(self.source), 3), np.float32)
        values[:, :2] = self.source
        if taken is not None:
            values[:468, :2] += taken[:468]
            values[468 : 468 + len(OVAL), :2] += (taken[OVAL] + taken[np.roll(OVAL, -1)]) / 2
        if self.shading is not None:
            values[:468, 2] = self.shading.change(shape, way[:468])
        points[:, :2] -= np.array([left, top], np.float32)
        rasterise(points, triangles, values, shown, np.full(shown.shape[:2], np.inf, np.float32))
        height, width = frame.shape[:2]
        if min(left, top, width - right, height - bottom) < self.border:
            hold_border(shown, left, top, width, height, self.border)
        return left, top, shown

    def finish(self, region: Frame, shown: Array, points: Array, shut: bool) -> None:
        """What is done to the face alone: only it hides anything, is lit anew, and has lids.

        region, shown: [H, W, 3] pixels, and where they come from in the portrait with the light on them
        points:        [N, 2] vertices in pixels of the region
        shut:          whether an eye is shut or about to be
        """
        box = extent(points[:468], region, margin=2)
        if box is None:
            return
        left, top, right, bottom = box
        face, shown = region[top:bottom, left:right], shown[top:bottom, left:right]
        soften_silhouettes(face, shown, JUMP)
        if self.shading is not None:
            shade(face, shown[..., 2])
        if self.lids is not None:
            self.lids.calm(face, shown[..., :2], points - np.array([left, top], np.float32), shut)

    def sample(self, where: Array, region: Frame) -> None:
        """Draw on `region` [H, W, 3] what the portrait shows at `where` [H, W, 2 or more], in its pixels."""
        finer = np.empty((*where.shape[:2], 2), np.float32)
        enlarged(where, self.zoom, self.left, self.top, finer)
        how = cv2.INTER_CUBIC if self.zoom == 1 else cv2.INTER_LINEAR
        cv2.remap(self.texture, finer, None, how, region, cv2.BORDER_REFLECT_101)
