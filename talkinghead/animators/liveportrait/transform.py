"""The motion arithmetic: keypoints at rest, turned, deformed, scaled and shifted to where a face is.

Keypoints are rows, x right, y down, z into the scene, -1 to 1 over the crop; a rotation acts from their right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...face.geometry import rotation_angles, rotation_matrix
from ...types import Array, check_array
from .sizes import KEYPOINTS


@dataclass(frozen=True, eq=False)
class KeypointMotion:
    """How a face moves in T frames, in the terms of LivePortrait's networks.

    expression:  [T, 21, 3] what is added to the turned keypoints before they are scaled
    rotation:    [T, 3, 3] for rows: `keypoints @ rotation`
    scale:       [T, 1]
    translation: [T, 3]; z is never used
    """

    expression: Array
    rotation: Array
    scale: Array
    translation: Array

    def __post_init__(self) -> None:
        check_array("expression", self.expression, np.float32, None, KEYPOINTS, 3)
        check_array("rotation", self.rotation, np.float32, len(self), 3, 3)
        check_array("scale", self.scale, np.float32, len(self), 1)
        check_array("translation", self.translation, np.float32, len(self), 3)

    def __len__(self) -> int:
        return len(self.expression)

    def __getitem__(self, frames: slice) -> KeypointMotion:
        return KeypointMotion(
            self.expression[frames], self.rotation[frames], self.scale[frames], self.translation[frames]
        )

    def place(self, canonical: Array) -> Array:
        """Keypoints [T, 21, 3] of a face whose keypoints at rest are `canonical` [1 or T, 21, 3]."""
        shift = self.translation * np.array([1, 1, 0], np.float32)
        placed: Array = self.scale[:, None] * (canonical @ self.rotation + self.expression) + shift[:, None]
        return placed.astype(np.float32)


def joined(pieces: Sequence[KeypointMotion]) -> KeypointMotion:
    """Pieces of motion, one after the other."""
    names = ("expression", "rotation", "scale", "translation")
    return KeypointMotion(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in names))


def turn(degrees: Array) -> Array:
    """The rotation for rows [..., 3, 3] of pitch, yaw, roll [..., 3] in degrees: (Rz(roll) Ry(yaw) Rx(pitch))ᵀ."""
    return np.ascontiguousarray(np.swapaxes(rotation_matrix(np.radians(degrees)), -1, -2))


def angles(rotation: Array) -> Array:
    """The inverse of `turn`: pitch, yaw, roll [..., 3] in degrees."""
    degrees: Array = np.degrees(rotation_angles(np.swapaxes(rotation, -1, -2)))
    return degrees


def nearest_rotation(matrix: Array) -> Array:
    """The rotation [..., 3, 3] nearest to a matrix, by its singular value decomposition."""
    u, _, vt = np.linalg.svd(matrix)
    signs = np.ones(u.shape[:-1], u.dtype)
    signs[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation: Array = ((u * signs[..., None, :]) @ vt).astype(np.float32)
    return rotation
