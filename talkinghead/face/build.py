"""Makes the face model that ships with the package: `python -m talkinghead.face.build ICT CANONICAL -o face.npz`.

ICT-FaceKit (MIT, USC Institute for Creative Technologies) knows how a face moves: 53 expression shapes on 26,719
vertices. MediaPipe's canonical face (Apache-2.0, Google) is the topology that face trackers see: 468 vertices.
This command registers the first to the second and samples its shapes there:

1. a similarity from the 68 Multi-PIE landmarks that ICT-FaceKit lists and their MediaPipe counterparts;
2. a radial-basis warp through the same points;
3. rounds of closest point on the surface and a finer warp. Vertices of an upper lip or lid may only meet triangles
   that stay put when the jaw opens or the eye closes, lower ones only those that move, so that lips and lids,
   which touch, are never mixed up;
4. shape deltas sampled barycentrically; left and right halves merged into the 52 ARKit shapes;
5. irises placed on the eyeballs and turned with the eyeLook shapes; teeth, gums and tongue carried along.

Deterministic: the same inputs give the same file. Units are centimetres, x to the image's right, y up,
z to the viewer.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import NAMES

Array = NDArray[np.float64]
Ids = NDArray[np.intp]

# MediaPipe vertices at the 68 Multi-PIE landmarks, in their usual order.
MULTI_PIE = np.array(
    (
        *(127, 234, 132, 58, 172, 150, 176, 148, 152, 377, 400, 379, 397, 288, 361, 454, 356),  # jaw line
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
        *(168, 197, 195, 4, 98, 97, 2, 326, 327),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # outer lips
        *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
    )
)
STEADY = np.r_[17:68, 8]  # the jaw line's depth is ill defined: only its chin point counts

# MediaPipe's rings of lip vertices, from the mouth's inside to its outside, and of lid vertices.
UPPER_LIP = np.array(
    (
        *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
        *(76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    )
)
LOWER_LIP = np.array(
    (
        *(146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324),
        *(77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325),
    )
)
UPPER_LID = np.array([246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398])
LOWER_LID = np.array([7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382])

# Vertex ranges of ICT-FaceKit's parts.
SKIN = 11_248  # face, head and neck end here
GUMS = np.r_[14_062:16_602]  # and palate, throat and the floor of the mouth
TONGUE = np.r_[16_602:17_039]
UPPER_TEETH = np.r_[17_230:19_056]  # without the wisdom teeth
LOWER_TEETH = np.r_[19_426:21_272]
EYEBALLS = np.r_[21_451:24_591]

# How far an eye turns at eyeLook = 1: our choice, about what eyes do without the head (Guitton & Volle, 1987).
GAZE_DEGREES = {"In": 30.0, "Out": 30.0, "Up": 25.0, "Down": 30.0}
IRIS_RADIUS = 0.585  # cm: the visible iris of an adult is 11.7 mm across (Rüfer et al., Cornea 2005)
ORAL_SHAPES = ("jawForward", "jawLeft", "jawOpen", "jawRight", "tongueOut")  # those that move teeth or tongue
TONGUE_REACH = 2.2  # cm that tongueOut = 1 moves the tip: our choice, a little past the lips


@dataclass(frozen=True)
class Source:
    """ICT-FaceKit's neutral [V, 3], triangles [F, 3], expressions {name: [V, 3]} and its 68 landmark vertices."""

    neutral: Array
    triangles: Ids
    expressions: dict[str, Array]
    landmarks: Ids


def read_ict(path: Path) -> Source:
    """ICT-FaceKit from its `FaceXModel` folder of OBJ files, or from an npz with the same arrays."""
    if path.is_dir():
        index = json.loads((path / "vertex_indices.json").read_text())
        neutral, triangles = read_obj(path / "generic_neutral_mesh.obj")
        shapes = {name: read_obj(path / f"{name}.obj")[0] - neutral for name in index["expressions"]}
        return Source(neutral, triangles, shapes, np.array(index["idx_to_landmark_verts"]))
    with np.load(path, allow_pickle=False) as arrays:
        shapes = dict(zip(arrays["expression_names"], arrays["expressions"].astype(np.float64), strict=True))
        neutral = arrays["neutral"].astype(np.float64)
        return Source(neutral, arrays["triangles"].astype(np.intp), shapes, arrays["landmark_vertices"].astype(np.intp))


def read_obj(path: Path) -> tuple[Array, Ids]:
    """Vertices [V, 3] and triangles [F, 3] of a Wavefront OBJ; polygons are cut into fans."""
    vertices, triangles = [], []
    for line in path.read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "f":
            corners = [int(value.split("/")[0]) - 1 for value in values]
            triangles += [[corners[0], a, b] for a, b in pairwise(corners[1:])]
    return np.array(vertices), np.array(triangles, np.intp)


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation [3, 3] and shift [3] that best map `source` to `target` (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, values, vt = np.linalg.svd(a.T @ b)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs @ vt).T
    scale = float((values * signs).sum() / (a**2).sum())
    return scale, rotation, target.mean(0) - scale * source.mean(0) @ rotation.T


def closest_on_surface(points: Array, vertices: Array, triangles: Ids, neighbours: int = 40) -> tuple[Ids, Array]:
    """For each point the nearest triangle [P, 3] and barycentric weights [P, 3] of the nearest spot on it.

    Only the triangles with the nearest centres are looked at. Ericson, Real-Time Collision Detection, 5.1.5.
    """
    from scipy.spatial import cKDTree

    _, near = cKDTree(vertices[triangles].mean(1)).query(points, k=neighbours)
    a, b, c = np.moveaxis(vertices[triangles[near]], 2, 0)  # [P, K, 3]
    ab, ac, bc = b - a, c - a, c - b
    p = points[:, None]

    def along(edge: Array, start: Array) -> Array:
        t = ((p - start) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12)
        position: Array = np.clip(t, 0, 1)
        return position

    d1, d2 = (ab * (p - a)).sum(-1), (ac * (p - a)).sum(-1)
    aa, bb, dot = (ab**2).sum(-1), (ac**2).sum(-1), (ab * ac).sum(-1)
    area = np.maximum(aa * bb - dot**2, 1e-12)
    v, w = (bb * d1 - dot * d2) / area, (aa * d2 - dot * d1) / area
    on_ab, on_ac, on_bc, none = along(ab, a), along(ac, a), along(bc, b), np.zeros_like(v)
    weights = np.stack(
        [
            np.stack([1 - v - w, v, w], -1),
            np.stack([1 - on_ab, on_ab, none], -1),
            np.stack([1 - on_ac, none, on_ac], -1),
            np.stack([none, 1 - on_bc, on_bc], -1),
        ],
        axis=2,
    )  # [P, K, 4, 3]: the plane, then the three edges
    spots = np.einsum("pkei,pkix->pkex", weights, np.stack([a, b, c], 2))
    distance = ((spots - p[:, :, None]) ** 2).sum(-1)
    distance[(weights < -1e-9).any(-1)] = np.inf  # the plane's spot lies outside the triangle
    best = distance.reshape(len(points), -1).argmin(1)
    row, triangle = np.arange(len(points)), best // 4
    return triangles[near[row, triangle]], weights[row, triangle, best % 4]


@dataclass(frozen=True)
class Registration:
    """Where each MediaPipe vertex lies on ICT-FaceKit: `source` moved by the similarity, and the final warp."""

    neutral: Array  # [V, 3] ICT-FaceKit under the similarity
    expressions: dict[str, Array]
    corners: Ids  # [468, 3] vertices
    weights: Array  # [468, 3] barycentric
    warp: Any  # maps points near `neutral` to the canonical face

    def sample(self, values: Array) -> Array:
        """Per-vertex values of ICT-FaceKit [V, 3] at the 468 MediaPipe vertices."""
        sampled: Array = np.einsum("pi,pix->px", self.weights, values[self.corners])
        return sampled


def register(ict: Source, canonical: Array, rounds: int = 4) -> Registration:
    """Fit ICT-FaceKit to the canonical face [468, 3]."""
    from scipy.interpolate import RBFInterpolator

    landmarks = canonical[MULTI_PIE]
    scale, rotation, shift = similarity(ict.neutral[ict.landmarks][STEADY], landmarks[STEADY])
    neutral = scale * ict.neutral @ rotation.T + shift
    expressions = {name: scale * delta @ rotation.T for name, delta in ict.expressions.items()}
    regions = matching_regions(ict, expressions)

    def match(warped: Array) -> tuple[Ids, Array]:
        corners, weights = np.zeros((len(canonical), 3), np.intp), np.zeros((len(canonical), 3))
        for vertices, triangles in regions:
            corners[vertices], weights[vertices] = closest_on_surface(canonical[vertices], warped, triangles)
        return corners, weights

    anchors = neutral[ict.landmarks]
    warp = RBFInterpolator(anchors, landmarks - anchors, kernel="linear", smoothing=0.01)
    warped = neutral.copy()
    jitter = 1e-6 * np.random.default_rng(0).standard_normal((len(canonical) + len(anchors), 3))  # no equal points
    for smoothing in np.geomspace(0.3, 0.05, rounds):
        warped[:SKIN] = neutral[:SKIN] + warp(neutral[:SKIN])
        corners, weights = match(warped)
        matched = np.einsum("pi,pix->px", weights, neutral[corners])
        points = np.vstack([matched, anchors]) + jitter
        moves = np.vstack([canonical, landmarks]) - points
        warp = RBFInterpolator(points, moves, kernel="linear", smoothing=smoothing, neighbors=80)
    warped[:SKIN] = neutral[:SKIN] + warp(neutral[:SKIN])
    corners, weights = match(warped)
    return Registration(neutral, expressions, corners, weights, warp)


def matching_regions(ict: Source, expressions: dict[str, Array]) -> list[tuple[Ids, Ids]]:
    """Pairs of MediaPipe vertices and the ICT-FaceKit triangles that they may lie on."""
    skin = ict.triangles[(ict.triangles < SKIN).all(1)]
    opening = np.linalg.norm(expressions["jawOpen"], axis=1)
    blinking = np.linalg.norm(expressions["eyeBlink_L"] + expressions["eyeBlink_R"], axis=1)
    jaw, lid = opening[skin].mean(1), blinking[skin].mean(1)
    lower_lip, upper_lid = opening[ict.landmarks[66]], blinking[ict.landmarks[37]]
    special = [
        (UPPER_LIP, skin[jaw < 0.35 * lower_lip]),
        (LOWER_LIP, skin[jaw > 0.5 * lower_lip]),
        (UPPER_LID, skin[lid > 0.3 * upper_lid]),
        (LOWER_LID, skin[lid < 0.25 * upper_lid]),
    ]
    rest = np.setdiff1d(np.arange(468), np.concatenate([vertices for vertices, _ in special]))
    return [(rest, skin), *special]


def arkit(expressions: dict[str, Array], points: int) -> Array:
    """ICT-FaceKit's deltas {name: [points, 3]} as the 52 ARKit shapes [52, points, 3]; tongueOut is zero.

    ICT-FaceKit writes `_L` and `_R` for ARKit's Left and Right and halves browInnerUp and cheekPuff.
    """
    basis = np.zeros((len(NAMES), points, 3))
    for name, delta in expressions.items():
        full = name.replace("_L", "Left").replace("_R", "Right")
        half = name.removesuffix("_L").removesuffix("_R")
        basis[NAMES.index(full if full in NAMES else half)] += delta
    return basis


def irises(fit: Registration) -> tuple[Array, Array]:
    """The 10 iris points (MediaPipe 468..477) on the eyeballs and their part of the 52 shapes [52, 10, 3].

    Per eye, the subject's right first: centre, then 4 points on the rim, towards the image's right, top, left, bottom.
    ICT-FaceKit's eyeLook shapes move only the lids, so the turn of the eyeball is added here.
    """
    places, basis = [], np.zeros((len(NAMES), 10, 3))
    balls = fit.neutral[EYEBALLS]
    for eye, ids in enumerate((EYEBALLS[balls[:, 0] < 0], EYEBALLS[balls[:, 0] > 0])):
        ball = fit.neutral[ids]
        centre = (ball.min(0) + ball.max(0)) / 2
        radius = float(np.ptp(ball, axis=0).max() / 2)
        rim = IRIS_RADIUS * np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
        depth = np.sqrt(radius**2 - (rim**2).sum(1))
        points = centre + np.column_stack([rim, depth])
        places.append(points + fit.warp(centre[None]))
        side, nasal = ("Right", 1.0) if eye == 0 else ("Left", -1.0)
        turns = {"In": (nasal, 0.0), "Out": (-nasal, 0.0), "Up": (0.0, 1.0), "Down": (0.0, -1.0)}
        for direction, (x, y) in turns.items():
            axis = np.radians(GAZE_DEGREES[direction]) * np.array([-y, x, 0])
            basis[NAMES.index(f"eyeLook{direction}{side}"), 5 * eye : 5 * eye + 5] = np.cross(axis, points - centre)
    return np.vstack(places), basis


def oral_cavity(ict: Source, fit: Registration) -> dict[str, NDArray[Any]]:
    """Gums, teeth and tongue: vertices, triangles, part of each vertex and the shapes that move them.

    oral_part: 0 gums, 1 upper teeth, 2 lower teeth, 3 tongue
    """
    ids = np.concatenate([GUMS, TONGUE, UPPER_TEETH, LOWER_TEETH])
    place = np.full(len(fit.neutral), -1)
    place[ids] = np.arange(len(ids))
    triangles = place[ict.triangles]
    triangles = triangles[(triangles >= 0).all(1)]
    part = np.repeat(np.array([0, 3, 1, 2], np.uint8), [len(GUMS), len(TONGUE), len(UPPER_TEETH), len(LOWER_TEETH)])
    basis = arkit({name: delta[ids] for name, delta in fit.expressions.items()}, len(ids))
    basis[NAMES.index("tongueOut")] = tongue_out(fit.neutral[ids], part == 3)
    moving = [NAMES.index(name) for name in ORAL_SHAPES]
    return {
        "oral": fit.neutral[ids].astype(np.float32),
        "oral_triangles": triangles.astype(np.int32),
        "oral_part": part,
        "oral_shapes": np.array(moving, np.int32),
        "oral_basis": basis[moving].astype(np.float16),
    }


def tongue_out(vertices: Array, tongue: NDArray[np.bool_]) -> Array:
    """tongueOut, which ICT-FaceKit lacks: the front half slides out and a little down, the root stays."""
    delta = np.zeros_like(vertices)
    depth = vertices[tongue, 2]
    front = np.clip((depth - depth.mean()) / (depth.max() - depth.mean()), 0, 1)
    front = front**2 * (3 - 2 * front)
    delta[tongue] = TONGUE_REACH * front[:, None] * np.array([0, -0.25, 1.0])
    return delta


def build(ict: Source, canonical: Array, triangles: Ids) -> dict[str, NDArray[Any]]:
    """Arrays of the shipped file: see `talkinghead.face.model.FaceModel`."""
    fit = register(ict, canonical)
    iris, iris_basis = irises(fit)
    skin_basis = arkit({name: fit.sample(delta) for name, delta in fit.expressions.items()}, len(canonical))
    return {
        "neutral": np.vstack([canonical, iris]).astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "basis": np.concatenate([skin_basis, iris_basis], axis=1).astype(np.float16),
        **oral_cavity(ict, fit),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m talkinghead.face.build", description=__doc__.splitlines()[0])
    parser.add_argument("ict", type=Path, help="ICT-FaceKit's FaceXModel folder, or an npz of its arrays")
    parser.add_argument("canonical", type=Path, help="MediaPipe's canonical_face_model.obj")
    default = Path(__file__).parents[1] / "assets" / "face.npz"
    parser.add_argument("-o", "--output", type=Path, default=default)
    arguments = parser.parse_args()
    canonical, triangles = read_obj(arguments.canonical)
    arrays = build(read_ict(arguments.ict), canonical, triangles)
    np.savez_compressed(arguments.output, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
