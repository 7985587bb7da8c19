"""Which part of a picture the model sees, and how what it makes is put back.

The model knows one picture size, 3:2. The published pipeline shows it the whole picture with black bars at the sides,
or cut at the sides (`whole_frame`). Cutting out the surroundings of the face instead (`face_frame`) keeps the face as
large as in training, whatever the picture's shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...types import Array, Frame

FACE_SHARE = 0.42  # of the model's picture that the face is high, forehead to chin: head and shoulders; by eye
CENTRE = 0.46  # where the face's middle is, from the top
FEATHER = 0.06  # of the rectangle's height, over which its border fades into the picture
BLEED = 4  # pixels of the model's picture beside a black bar, into which it bleeds when sizes change


@dataclass(frozen=True, eq=False)
class Framing:
    """A rectangle of a picture, in whole pixels; it may reach beyond the picture, where it is black.

    canvas: height and width of the model's picture
    """

    left: int
    top: int
    width: int
    height: int
    canvas: tuple[int, ...]

    def fit(self, image: Frame) -> Frame:
        """The rectangle of `image` as the model's picture; bicubic, by Pillow."""
        from PIL import Image

        cut = np.zeros((self.height, self.width, 3), np.uint8)
        inside, own = self._overlap(image.shape[:2])
        cut[own] = image[inside]
        height, width = self.canvas
        return np.asarray(Image.fromarray(cut).resize((width, height)))

    def points(self, landmarks: Array) -> Array:
        """Landmarks [..., 478, 2 or 3] in pixels of the picture as [..., 478, 2] in pixels of the model's picture."""
        scale = np.array([self.canvas[1] / self.width, self.canvas[0] / self.height], np.float32)
        moved: Array = ((landmarks[..., :2] - np.array([self.left, self.top], np.float32)) * scale).astype(np.float32)
        return moved

    def paste(self, image: Frame, made: Frame, mask: Array) -> Frame:
        """`image` with `made`, a picture of the model's size, in the rectangle; `mask` is that of `seam`."""
        inside, own = self._overlap(image.shape[:2])
        smaller = self.height < self.canvas[0]
        large = cv2.resize(
            made, (self.width, self.height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        )
        pasted = image.copy()
        old = image[inside].astype(np.float32)
        pasted[inside] = np.rint(old + (large[own] - old) * mask).astype(np.uint8)
        return pasted

    def seam(self, size: tuple[int, ...]) -> Array:
        """How much of the made picture shows [h, w, 1] in a picture of `size` (height, width): its borders fade out.

        Where the rectangle ends with the picture nothing fades; where it reaches beyond, only what black bars touch.
        """
        (rows, columns), _ = self._overlap(size)
        down = self._ramp(rows, self.top, self.top + self.height, size[0])
        across = self._ramp(columns, self.left, self.left + self.width, size[1])
        return (down[:, None] * across)[..., None]

    def _ramp(self, shown: slice, start: int, stop: int, room: int) -> Array:
        """Ones for the `shown` pixels of a stretch `start` to `stop` in 0 to `room`, falling smoothly at its ends."""
        place = np.arange(shown.stop - shown.start, dtype=np.float32) + 0.5
        ramp = np.ones_like(place)
        for beyond, distance in ((-start, place), (stop - room, place[::-1])):
            reach = max(3.0, self.height * (FEATHER if beyond < 0 else BLEED / self.canvas[0]))
            if beyond:
                share = np.clip(distance / reach, 0, 1)
                ramp = ramp * (share**2 * (3 - 2 * share))
        return ramp.astype(np.float32)

    def _overlap(self, size: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns that the rectangle shares with a picture of `size`, counted in either."""
        top, bottom = max(0, self.top), min(size[0], self.top + self.height)
        left, right = max(0, self.left), min(size[1], self.left + self.width)
        own = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        return (slice(top, bottom), slice(left, right)), own


def whole_frame(size: tuple[int, ...], canvas: tuple[int, ...]) -> Framing:
    """All of a picture of `size` (height, width): cut at the sides if it is wider than 3:2, else with black bars.

    The rule of the published pipeline, roundings included.
    """
    height, width = size
    if height / width < canvas[0] / canvas[1]:
        wide = int(height / canvas[0] * canvas[1])
        return Framing((width - wide) // 2, 0, wide, height, canvas)
    bar = int((canvas[1] / canvas[0] * height - width) / 2)
    return Framing(-bar, 0, width + 2 * bar, height, canvas)


def face_frame(landmarks: Array, size: tuple[int, ...], canvas: tuple[int, ...]) -> Framing:
    """The face with `landmarks` [478, 3], head and shoulders, in a picture of `size`; inside it as far as possible.

    Black bars are at the sides at most, as the model was trained with: it is never higher than the picture.
    """
    low, high = landmarks[:468, :2].min(0), landmarks[:468, :2].max(0)
    face = max(high[1] - low[1], (high[0] - low[0]) * 1.2)  # a bowed face is short
    height = min(max(2, round(float(face) / FACE_SHARE)), size[0])
    width = max(2, round(height * canvas[1] / canvas[0]))
    x, y = (low + high) / 2
    return Framing(
        _kept(round(float(x) - width / 2), width, size[1]),
        _kept(round(float(y) - height * CENTRE), height, size[0]),
        width,
        height,
        canvas,
    )


def _kept(start: int, length: int, room: int) -> int:
    """`start` moved so that a stretch of `length` lies in 0 to `room`, or is centred if it is longer."""
    return (room - length) // 2 if length > room else min(max(start, 0), room - length)
