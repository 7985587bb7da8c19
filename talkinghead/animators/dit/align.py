"""Turning and scaling a face upright into a square picture, as face encoders expect it."""

from __future__ import annotations

import cv2
import numpy as np

from ...face.landmarks import LEFT_IRIS, MOUTH_CORNERS, RIGHT_IRIS
from ...types import Array, Frame

SIZE = 512  # pixels
# Right and left eye, nose tip, right and left corner of the mouth in a picture of 512 x 512: the FFHQ template of
# facexlib, with which the published pipeline cuts out faces.
TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ],
    np.float32,
)
NOSE_TIP = 1  # MediaPipe's, which lies lowest and most forward
BORDER = (135, 133, 132)  # grey outside the picture, as there


def five_points(landmarks: Array) -> Array:
    """Eyes, nose tip and corners of the mouth [5, 2] of a face with `landmarks` [478, 2 or more], in their pixels."""
    eyes = [landmarks[list(iris), :2].mean(0) for iris in (RIGHT_IRIS, LEFT_IRIS)]
    points: Array = np.stack([*eyes, landmarks[NOSE_TIP, :2], *landmarks[list(MOUTH_CORNERS), :2]]).astype(np.float32)
    return points


def similarity(source: Array, target: Array) -> Array:
    """The turn, scale and shift [2, 3] that take points `source` [N, 2] nearest to `target` [N, 2].

    Least squares over complex numbers, where a similarity is z -> a z + b.
    """
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    (a, b), *_ = np.linalg.lstsq(np.stack([z, np.ones_like(z)], 1), w, rcond=None)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


def aligned_face(image: Frame, landmarks: Array) -> Frame:
    """The face with `landmarks` [478, 3] in pixels of `image`, upright in a picture [512, 512, 3]."""
    turn = similarity(five_points(landmarks), TEMPLATE)
    aligned = cv2.warpAffine(image, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=BORDER)
    return np.asarray(aligned, np.uint8)
