"""The inside of the mouth: teeth, gums and tongue, drawn where the lips part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...blendshapes import INDEX
from ...face.geometry import Head
from ...face.landmarks import LOWER_LIP, MOUTH_CORNERS, UPPER_LIP
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .light import Light, tiled
from .lips import LOWER_EDGE, UPPER_EDGE, untangled
from .opening import Opening
from .raster import rasterise
from .teeth import OwnTeeth

GUMS, UPPER_TEETH, LOWER_TEETH, TONGUE = range(4)

# Where the teeth stand at rest, in centimetres for a mouth of average width. Upper incisors show 2 to 4 mm below a
# relaxed upper lip (Vig and Brundo, J. Prosthetic Dentistry 1978); the rest keeps clear of them. Tuned by eye.
BELOW_LIP, BEHIND_LIP = 0.36, 0.55
LOWERED = {GUMS: 0.22, LOWER_TEETH: 0.36, TONGUE: -0.25}
DEEPEST = 1.0  # z in the model: what lies further back is too dark to be seen
STILL, SEEN = 0.05, 1.0  # pixels that lips move before their inside is painted, and until it is seen fully
FAR = 0.2  # centimetres from where the portrait has its lips: from there on only its teeth fit
# The tongue's tip is its front, TIP centimetres long. tongueOut first lifts it to the upper incisors, as for l, t, d
# and n, and is up there at RAISED; what is above that puts it out. BEHIND the incisors, in centimetres. By eye.
TIP, RAISED, BEHIND = 1.8, 0.08, (0.0, 0.05, 0.35)
BROAD = 1.2  # times the model's tongue, beside which a turned head would show the dark
TIP_LIT = 0.85  # of the tongue's colour: a raised tip is in the light
INTERSTICE, FILLED = 0.07, 0.6  # centimetres: what is narrower between two teeth is filled, so far
FINE = 2  # samples per pixel and direction


@dataclass(frozen=True, eq=False)
class Mouth:
    """The mouth's inside in the head's own space.

    vertices:  [V, 3]
    basis:     [S, V, 3] what the model's oral shapes add
    triangles: [F, 3] clockwise on the screen
    colours:   [V, 3] as they are lit
    tip:       [V] how much each vertex belongs to the tongue's tip, 0 to 1
    palate:    [3] where the tip touches behind the upper incisors
    light:     of the portrait
    own:       the teeth that the portrait shows
    unit:      pixels per centimetre
    """

    vertices: Array
    basis: Array
    triangles: Ids
    colours: Array
    tip: Array
    palate: Array
    light: Light
    own: OwnTeeth | None
    unit: float

    @classmethod
    def of(cls, head: Head, image: Frame, landmarks: Array, lips: Array) -> Mouth:
        """A mouth for the face at `landmarks` [478, 3] in `image`, with its lips' edges at `lips` [478, 2]."""
        light = Light.of(image, landmarks)
        model = face_model()
        triangles = model.oral_triangles[(model.oral[model.oral_triangles, 2] > DEEPEST).all(1)]
        used, triangles = np.unique(triangles, return_inverse=True)
        triangles = np.ascontiguousarray(triangles.reshape(-1, 3)[:, ::-1], np.int32)
        rest, part = model.oral[used], model.oral_part[used]
        wide, usual = (np.linalg.norm(np.subtract(*s[list(MOUTH_CORNERS)])) for s in (head.shape, model.neutral))
        size = float(np.clip(wide / usual, 0.75, 1.25))
        vertices = rest * size
        for which, lower in LOWERED.items():
            vertices[part == which, 1] -= lower * size
        vertices[part == TONGUE, 0] *= BROAD
        incisors = vertices[(part == UPPER_TEETH) & (np.abs(rest[:, 0]) < 1)]
        edge = [0, incisors[:, 1].min(), incisors[:, 2].max()]
        lip = (head.shape + head.sealing)[[UPPER_LIP, LOWER_LIP]].mean(0)
        viewer = head.rotation[2]  # behind the lip as the viewer sees it, or a head that looks down would hide them
        vertices += lip - edge - size * (np.array([0, BELOW_LIP, 0]) + BEHIND_LIP * viewer)
        tongue = np.where(part == TONGUE, rest[:, 2], -np.inf)
        tip = np.clip(1 - (tongue.max() - tongue) / TIP, 0, 1).astype(np.float32) ** 1.5
        edge = vertices[(part == UPPER_TEETH) & (np.abs(rest[:, 0]) < 1)]
        palate = np.array([0, edge[:, 1].min(), edge[:, 2].max()], np.float32) - size * np.array(BEHIND, np.float32)
        return cls(
            vertices=vertices.astype(np.float32),
            basis=model.oral_basis[:, used] * size,
            triangles=triangles,
            colours=lit(vertices, triangles, part, light),
            tip=tip,
            palate=palate,
            light=light,
            own=OwnTeeth.of(image, lips, light),
            unit=head.scale,
        )

    def draw(self, frame: Frame, lips: Array, posed: Array, expression: Array, place: Callable[[Array], Array]) -> None:
        """Paint what is seen between the lips.

        lips:       [478, 2] landmarks
        posed:      [478, 2] where the head alone brings them
        expression: [52]
        place:      puts points [N, 3] of the head's space where the head's pose has them in the picture
        """
        moved = max(float(np.abs(lips[edge] - posed[edge]).max()) for edge in (UPPER_EDGE, LOWER_EDGE))
        slit = Opening.between(*untangled(lips), frame)
        if slit is None or moved < STILL:
            return
        shape, raised = self.shape(expression)
        colours = self.colours + raised * self.tip[:, None] * (TIP_LIT * self.light.tongue - self.colours)
        inside = self.render(place(shape), colours, slit)
        # The lips' own shadow, and the dark of the corners.
        shadow = 1 - 0.4 * np.exp(-slit.under / (0.10 * self.unit)) - 0.2 * np.exp(-slit.over / (0.08 * self.unit))
        lit = 0.0 if self.own is None else self.own.light_in(lips, posed)
        corners = 1 - (1 - lit) * (1 - np.clip(1.3 - 0.95 * slit.along**2, 0.4, 1))
        inside *= (np.clip(shadow, 0.2, 1) * corners)[..., None]
        inside += tiled(self.light.grain, *slit.mask.shape)
        if self.own is not None:
            self.own.lay(inside, slit, posed, min(1.0, moved / (FAR * self.unit)), lit)
        slit.paint(frame, inside, min(1.0, moved / SEEN))

    def shape(self, expression: Array) -> tuple[Array, float]:
        """Where `expression` [52] brings the vertices [V, 3], and how far the tongue's tip is raised, 0 to 1."""
        shapes = face_model().oral_shapes
        weights = expression[shapes]
        out = shapes == INDEX["tongueOut"]
        raised = float(np.clip(weights[out].sum() / RAISED, 0, 1))
        weights = np.where(out, np.maximum(weights - RAISED, 0), weights)
        moved: Array = self.vertices + np.tensordot(weights, self.basis, 1)
        if raised > 0:
            way = self.palate - moved[int(self.tip.argmax())]
            moved += raised * self.tip[:, None] * way
        return moved, raised

    def render(self, points: Array, colours: Array, slit: Opening) -> Array:
        """Teeth, gums and tongue at `points` [V, 3] with `colours` [V, 3], in the box of `slit`: [H, W, 3]."""
        height, width = slit.mask.shape
        fine = np.empty((height * FINE, width * FINE, 3), np.float32)
        fine[:] = self.light.cavity
        nearest = np.full(fine.shape[:2], np.inf, np.float32)
        scaled = points.copy()
        scaled[:, :2] = (points[:, :2] - [slit.left, slit.top] + 0.5) * FINE - 0.5
        rasterise(scaled, self.triangles, colours, fine, nearest)
        narrow = np.ones((1, 2 * max(1, round(INTERSTICE * self.unit * FINE / 2)) + 1), np.uint8)
        fine += FILLED * (cv2.morphologyEx(fine, cv2.MORPH_CLOSE, narrow) - fine)
        fine = cv2.GaussianBlur(fine, (0, 0), 0.5 * FINE)
        seen: Array = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return seen


def lit(vertices: Array, triangles: Ids, part: NDArray[np.uint8], light: Light) -> Array:
    """The colour [V, 3] of each vertex: its own, turned to a light from before and above, and darker further in."""
    base = np.stack([light.gum, light.enamel, light.enamel, light.tongue])[part]
    normals = np.zeros_like(vertices)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    faces = np.cross(c - a, b - a)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    towards = np.clip(normals @ np.array([0, 0.35, 0.94]), 0, 1) ** 0.8
    depth = np.clip(1 - (vertices[:, 2].max() - vertices[:, 2]) / 4.5, 0, 1) ** 1.3
    shade = (0.62 + 0.38 * towards) * np.where(part == LOWER_TEETH, 0.86, 1)
    shade *= np.where(part == TONGUE, tongue_relief(vertices[:, 0]), 1)
    seen = (0.10 + 0.90 * depth)[:, None]
    return np.ascontiguousarray(light.cavity + (base * shade[:, None] - light.cavity) * seen, np.float32)


def tongue_relief(across: Array) -> Array:
    """Brightness of the tongue at `across` [V], centimetres from its middle: a groove along it, and round sides."""
    relief: Array = 1.35 - 0.30 * np.exp(-((across / 0.22) ** 2)) - 0.45 * np.clip(np.abs(across) / 1.9, 0, 1) ** 2.5
    return relief
