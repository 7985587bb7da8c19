"""Frames of glasses: they ride on the head and do not bend with the lids and brows behind them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...face.landmarks import FACE_OVAL, LEFT_EYE, RIGHT_EYE
from ...face.model import face_model
from ...types import Array, Frame
from .opening import extent
from .raster import rasterise

BRIDGE = (168, 6, 197)  # landmarks down the nose, where a frame joins its two halves
TEMPLES = (127, 356)
ABOVE, BELOW = (105, 334), (50, 280)  # brows and cheeks: frames lie between them
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))

UPPER_LIDS = (
    (33, 247, 30, 29, 27, 28, 56, 190, *RIGHT_EYE[8:0:-1]),
    (263, 467, 260, 259, 257, 258, 286, 414, *LEFT_EYE[8:0:-1]),
)

# In face heights: how thick a frame may be, how much of its surroundings belongs to it, how wide it is at least.
THICK, AROUND, WIDE = 0.045, 0.008, 0.35
DARKER = 22  # than the skin around it, in grey levels
AS_DARK, NOT_LIT = 0.55, 0.12  # of what most of the frames are darker by: their middle, and their edges


@dataclass(frozen=True, eq=False)
class Glasses:
    """The frames of a portrait's glasses, and the portrait without them.

    bare:      [H, W, 3] the portrait with skin painted over the frames
    left, top: of the box around the frames
    dark:      [h, w, 3] what the frames add to `bare`
    source:    [478, 2] the portrait's landmarks
    """

    bare: Frame
    left: int
    top: int
    dark: Array
    source: Array

    @classmethod
    def of(cls, image: Frame, landmarks: Array) -> Glasses | None:
        """The glasses in `image`, if the face at `landmarks` [478, 3] wears some with dark frames."""
        points = landmarks[:, :2]
        height = float(np.ptp(points[:, 1]))
        left, right = points[TEMPLES[0], 0], points[TEMPLES[1], 0]
        top, bottom = points[list(ABOVE), 1].min(), points[list(BELOW), 1].max()
        box = np.array([left, top, right, bottom]).round().astype(int)
        box = np.clip(box, 0, [image.shape[1], image.shape[0]] * 2)
        if min(box[2] - box[0], box[3] - box[1]) < 32:
            return None
        part = np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]])
        frames = find_frames(part, points - box[:2], height)
        if frames is None:
            return None
        bare = image.copy()
        bare[box[1] : box[3], box[0] : box[2]] = cv2.inpaint(part, frames, 4, cv2.INPAINT_TELEA)
        dark = part.astype(np.float32) - bare[box[1] : box[3], box[0] : box[2]]
        return cls(bare, int(box[0]), int(box[1]), dark, points)

    def draw(self, frame: Frame, posed: Array) -> None:
        """Put the frames back on `frame`, where the head alone, `posed` [478, 3], brings them."""
        moved = (posed[list(BRIDGE), :2] - self.source[list(BRIDGE)]).mean(0)
        height, width = self.dark.shape[:2]
        corners = np.array([[self.left, self.top], [self.left + width, self.top + height]]) + moved
        box = extent(corners, frame, margin=0.1 * width)
        if box is None:
            return
        left, top, right, bottom = box
        where = np.full((bottom - top, right - left, 2), -1e4, np.float32)
        points = (posed[:468] - [left, top, 0]).astype(np.float32)
        source = (self.source[:468] - [self.left, self.top]).astype(np.float32)
        triangles = np.ascontiguousarray(face_model().triangles[:, ::-1])
        rasterise(points, triangles, source, where, np.full(where.shape[:2], np.inf, np.float32))
        region = frame[top:bottom, left:right]
        region[...] = np.rint(np.clip(region + cv2.remap(self.dark, where, None, cv2.INTER_LINEAR), 0, 255))


def find_frames(part: Frame, points: Array, height: float) -> NDArray[np.uint8] | None:
    """Where dark frames lie in `part` [h, w, 3] of a picture, as a mask [h, w]; None if there are none.

    They are thin and dark, are neither brow nor eye, and join both halves of the face across the nose.
    """
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    size = max(3, round(THICK * height))
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, shape)
    thin = (darker > DARKER).astype(np.uint8)
    face = np.zeros_like(thin)
    cv2.fillPoly(face, [np.round(points[list(FACE_OVAL)]).astype(np.int32)], 1)
    for outline in (*BROWS, RIGHT_EYE, LEFT_EYE):
        polygon = np.round(points[list(outline)]).astype(np.int32)
        cv2.fillPoly(thin, [polygon], 0)
        cv2.polylines(thin, [polygon], True, 0, max(1, round(AROUND * height)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(thin)
    ridge = np.zeros_like(thin)
    cv2.polylines(ridge, [np.round(points[list(BRIDGE)]).astype(np.int32)], False, 1, max(1, round(AROUND * height)))
    crossing = np.setdiff1d(labels[ridge > 0], [0])
    frames = [label for label in crossing if stats[label, cv2.CC_STAT_WIDTH] > WIDE * height]
    if not frames:
        return None
    joined = np.isin(labels, frames)
    usual = np.percentile(darker[joined], 90)
    lids = np.zeros_like(thin)
    for outline in UPPER_LIDS:
        cv2.fillPoly(lids, [np.round(points[list(outline)]).astype(np.int32)], 1)
    # Creases and lids that touch the frames are not; shadows of the frames keep to them.
    joined &= (lids == 0) | (darker > AS_DARK * usual)
    grown = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(AROUND * height)) + 1,) * 2)
    # Beyond the face the head moves all alike.
    inner = cv2.erode(face, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    mask: NDArray[np.uint8] = cv2.dilate(joined.astype(np.uint8), grown) & inner
    mask[(lids > 0) & (darker < NOT_LIT * usual)] = 0  # light on a lid moves with it
    return mask
