"""How the light on the skin changes when the face moves: cheeks that bulge, folds that deepen, a head that turns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_array

from ...face.landmarks import EYES, FACE_OVAL, OUTER_LIPS
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .light import LUMA
from .opening import extent
from .skin import LIDS

SKIN_BLUR = 0.02  # face heights: the light is read from skin without pores
FRONTAL = np.array([0.75, 0, -0.12, -0.25], np.float32)  # share of ambient light, and light from above and before
DOUBT = 0.15  # per vertex: how strongly an unclear light is drawn to the frontal one
STRENGTH = 1.6  # landmarks are too far apart for folds: their slopes are steeper than those of the mesh
LEAST, MOST = 0.72, 1.25  # of a pixel's brightness
BESIDE_LIPS = 0.4  # of the change is shown next to the lips: a dark fold right below them looks like their edge
AWAKE = 0.7  # pixels a vertex moves until its light changes fully


@dataclass(frozen=True, eq=False)
class Shading:
    """The light on a portrait's skin, as far as it depends on where the skin faces.

    light: [4] ambient light, and x, y, z of the directed one, in shares of the mean brightness
    own:   [468] brightness of each landmark's skin in the portrait
    worth: [468] how far each shows the change: 0 at eyes, lips and the face's outline
    """

    light: Array
    own: Array
    worth: Array

    @classmethod
    def of(cls, image: Frame, landmarks: Array) -> Shading:
        """The light in which `image` shows the face at `landmarks` [478, 3].

        Least squares of first-order spherical harmonics (Basri and Jacobs, IEEE PAMI 2003) on the skin's brightness,
        with a prior, since shadows and colour of the skin are not light.
        """
        normals, worth = vertex_normals(landmarks), worth_of_vertices()
        size = max(1.0, SKIN_BLUR * float(np.ptp(landmarks[:, 1])))
        box = extent(landmarks[:468, :2], image, margin=3 * size)
        if box is None:
            return cls(FRONTAL, cls.brightness(FRONTAL, normals), worth)
        left, top, right, bottom = box
        blurred = cv2.GaussianBlur(image[top:bottom, left:right], (0, 0), size)
        spots = (landmarks[None, :468, :2] - [left, top]).astype(np.float32)
        bright = cv2.remap(blurred, spots, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] @ LUMA
        terms = np.column_stack([np.ones(468, np.float32), normals])
        mean = max(float(np.average(bright, weights=worth)), 1.0)
        weighted = terms * worth[:, None]
        prior = DOUBT * float(worth.sum()) * np.eye(4)
        light = np.linalg.solve(weighted.T @ terms + prior, weighted.T @ (bright / mean) + prior @ FRONTAL)
        light = light.astype(np.float32)
        return cls(light, cls.brightness(light, normals), worth)

    @staticmethod
    def brightness(light: Array, normals: Array) -> Array:
        """Brightness of skin that faces `normals` [N, 3] in `light` [4]: [N]."""
        shaded: Array = np.maximum(light[0] + normals @ light[1:], 0.2)
        return shaded

    def change(self, face: Array, moved: Array) -> Array:
        """By what the skin's brightness at each landmark is multiplied [468] when the face is at `face` [478, 3].

        moved: [468] pixels that each landmark moves
        """
        ratio = self.brightness(self.light, vertex_normals(face)) / self.own
        share = self.worth * np.minimum(moved / AWAKE, 1)
        changed: Array = 1 + (np.clip(1 + STRENGTH * (ratio - 1), LEAST, MOST) - 1) * share
        return changed.astype(np.float32)


def vertex_normals(points: Array) -> Array:
    """Unit normals [468, 3] of the face at `points` [478, 3] (y down, z away); z is below 0 towards the viewer."""
    a, b, c = (points[corner] for corner in face_model().triangles.T)
    normals: Array = corners() @ np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    return normals.astype(np.float32)


@lru_cache(maxsize=1)
def corners() -> csr_array:
    """Which triangles [468, F] meet at each landmark."""
    triangles: Ids = face_model().triangles
    numbers = np.repeat(np.arange(len(triangles)), 3)
    return csr_array((np.ones(triangles.size, np.float32), (triangles.ravel(), numbers)), shape=(468, len(triangles)))


@lru_cache(maxsize=1)
def worth_of_vertices() -> Array:
    """How far each landmark shows a change of light [468]: not at eyes, lips and outline, less next to them."""
    model = face_model()
    flat = np.ascontiguousarray(model.neutral[:468, :2], np.float32)
    outline = flat[list(OUTER_LIPS)]
    lips = [i for i in range(468) if cv2.pointPolygonTest(outline, flat[i].tolist(), False) >= 0]
    edges = [*FACE_OVAL, *EYES]
    worth = np.ones(468, np.float32)
    worth[np.unique(model.triangles[np.isin(model.triangles, OUTER_LIPS).any(1)])] = BESIDE_LIPS
    worth[np.unique(model.triangles[np.isin(model.triangles, edges).any(1)])] = 0.5
    worth[[*edges, *lips, *np.concatenate(LIDS)]] = 0
    worth.setflags(write=False)
    return worth
