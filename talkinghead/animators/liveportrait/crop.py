"""Cutting a face out of a picture as the networks know it, and putting it back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...face.landmarks import FACE_OVAL
from ...types import Array, Frame
from .sizes import FACE, PICTURE

Matrix = NDArray[np.float64]

SOURCE = (2.3, 0.0, -0.125)  # how much larger than the landmarks' box the crop is; its shift right and down, in sides
DRIVING = (2.2, 0.0, -0.1)
FEATHER = 16  # pixels over which a pasted face fades into the picture

# Which landmarks make the centre of the one eye, of the other, and of the lips, by how many landmarks there are.
_ANCHORS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    101: ((39, 42, 45, 48), (51, 54, 57, 60), (75, 81)),
    68: ((36, 39), (42, 45), (48, 54)),
    5: ((0,), (1,), (3, 4)),
    9: ((2, 3), (0, 1), (5, 6)),  # an animal's
    478: ((468,), (473,), (14,)),
}
# The networks saw crops measured by 106 landmarks, from the brows to the chin: MediaPipe's forehead would make a face
# smaller than any they were trained on.
_FOREHEAD = frozenset(
    (10, 338, 297, 332, 284, 251, 21, 54, 103, 67, 109, 151, 337, 299, 333, 298, 301, 108, 69, 104, 68, 71, 9)
)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
MEASURED = np.array(sorted({*FACE_OVAL, *_BROWS} - _FOREHEAD))


@dataclass(frozen=True, eq=False)
class Square:
    """The square around a face.

    centre: [2] pixels
    side:   pixels
    angle:  radians by which the face leans clockwise
    """

    centre: Matrix
    side: float
    angle: float

    def matrix(self, size: int, upright: bool = True) -> Matrix:
        """The affine matrix [3, 3] from the picture to a crop of `size` pixels.

        upright: turn the face upright too
        """
        angle = self.angle if upright else 0.0
        cos, sin = np.cos(angle), np.sin(angle)
        zoom = size / self.side
        turned = zoom * np.array([[cos, sin], [-sin, cos]])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = turned, size / 2 - turned @ self.centre
        return matrix

    def box(self) -> Matrix:
        """Left, top, right, bottom of the square when it does not lean."""
        half = self.side / 2
        return np.concatenate([self.centre - half, self.centre + half])


def anchors(points: Array) -> tuple[Matrix, Matrix]:
    """Where the eyes' centre and the lips' are [2], of 203, 106, 101, 68, 5, 9 or 478 landmarks [N, 2]."""
    if len(points) not in _ANCHORS:
        known = ", ".join(map(str, _ANCHORS))
        raise ValueError(f"landmarks must be {known} points, not {len(points)}")
    one, other, lips = (np.asarray(points, np.float64)[list(ids), :2].mean(0) for ids in _ANCHORS[len(points)])
    return (one + other) / 2, lips


def face_square(points: Array, scale: float, shift_x: float, shift_y: float, measured: Any = None) -> Square:
    """The square around the face with these landmarks [N, 2]; its y axis runs from the eyes to the lips.

    scale:            its side, in longer sides of the landmarks' box
    shift_x, shift_y: in sides, along the face's axes
    measured:         which landmarks the box is taken from; None takes all
    """
    eyes, lips = anchors(points)
    down = lips - eyes
    length = float(np.linalg.norm(down))
    down = down / length if length > 1e-3 else np.array([0.0, 1.0])
    right = np.array([down[1], -down[0]])
    axes = np.stack([right, down])
    inside = np.asarray(points if measured is None else points[measured], np.float64)[:, :2] @ axes.T
    low, high = inside.min(0), inside.max(0)
    side = float((high - low).max()) * scale
    centre = ((low + high) / 2 + side * np.array([shift_x, shift_y])) @ axes
    return Square(centre, side, float(np.arctan2(right[1], right[0])))


def portrait_square(landmarks: Array, crop: tuple[float, float, float] = SOURCE) -> Square:
    """The square around a face with MediaPipe's 478 `landmarks`, as large as the networks are used to."""
    return face_square(landmarks[:, :2], *crop, measured=MEASURED)


def mean_box(landmarks: Array, crop: tuple[float, float, float] = DRIVING, measured: Any = None) -> Matrix:
    """One box for a whole video, left, top, right, bottom: the mean over frames of the squares, not leaning.

    landmarks: [T, N, 2]
    """
    boxes = [face_square(points, *crop, measured=measured).box() for points in landmarks]
    mean: Matrix = np.mean(boxes, axis=0)
    return mean


def box_matrix(box: Matrix, size: int) -> Matrix:
    """The affine matrix [3, 3] from the picture to a crop of `size` pixels of a square box."""
    left, top, right, bottom = box
    return Square(np.array([left + right, top + bottom]) / 2, float(right - left), 0.0).matrix(size)


def cut(image: Frame, matrix: Matrix, size: int = PICTURE) -> Frame:
    """The crop [size, size, 3] that `matrix` takes out of `image`; black outside."""
    import cv2

    crop: Frame = cv2.warpAffine(image, matrix[:2], (size, size), flags=cv2.INTER_LINEAR)
    return crop


def face_input(crop: Frame) -> Frame:
    """A crop of 512 pixels as the networks see it: [256, 256, 3]."""
    import cv2

    reduced: Frame = cv2.resize(crop, (FACE, FACE), interpolation=cv2.INTER_AREA)
    return reduced


@lru_cache(maxsize=1)
def feather() -> NDArray[np.uint8]:
    """How much a pasted face covers [512, 512]: 255 inside, fading to 0 over 16 pixels at the edge."""
    near = np.arange(PICTURE, dtype=np.float64)
    outside = np.maximum(np.maximum(FEATHER - near, near - (PICTURE - FEATHER)), 0)  # of the square 16..496
    distance = np.hypot(outside[:, None], outside[None])
    mask: NDArray[np.uint8] = np.floor(255 * np.maximum(0, 1 - distance / FEATHER)).astype(np.uint8)
    mask.setflags(write=False)
    return mask


@dataclass(frozen=True, eq=False)
class Paste:
    """A place in a picture that faces are pasted into.

    rows, columns: the part of the picture that they reach
    matrix:        [3, 3] from the crop to that part
    mask:          [h, w, 1] how much of them shows there, 0 to 1
    """

    rows: slice
    columns: slice
    matrix: Matrix
    mask: Array

    @classmethod
    def of(cls, square: Square, width: int, height: int, mask: NDArray[np.uint8] | None = None) -> Paste:
        """The place of `square` in a picture of this size; `mask` [512, 512] stands in for the feather."""
        import cv2

        matrix = np.linalg.inv(square.matrix(PICTURE))
        corners = matrix[:2] @ np.array([[0, PICTURE, 0, PICTURE], [0, 0, PICTURE, PICTURE], [1, 1, 1, 1]])
        limit = np.array([width, height])
        low = np.clip(np.floor(corners.min(1)).astype(int) - 1, 0, limit)
        high = np.clip(np.ceil(corners.max(1)).astype(int) + 2, low, limit)
        local = matrix.copy()
        local[:2, 2] -= low
        size = tuple(int(side) for side in high - low)
        if min(size) == 0:
            return cls(slice(0, 0), slice(0, 0), local, np.zeros((0, 0, 1), np.float32))
        spread = cv2.warpAffine(feather() if mask is None else mask, local[:2], size, flags=cv2.INTER_LINEAR)
        share = spread.astype(np.float32)[..., None] / 255
        return cls(slice(low[1], high[1]), slice(low[0], high[0]), local, share)

    def draw(self, picture: Frame, face: NDArray[Any], *, truncated: bool = False) -> None:
        """Paste `face` [512, 512, 3], 0 to 255 of uint8 or float32, into `picture`, in place.

        truncated: cut fractions off instead of rounding, as the public pipeline does: half a level darker
        """
        import cv2

        if not self.mask.size:
            return
        part = picture[self.rows, self.columns]
        size = (part.shape[1], part.shape[0])
        moved = cv2.warpAffine(face, self.matrix[:2], size, flags=cv2.INTER_LINEAR).astype(np.float32)
        blended = part + self.mask * (moved - part)
        part[:] = (np.clip(blended, 0, 255) + (0 if truncated else 0.5)).astype(np.uint8)
