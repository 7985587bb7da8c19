"""Frames of glasses: they ride on the head and do not bend with the lids and brows behind them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...face.landmarks import FACE_OVAL, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE
from ...face.model import face_model
from ...types import Array, Frame
from .opening import extent
from .raster import compiled, rasterise

BRIDGE = (168, 6, 197)  # landmarks down the nose, where a frame joins its two halves
TEMPLES = (127, 356)
ABOVE, BELOW = (105, 334), (50, 280)  # brows and cheeks: frames lie between them

UPPER_LIDS = (
    (33, 247, 30, 29, 27, 28, 56, 190, *RIGHT_EYE[8:0:-1]),
    (263, 467, 260, 259, 257, 258, 286, 414, *LEFT_EYE[8:0:-1]),
)

Mask = NDArray[np.bool_]

# In face heights: how thick a frame may be, how much of its surroundings belongs to it, how wide it is at least, and
# how long its parts are: what is shorter is a piece of an eye or a wrinkle.
THICK, AROUND, WIDE, LONG = 0.045, 0.008, 0.35, 0.1
DARKER = 22  # than what is around it, in grey levels: there frames are looked for; and how bright lights on them are
# Frames are as thick as the least distance at which nine tenths of what is darkest about them are darker than what is
# around, by so much of what they are at any distance, for the half of them. Shadows are wider, since light has no sharp
# edge, so at that distance they vanish. What is darker by the second share is of the frames.
DARKEST, THIN, EDGE = 90, 0.8, 0.5
BESIDE = 2  # times as thick: lights on metal are no farther from what is dark


@dataclass(frozen=True, eq=False)
class Glasses:
    """The frames of a portrait's glasses, and the portrait without them.

    bare:      [H, W, 3] the portrait with skin painted over the frames
    left, top: of the box around the frames
    frames:    [h, w, 6] the share of the light from `bare` that the frames take, and the levels of their own light
    source:    [478, 2] the portrait's landmarks
    """

    bare: Frame
    left: int
    top: int
    frames: Array
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
        rows, columns = frames.any(1).nonzero()[0], frames.any(0).nonzero()[0]
        if not len(rows):
            return None
        bare = image.copy()
        bare[box[1] : box[3], box[0] : box[2]] = cv2.inpaint(part, frames, 4, cv2.INPAINT_TELEA)
        left, top = int(box[0] + columns[0]), int(box[1] + rows[0])
        seen = slice(top, int(box[1] + rows[-1]) + 1), slice(left, int(box[0] + columns[-1]) + 1)
        behind = bare[seen].astype(np.float32)
        change = image[seen] - behind
        shown = np.concatenate([np.maximum(-change / (behind + 1), 0), np.maximum(change, 0)], axis=2)
        return cls(bare, left, top, shown, points)

    def draw(self, frame: Frame, posed: Array) -> None:
        """Put the frames back on `frame`, where the head alone, `posed` [478, 3], brings them."""
        moved = (posed[list(BRIDGE), :2] - self.source[list(BRIDGE)]).mean(0)
        height, width = self.frames.shape[:2]
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
        lay_frames(frame[top:bottom, left:right], where, self.frames)


@compiled
def lay_frames(region: Frame, where: Array, frames: Array) -> None:
    """Put `frames` [h, w, 6] on `region` [H, W, 3], in place.

    where: [H, W, 2] what each pixel shows of the frames, linear between their pixels
    """
    height, width = frames.shape[:2]
    for y in range(region.shape[0]):
        for x in range(region.shape[1]):
            left, top = int(np.floor(where[y, x, 0])), int(np.floor(where[y, x, 1]))
            if left < -1 or top < -1 or left >= width or top >= height:
                continue
            right, low = where[y, x, 0] - left, where[y, x, 1] - top  # shares of the next column and row
            for c in range(3):
                taken, added = 0.0, 0.0
                for i in range(max(top, 0), min(top + 2, height)):
                    for j in range(max(left, 0), min(left + 2, width)):
                        share = (low if i > top else 1 - low) * (right if j > left else 1 - right)
                        taken += share * frames[i, j, c]
                        added += share * frames[i, j, c + 3]
                if taken > 0 or added > 0:
                    level = region[y, x, c] + added - taken * (region[y, x, c] + 1.0)
                    region[y, x, c] = int(min(max(level, 0.0), 255.0) + 0.5)


def find_frames(part: Frame, points: Array, height: float) -> NDArray[np.uint8] | None:
    """Where dark frames lie in `part` [h, w, 3] of a picture, as a mask [h, w]; None if there are none.

    Only the frames: their shadows lie on the skin and move with it, as lids and lashes do.
    """
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    most = max(3, round(THICK * height))
    darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, ellipse(most))
    found = across_the_nose(darker, points, height)
    if not found.any():
        return None
    thick, dark = rims(grey, darker, found, most)
    lids, face = np.zeros_like(grey), np.zeros_like(grey)
    for outline in UPPER_LIDS:
        cv2.fillPoly(lids, [np.round(points[list(outline)]).astype(np.int32)], 1)
    cv2.fillPoly(face, [np.round(points[list(FACE_OVAL)]).astype(np.int32)], 1)
    beside = cv2.dilate(dark.astype(np.uint8), ellipse(BESIDE * thick)) > 0
    lit = beside & (cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, ellipse(thick)) > DARKER) & (lids == 0)
    # Beyond the face the head moves all alike.
    inner = cv2.erode(face, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    grown = cv2.dilate((dark | lit).astype(np.uint8), ellipse(2 * max(1, round(AROUND * height)) + 1)) & inner
    _, labels, stats, _ = cv2.connectedComponentsWithStats(grown)
    long = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) > LONG * height
    long[0] = False  # what is around them
    mask: NDArray[np.uint8] = long[labels].astype(np.uint8)
    mask[(lids > 0) & (darker < DARKER / 2)] = 0  # light on a lid moves with it
    return mask


def across_the_nose(darker: NDArray[np.uint8], points: Array, height: float) -> Mask:
    """What is dark and thin, neither brow nor eye, and joins both halves of the face across the nose: [h, w].

    darker: [h, w] by how many levels each pixel is darker than what is around it
    """
    thin = (darker > DARKER).astype(np.uint8)
    for outline in (RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE):
        polygon = np.round(points[list(outline)]).astype(np.int32)
        cv2.fillPoly(thin, [polygon], 0)
        cv2.polylines(thin, [polygon], True, 0, max(1, round(AROUND * height)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(thin)
    ridge = np.zeros_like(thin)
    cv2.polylines(ridge, [np.round(points[list(BRIDGE)]).astype(np.int32)], False, 1, max(1, round(AROUND * height)))
    crossing = np.setdiff1d(labels[ridge > 0], [0])
    return np.isin(labels, [label for label in crossing if stats[label, cv2.CC_STAT_WIDTH] > WIDE * height])


def rims(grey: NDArray[np.uint8], darker: NDArray[np.uint8], found: Mask, most: int) -> tuple[int, Mask]:
    """How many pixels thick frames are, and where among what was `found` [h, w] they are: [h, w].

    darker: [h, w] by how many levels `grey` [h, w] is darker than what is within `most` pixels
    """
    share = darker / np.maximum(grey + darker, 1.0)
    usual = float(np.percentile(share[found], DARKEST))
    core = found & (share >= usual)
    for thick in range(3, most + 1, 2):
        narrow = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, ellipse(thick))
        share = narrow / np.maximum(grey + narrow, 1.0)
        if np.median(share[core]) > THIN * usual:
            break
    return thick, found & (share > EDGE * usual)


def ellipse(size: int) -> NDArray[np.uint8]:
    """A round structuring element, `size` pixels wide."""
    shape: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return shape
