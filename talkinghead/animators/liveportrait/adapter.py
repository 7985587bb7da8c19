"""From where landmarks go to how LivePortrait's keypoints move.

Landmarks are compared with the portrait's own, after the head's pose was taken away, in the distance of the eyes.
Two ways lead from there to the 21 x 3 numbers of an expression: a linear map fitted to a user's footage
(`fit_map`), or, without one, the few coordinates whose meaning the public editors know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...blendshapes import INDEX
from ...errors import CheckpointMismatch, NonFiniteWeights
from ...face.geometry import FLIP, Head, procrustes
from ...face.landmarks import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from ...face.model import face_model
from ...files import new_file
from ...types import Array
from ...weights import read_safetensors
from .sizes import KEYPOINTS

# What is looked at: brows, eyes, irises, lips and chin, much as in the 68 points of iBUG.
# fmt: off
POINTS = np.array([
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    468, 473,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
    152,
])
# What moves with the skull alone: the forehead, the bridge of the nose, the corners of the eyes, the temples.
RIGID = (10, 151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 127, 356, 54, 284)
# fmt: on
MAP_FILE = "landmark_map.safetensors"

SLIDER = 15.0  # how far the public editors' sliders go, whose units the table below is in


def unposed(landmarks: Array, head: Head) -> Array:
    """Shapes [T, 478, 3] of the faces at `landmarks` [T, 478, 3], their pose taken away: laid on that of `head`."""
    observed = landmarks * FLIP
    weight = np.zeros(len(head.shape), np.float32)
    weight[list(RIGID)] = 1
    shape = np.broadcast_to(head.shape, observed.shape)
    scale, rotation, shift = procrustes(shape, observed, weight)
    flat: Array = np.einsum("tji,tnj->tni", rotation, observed - shift[:, None]) / scale[:, None, None]
    return flat


def displacements(shapes: Array, neutral: Array) -> Array:
    """How `shapes` [T, 478, 3] differ from `neutral` [478, 3]: [T, 45, 2], right and down, in distances of the eyes."""
    moved: Array = ((shapes - neutral) * FLIP)[:, POINTS, :2] / eyes_apart(neutral)
    return moved.astype(np.float32)


def eyes_apart(shape: Array) -> float:
    """The distance of the eyes' centres of a face [478, 3]."""
    right, left = (shape[list(corners)].mean(0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    return float(np.linalg.norm(right - left))


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A linear map from displacements [T, 45, 2] to what is added to an expression [T, 21, 3].

    weights: [90, 63]
    """

    weights: Array

    def __post_init__(self) -> None:
        wanted = (2 * len(POINTS), 3 * KEYPOINTS)
        if self.weights.shape != wanted:
            raise CheckpointMismatch(f"a landmark map must be {list(wanted)}, not {list(self.weights.shape)}")
        if not np.isfinite(self.weights).all():
            raise NonFiniteWeights("a landmark map must be finite, but holds NaN or infinity", "fit it again")

    def __call__(self, moved: Array) -> Array:
        """What to add to the expression [T, 21, 3]."""
        added: Array = moved.reshape(len(moved), -1) @ self.weights
        return added.reshape(-1, KEYPOINTS, 3)

    def save(
        self, path: str | os.PathLike[str], *, force: bool = False, about: Mapping[str, str] | None = None
    ) -> Path:
        """Write a safetensors file; `about` is kept in it as plain text. Raises OutputExists, OutputNotWritable."""
        from safetensors.numpy import save_file

        with new_file(path, force=force) as part:
            save_file({"weights": np.ascontiguousarray(self.weights, np.float32)}, part, dict(about or {}))
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LandmarkMap:
        """Read what `save` wrote. Raises CheckpointCorrupt, CheckpointMismatch, NonFiniteWeights, WeightsMissing."""
        tensors = read_safetensors(path)
        if list(tensors) != ["weights"]:
            found = ", ".join(list(tensors)[:5]) or "nothing"
            raise CheckpointMismatch(f"{Path(path).name}: must hold weights alone, not {found}")
        return cls(tensors["weights"].float().numpy())


# Mixtures of the face model's shapes, as which displacements are read. The last three explain what the retargeting
# networks draw, so that it is not taken for something else.
_READ: dict[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "spread": ("mouthStretchLeft", "mouthStretchRight"),
    "round": ("mouthPucker",),
    "brows_up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "brows_down": ("browDownLeft", "browDownRight"),
    "gaze_right": ("eyeLookOutLeft", "eyeLookInRight"),  # of the picture
    "gaze_down": ("eyeLookDownLeft", "eyeLookDownRight"),
    "open": ("jawOpen",),
    "close": ("mouthClose",),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
}
# What the public editors' sliders add to an expression: (keypoint, axis): amount at full strength.
_TABLE: dict[str, dict[tuple[int, int], float]] = {
    "smile": {
        (20, 1): -0.01, (14, 1): -0.02, (17, 1): 0.0065, (17, 2): 0.003,
        (13, 1): -0.00275, (16, 1): -0.00275, (3, 1): -0.0035, (7, 1): -0.0035,
    },
    "spread": {(20, 1): -0.001 * SLIDER, (20, 2): -0.001 * SLIDER, (14, 1): -0.001 * SLIDER},
    "round": {
        (14, 1): 0.001 * SLIDER, (3, 1): -0.0005 * SLIDER, (7, 1): -0.0005 * SLIDER, (17, 2): -0.0005 * SLIDER,
    },
    "brows_up": {(1, 1): 0.001 * SLIDER, (2, 1): -0.001 * SLIDER},
    "brows_down": {(1, 0): 0.001 * SLIDER, (2, 0): -0.001 * SLIDER, (1, 1): -0.0003 * SLIDER, (2, 1): 0.0003 * SLIDER},
    "gaze_right": {(11, 0): 0.00085 * SLIDER, (15, 0): 0.00085 * SLIDER},
    "gaze_down": {(11, 1): 0.001 * SLIDER, (15, 1): 0.001 * SLIDER},
}  # fmt: skip
_MOST = {"smile": 1.3, "gaze_right": 2.0, "gaze_down": 2.0}  # of a strength; else 1
_RIDGE = 1e-3  # of the reading, against shapes that look alike


@lru_cache(maxsize=1)
def _reader() -> Array:
    """[90, 10] that reads displacements as strengths of _READ: regularised least squares."""
    model = face_model()
    columns = []
    for names in _READ.values():
        moved = sum(model.basis[INDEX[name]] for name in names) * FLIP
        columns.append(moved[POINTS, :2].ravel() / eyes_apart(model.neutral))
    design = np.stack(columns, 1)
    reader: Array = design @ np.linalg.inv(design.T @ design + _RIDGE * np.eye(design.shape[1]))
    return reader.astype(np.float32)


def known_offsets(moved: Array) -> Array:
    """What the table of known coordinates adds to the expression [T, 21, 3] for displacements [T, 45, 2].

    Smile, rounding, spreading, brows and gaze; lips and lids are the retargeting networks' work.
    """
    strengths = moved.reshape(len(moved), -1) @ _reader()
    added = np.zeros((len(moved), KEYPOINTS, 3), np.float32)
    for name, strength in zip(_READ, strengths.T, strict=True):
        most = _MOST.get(name, 1.0)
        least = -most if name.startswith("gaze") else 0.0
        for (keypoint, axis), amount in _TABLE.get(name, {}).items():
            added[:, keypoint, axis] += amount * np.clip(strength, least, most)
    return added
