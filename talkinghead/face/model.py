"""The face model that ships with the package: how the 52 shapes move the 478 landmarks, the teeth and the tongue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..types import Array

ASSET = Path(__file__).parents[1] / "assets" / "face.npz"

Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FaceModel:
    """An average face in centimetres: x to the image's right, y up, z to the viewer.

    Made by `python -m talkinghead.face.build` from ICT-FaceKit (MIT) and MediaPipe's canonical face (Apache-2.0).

    neutral:        [478, 3] the face at rest: MediaPipe's 468 vertices and 10 iris points
    triangles:      [898, 3] vertices of the skin's triangles; mouth and eyes are closed by some of them
    basis:          [52, 478, 3] what each blendshape at weight 1 adds
    oral:           [V, 3] gums, teeth and tongue
    oral_triangles: [F, 3]
    oral_part:      [V] 0 gums, 1 upper teeth, 2 lower teeth, 3 tongue
    oral_shapes:    [S] which of the 52 shapes move them
    oral_basis:     [S, V, 3] what each of those adds
    """

    neutral: Array
    triangles: Ids
    basis: Array
    oral: Array
    oral_triangles: Ids
    oral_part: NDArray[np.uint8]
    oral_shapes: Ids
    oral_basis: Array

    @property
    def height(self) -> float:
        """Forehead to chin, in centimetres: the unit of `Motion.translation`."""
        return float(np.ptp(self.neutral[:, 1]))


@lru_cache(maxsize=1)
def face_model() -> FaceModel:
    """The shipped model, read once."""
    with np.load(ASSET, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    for name in ("basis", "oral_basis"):
        values[name] = values[name].astype(np.float32)
    for value in values.values():
        value.setflags(write=False)
    return FaceModel(**values)
