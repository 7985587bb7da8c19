"""The pictures that tell the model where the face goes: thin coloured lines on black, as it was trained on.

Facts of the published SkyReels-A1 pipeline: indices are MediaPipe's face mesh, lines are one pixel wide without
anti-aliasing, and later ones cover earlier ones. Colours are the channels of the image in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from ...face.landmarks import FACE_OVAL
from ...types import Array, Frame

Colour = tuple[int, int, int]
Pixel = tuple[int, int]

# fmt: off
DRIVING = (  # the 105 points of a driving frame
    276, 282, 283, 285, 293, 295, 296, 300, 334, 336, 46, 52, 53, 55, 63, 65, 66, 70, 105, 107, 249, 263, 362, 373, 374,
    380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466, 7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161,
    163, 173, 246, 168, 6, 197, 195, 5, 4, 129, 98, 97, 2, 326, 327, 358, 0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82,
    84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375,
    402, 405, 409, 415,
)
PUPILS = (468, 473)  # of the subject's right and left eye
NOSE_TIP = 4

_RIGHT_EYE: Colour = (10, 200, 180)
_HIDDEN: Colour = (0, 0, 0)  # two short arcs of the right eye are drawn in black and partly covered again
_LEFT_EYE = ((180, 200, 10), (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398, 362))
_LEFT_BROW = [((180, 220, 10), (285, 295, 282, 283, 276)), ((180, 220, 10), (336, 296, 334, 293, 300))]
_RIGHT_BROW = [((10, 220, 180), (46, 53, 52, 65, 55)), ((10, 220, 180), (70, 63, 105, 66, 107))]
_LIPS = [
    ((10, 180, 20), (61, 146, 91, 181, 84, 17)),
    ((20, 10, 180), (17, 314, 405, 321, 375, 291)),
    ((100, 100, 30), (78, 95, 88, 178, 87, 14)),
    ((100, 150, 50), (14, 317, 402, 318, 324, 308)),
    ((20, 80, 100), (61, 185, 40, 39, 37, 0)),
    ((80, 100, 20), (0, 267, 269, 270, 409, 291)),
    ((120, 100, 200), (78, 191, 80, 81, 82, 13)),
    ((150, 120, 100), (13, 312, 311, 310, 415, 308)),
]
Lines = list[tuple[Colour, tuple[int, ...]]]
REFERENCE_LINES: Lines = [
    _LEFT_EYE,
    (_RIGHT_EYE, (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33)),
    *_LEFT_BROW, *_RIGHT_BROW, *_LIPS,
]
DRIVING_LINES: Lines = [
    (_RIGHT_EYE, (144, 145, 153, 154, 155)), (_HIDDEN, (155, 157)), (_RIGHT_EYE, (157, 158, 159, 160, 161)),
    (_HIDDEN, (161, 33)), (_RIGHT_EYE, (33, 7, 163, 144)), _LEFT_EYE, *_LEFT_BROW,
    (_RIGHT_EYE, (155, 133, 173, 157)), (_RIGHT_EYE, (161, 246, 33)), *_RIGHT_BROW, *_LIPS,
]
# fmt: on
REFERENCE_DOTS: Sequence[tuple[int, Colour, int]] = (  # landmark, colour, half a side in pixels
    (468, (10, 200, 250), 1),
    (473, (250, 200, 10), 1),
    (NOSE_TIP, (200, 200, 200), 2),
)
PUPIL_COLOURS: Mapping[str, tuple[Colour, Colour]] = {  # of the right and the left eye
    "video": ((10, 200, 250), (250, 200, 10)),
    "audio": ((10, 200, 180), (180, 200, 10)),
}
NOSE_COLOUR: Colour = (255, 255, 255)

# What a face detector of the SCRFD family boxes is the mesh's extent: both follow WIDER FACE, whose boxes hold
# forehead, chin and cheeks. As shares of that extent: our calibration, to be changed where boxes are measured.
BOX_WIDTH, BOX_HEIGHT = 1.0, 1.0


class Box(NamedTuple):
    """A rectangle of the canvas in whole pixels, its right and bottom side excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def inside(self, points: Array) -> Array:
        """Points [N, 2] of the canvas as shares of this box [N, 2], float32: 0 is left or top, 1 right or bottom."""
        shares: Array = (points - np.array([self.left, self.top], np.float32)) / np.array(self.size, np.float32)
        return shares


def detected_box(landmarks: Array) -> Array:
    """What a face detector boxes [4], left, top, right, bottom, about a face with `landmarks` [478, 2 or more]."""
    oval = landmarks[list(FACE_OVAL), :2]
    low, high = oval.min(0), oval.max(0)
    centre, half = (low + high) / 2, (high - low) / 2 * np.array([BOX_WIDTH, BOX_HEIGHT], np.float32)
    box: Array = np.concatenate([centre - half, centre + half]).astype(np.float32)
    return box


def face_box(detected: Array, canvas: tuple[int, ...]) -> Box:
    """The square about twice as wide as the `detected` face [4], inside a canvas of (height, width).

    The rule of the published pipeline, roundings included.
    """
    x0, y0, x1, y1 = detected
    width, height = x1 - x0, y1 - y0
    left, right = max(0, int(x0 - width / 2)), min(canvas[1] - 1, int(x1 + width / 2))
    reach = ((right - left) - height) / 2
    top, bottom = max(0, int(y0 - reach)), min(canvas[0], int(y1 + reach))
    trim = max(0, int(((right - left) - (bottom - top)) / 2))
    return Box(left + trim, top, right - trim, bottom)


def draw_reference(landmarks: Array, box: Box, canvas: tuple[int, ...]) -> Frame:
    """The picture [H, W, 3] of the reference face; `landmarks` [478, 2 or more] are shares of `box`."""
    width, height = box.size
    drawing = _lines({index: point[:2] for index, point in enumerate(landmarks)}, REFERENCE_LINES, width, height)
    for index, colour, half in REFERENCE_DOTS:
        x, y = map(float, landmarks[index, :2])
        if 0 <= x < 1 and 0 <= y < 1:
            column, row = int(width * x), int(height * y)
            drawing[row - half : row + half, column - half : column + half] = colour
    return _on_canvas(drawing, box, canvas)


def draw_driving(points: Array, pupils: Array, box: Box, canvas: tuple[int, ...], colours: str = "video") -> Frame:
    """The picture [H, W, 3] of a driving face.

    points:  [105, 2] float32 shares of `box`, in the order of DRIVING
    pupils:  [2, 2] pixels of `box`, the subject's right eye first
    colours: "video" or "audio": how the published pipeline colours pupils when driven by either
    """
    width, height = box.size
    drawing = _lines(dict(zip(DRIVING, points, strict=True)), DRIVING_LINES, width, height)
    order = (0, 1) if colours == "video" else (1, 0)
    for eye in order:
        _square(drawing, *map(int, pupils[eye]), half=1, colour=PUPIL_COLOURS[colours][eye])
    x, y = map(float, points[DRIVING.index(NOSE_TIP)])
    _square(drawing, int(x * width), int(y * height), half=2, colour=NOSE_COLOUR)
    return _on_canvas(drawing, box, canvas)


def draw_driving_face(landmarks: Array, box: Box, canvas: tuple[int, ...], colours: str = "video") -> Frame:
    """The same from all landmarks [478, 2 or more] of the face, in pixels of the canvas."""
    shares = box.inside(landmarks[:, :2])
    pupils = shares[list(PUPILS)].astype(np.float64) * box.size
    return draw_driving(shares[list(DRIVING)], pupils, box, canvas, colours)


def _lines(points: Mapping[int, Array], lines: Lines, width: int, height: int) -> Frame:
    drawing = np.zeros((height, width, 3), np.uint8)
    pixels = {index: _pixel(point, width, height) for index, point in points.items()}
    for colour, chain in lines:
        for a, b in pairwise(chain):
            start, end = pixels[a], pixels[b]
            if start is not None and end is not None:
                cv2.line(drawing, start, end, colour, 1)
    return drawing


def _pixel(point: Array, width: int, height: int) -> Pixel | None:
    """The pixel at a place given in shares; None outside, which leaves out every line that ends there."""
    x, y = map(float, point)
    if not (0 <= x <= 1 and 0 <= y <= 1):
        return None
    return min(int(x * width), width - 1), min(int(y * height), height - 1)


def _square(drawing: Frame, x: int, y: int, *, half: int, colour: Colour) -> None:
    """A filled square about a pixel; what lies outside the drawing is left out by Python's rules of slices."""
    drawing[y - half : y + half + 1, x - half : x + half + 1] = colour


def _on_canvas(drawing: Frame, box: Box, canvas: tuple[int, ...]) -> Frame:
    picture = np.zeros((*canvas, 3), np.uint8)
    picture[box.top : box.bottom, box.left : box.right] = drawing
    return picture
