"""The skin of the upper lids, which a blink stretches to several times its height."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...face.landmarks import LEFT_EYE, RIGHT_EYE
from ...types import Array, Frame
from .light import LUMA, film_grain, tiled
from .opening import extent

# Around the skin between each upper lid's crease and the brow.
LIDS = (
    np.array((247, 30, 29, 27, 28, 56, 190, 113, 225, 224, 223, 222, 221, 189)),
    np.array((467, 260, 259, 257, 258, 286, 414, 342, 445, 444, 443, 442, 441, 413)),
)
DETAIL = 0.008  # face heights: what is finer makes streaks when it is stretched
BELOW = (np.array((228, 229, 230, 231, 232)), np.array((448, 449, 450, 451, 452)))  # landmarks of skin under each eye
# Shares of that skin's brightness and of its colour (the largest channel less the smallest) that a lid has less of: the
# shadow of lashes begins where both are at the first, and is all there is at the second. Skin that is only turned from
# the light, and make-up, keep their colour.
DARKER, PALER = (0.15, 0.35), (0.1, 0.4)
PLAIN = 3  # levels of 255: a picture with less colour has no grey shadows
# A lid without the shadow is so much of that skin in the shade, which saturates colours: their power, then their share.
SATURATED, LID_TONE = 1.2, 0.95
# Both lids have the same skin: what is darker, beside the skin below, than the lighter of them, lies in the shade of
# brow and nose, or next to an eyeball that the tracker left above the lid's edge. Where that begins, and is complete.
SHADED = (0.05, 0.25)
OWN = 0.5  # of its hue is what the shadow shows
TONED = 0.85  # of the shadow goes
ENDS = 0.5  # of half an eye's width: there towards its corners, shadows stay
SMOOTH_SKIN = (50, 280, 101, 330)  # landmarks on the cheeks, away from nose and mouth
REACH = 0.09  # face heights: half the side of the square of a cheek whose detail is taken
COARSE = (3.5, 4.5)  # levels of 255, of film grain: between them the detail turns from noise to canvas and cracks
OUTLIERS = 1.5  # standard deviations: moles are cut off there, and cracks are fainter on a lid than on a cheek
STRETCHED = (0.65, 0.35)  # pixels of the portrait per pixel: smoothing begins at the first, is complete at the second


@dataclass(frozen=True, eq=False)
class LidSkin:
    """The picture around the eyes without its finest detail.

    left, top: of the box in the portrait
    smooth:    [h, w, 3]
    grain:     [h, w, 1 or 3] the detail, as a tile: noise, or what a cheek shows of it
    """

    left: int
    top: int
    smooth: Frame
    grain: Array

    @classmethod
    def of(cls, image: Frame, landmarks: Array, height: float) -> LidSkin | None:
        """The lids of a face of `height` pixels at `landmarks` [478, 3]; None if they are out of the picture.

        Only skin is mixed with skin: lashes and eyeballs would darken it.
        """
        size = DETAIL * height
        box = extent(landmarks[np.concatenate([*LIDS, RIGHT_EYE, LEFT_EYE]), :2], image, margin=8 * size)
        if box is None:
            return None
        left, top, right, bottom = box
        part = image[top:bottom, left:right]
        skin = np.ones(part.shape[:2], np.float32)
        for eye in (RIGHT_EYE, LEFT_EYE):
            outline = np.round(landmarks[list(eye), :2] - [left, top]).astype(np.int32)
            cv2.fillPoly(skin, [outline], 0.02)
            cv2.polylines(skin, [outline], True, 0.02, max(1, round(2 * size)))
        total = cv2.GaussianBlur(skin, (0, 0), size)[..., None]
        smooth = cv2.GaussianBlur(part * skin[..., None], (0, 0), size) / total
        smooth = np.rint(without_shadow(smooth, landmarks[:, :2] - [left, top], size)).astype(np.uint8)
        return cls(left, top, smooth, skin_grain(image, landmarks, size))

    def calm(self, region: Frame, where: Array, points: Array, shut: bool) -> None:
        """Redraw lids that are stretched with smooth skin and fresh grain.

        region, where: [H, W, 3] and [H, W, 2] pixels and where in the portrait they come from
        points:        [N, 2] the landmarks, in pixels of the region
        shut:          whether an eye is shut or about to be: its lid is then stretched below the crease, too
        """
        for lid, eye in zip(LIDS, (RIGHT_EYE, LEFT_EYE), strict=True):
            box = extent(points[[*lid, *eye]] if shut else points[lid], region)
            if box is None or min(box[2] - box[0], box[3] - box[1]) < 4:
                continue
            left, top, right, bottom = box
            source = where[top:bottom, left:right]
            slope = np.gradient(source[..., 1], axis=0)  # pixels of the portrait per pixel
            much = np.clip((STRETCHED[0] - slope) / (STRETCHED[0] - STRETCHED[1]), 0, 1)
            if shut:
                cv2.fillPoly(much, [np.round(points[list(eye)] - [left, top]).astype(np.int32)], 0)
            if not much.any():
                continue
            much = cv2.GaussianBlur(much, (0, 0), 1.2)[..., None]
            origin = np.array([self.left, self.top], np.float32)
            smooth = cv2.remap(self.smooth, source - origin, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            skin = smooth + tiled(self.grain, *source.shape[:2])
            part = region[top:bottom, left:right]
            part[...] = np.rint(np.clip(part + (skin - part) * much, 0, 255))


def without_shadow(smooth: Array, points: Array, size: float) -> Array:
    """`smooth` [H, W, 3] with upper lids in the tone of the skin below the eyes, where lashes shade them grey, and both
    as light as the lighter of them.

    points: [478, 2] the landmarks, in pixels
    size:   pixels: how soft the change is
    """
    light, smooth = lids_light(smooth, points), smooth.copy()
    for lid, eye, below in zip(LIDS, (RIGHT_EYE, LEFT_EYE), BELOW, strict=True):
        box = extent(points[[*lid, *eye]], smooth, margin=6 * size)
        if box is not None:
            left, top, right, bottom = box
            places = points[below].astype(np.float32)[None]
            seen = cv2.remap(smooth, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
            outline = points[[*eye, *lid]] - [left, top]
            part = smooth[top:bottom, left:right]
            part[...] = toned(part, outline, np.median(seen, axis=0), light, size)
    return smooth


def toned(part: Array, outline: Array, tone: Array, light: float, size: float) -> Array:
    """`part` [H, W, 3] of a picture around one lid, without shadows.

    outline: [N, 2] the eye's landmarks, and those above it
    tone:    [3] of the skin below the eye
    light:   how light the lid is beside that, at the least
    """
    y, x = np.indices(part.shape[:2], np.float32)
    middle, half = (outline[0] + outline[8]) / 2, (outline[8] - outline[0]) / 2  # the eye's corners
    along = ((x - middle[0]) * half[0] + (y - middle[1]) * half[1]) / max(float(half @ half), 1)
    inside = np.zeros_like(x)
    hull = cv2.convexHull(np.round(outline).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, 1)
    cv2.polylines(inside, [hull], True, 1, max(1, round(2 * size)))  # the blur leaves the lid inside
    inside *= np.clip((1 - np.abs(along)) / ENDS, 0, 1)
    darker = 1 - part @ LUMA / max(float(tone @ LUMA), 1)
    paler = 1 - (np.ptp(part, axis=2) + PLAIN) / (float(np.ptp(tone)) + PLAIN)
    share = cv2.GaussianBlur((risen(darker, DARKER) * risen(paler, PALER) * inside).astype(np.float32), (0, 0), size)
    bare = 255 * LID_TONE * (tone / 255) ** SATURATED
    lit = part * (bare @ LUMA / np.maximum(part @ LUMA, 1))[..., None]
    part = part + (bare + OWN * (lit - bare) - part) * TONED * share[..., None]
    bare = light / LID_TONE * bare
    share = risen(1 - part @ LUMA / max(float(bare @ LUMA), 1), SHADED) * inside
    share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), size)
    clear: Array = part + (bare - part) * TONED * share[..., None]
    return clear


def lids_light(smooth: Array, points: Array) -> float:
    """How light the lighter of both upper lids is in `smooth` [H, W, 3] beside the skin below it: 1 at the most."""
    light = 0.0
    for lid, below in zip(LIDS, BELOW, strict=True):
        places = points[np.concatenate([lid[:7], below])].astype(np.float32)[None]
        seen = cv2.remap(smooth, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] @ LUMA
        light = max(light, float(np.sort(seen[:7])[-2] / max(np.median(seen[7:]), 1)))  # the lightest may be a corner
    return min(light, 1.0)


def risen(values: Array | float, ends: tuple[float, float]) -> Array:
    """How far `values` are from the first to the second of `ends`: 0 to 1."""
    share: Array = np.clip((np.asarray(values) - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return share


def skin_grain(image: Frame, landmarks: Array, size: float) -> Array:
    """A tile [h, w, 1 or 3] of the skin's detail below `size` pixels: noise, but on a coarse ground the ground itself.

    Noise looks like orange peel beside a canvas' weave or cracks in paint. The tile is mirrored, so it has no seams.
    """
    noise = film_grain(image, landmarks)
    share = float(risen(float(noise.std()), COARSE))
    reach = int(REACH * np.ptp(landmarks[:, 1]))
    if share == 0 or reach < 8:
        return noise
    tiles = []
    for x, y in landmarks[list(SMOOTH_SKIN), :2].astype(int):
        part = image[max(0, y - reach) : max(0, y + reach), max(0, x - reach) : max(0, x + reach)].astype(np.float32)
        if part.shape[:2] == (2 * reach, 2 * reach):
            tiles.append(part - cv2.GaussianBlur(part, (0, 0), size))
    if not tiles:
        return noise
    tile = min(tiles, key=lambda tile: float(np.abs(tile).mean()))  # the calmest: lids have finer skin than cheeks
    most = OUTLIERS * 1.48 * float(np.median(np.abs(tile)))  # the median deviation of a normal one of 1 is 1/1.48
    tile = np.clip(tile, -most, most)
    tile = np.concatenate([tile, tile[::-1]])
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    grain: Array = tile * share + tiled(noise, *tile.shape[:2]) * (1 - share)
    return grain
