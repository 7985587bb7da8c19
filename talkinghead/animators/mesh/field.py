"""What moves around the face: hair, ears and neck follow it smoothly, the background stands still."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from ...face.geometry import Head
from ...face.landmarks import CHIN, FACE_OVAL
from ...face.matte import person_matte
from ...face.model import Ids, face_model
from ...types import Array, Frame
from .opening import extent

OVAL = np.array(FACE_OVAL)
SPOKES = 2 * len(OVAL)  # from every vertex of the oval and from halfway between two
RINGS = 14  # from the oval to the region's edge

# The region that a head can move: an ellipse about the head's middle, in face heights (forehead to chin).
# A head with its hair is about 1.2 wide and 1.5 high.
REACH = np.array([0.86, 1.06], np.float32)
MIDDLE = np.array([[0, 1, -4]], np.float32)  # centimetres of the model

# The scalp: the oval grown about the head's axis, as (times, centimetres further back, share of the head's motion).
SCALP = ((1.25, 1.5, 1.0), (1.5, 4.0, 0.9))
SCALP_ABOVE = -1.0  # the part of the oval that has scalp behind it: above the nose's tip, in centimetres

NECK_BELOW, NECK_SHARE = 0.28, 0.35  # face heights below the chin, share of the chin's motion
SHOULDERS_BELOW = (0.5, 0.7)  # these stand still
ACROSS = np.array([-0.8, -0.5, -0.25, 0, 0.25, 0.5, 0.8], np.float32)  # face heights beside the chin
NECK_WIDTH = 0.45

# The oval's height in the model, in centimetres, where skin lies tight on the skull, and where the jaw carries it.
TEMPLES, JAW = 1.0, -3.0

# Face heights around a person over which the background takes part in the motion; people are sought in a picture of
# the head's region, so much larger. A matte that leaves out more of the face than MISSED is not believed.
MARGIN, WIDER, MISSED = 0.11, 0.25, 0.1

BORDER = 0.12  # face heights over which motion dies away towards the picture's border: nothing lies beyond it


@dataclass(frozen=True, eq=False)
class Surround:
    """Rings of vertices from the oval of a face to the edge of the region that it moves.

    source:    [R, 2] pixels; the first 36 lie halfway between neighbours on the oval, the last 72 on the edge
    triangles: [F, 3] numbers below 468 are landmarks of the face, others are 468 + ring vertex
    rim:       [M] landmarks of the face that pull: the oval and the ring inside it, which gives the pull its slope
    scalp:     [S, 3] points of the head that pull, in the model's space; the last is the chin, which pulls the neck
    rest:      [S, 2] where they are in the portrait
    share:     [S - 1] of the head's motion that the scalp takes
    spread:    [R, K] how far each vertex follows each of rim, scalp and neck
    """

    source: Array
    triangles: Ids
    rim: Ids
    scalp: Array
    rest: Array
    share: Array
    spread: Array

    @classmethod
    def of(cls, head: Head, landmarks: Array, image: Frame, *, stiff: bool = True) -> Surround:
        """The surround of a face at `landmarks` [478, 3] in `image`.

        stiff: whether to look for what is background, and keep it still
        """
        oval = landmarks[OVAL, :2]
        start = np.stack([oval, (oval + np.roll(oval, -1, 0)) / 2], 1).reshape(SPOKES, 2)
        edge = region_edge(head, start)
        part = (np.arange(1, RINGS + 1) / RINGS) ** 1.3  # narrow rings at the face, where most happens
        rings = (start + (edge - start) * part[:, None, None]).reshape(-1, 2)

        rim, (scalp, share) = rim_landmarks(), scalp_points(head)
        rest = head.place(scalp)[:, :2]
        pulling = [landmarks[rim, :2], rest[:-1], below_chin(head, landmarks, NECK_BELOW)]
        still = [edge, start + (edge - start) * 0.85, *(below_chin(head, landmarks, y) for y in SHOULDERS_BELOW)]
        spread = radial_spread(rings, np.concatenate(pulling), np.concatenate(still), head.height)
        spread *= freedom(rings, image, head)[:, None]
        if stiff:
            spread *= nearness(rings, image, landmarks, edge, head.height)[:, None]
        spread[-SPOKES:] = 0
        between = np.zeros((len(OVAL), spread.shape[1]))
        for i, (a, b) in enumerate(zip(OVAL, np.roll(OVAL, -1), strict=True)):
            between[i, np.searchsorted(rim, (a, b))] = 0.5
        return cls(
            source=np.concatenate([start[1::2], rings]).astype(np.float32),
            triangles=ring_triangles(),
            rim=rim,
            scalp=scalp,
            rest=rest,
            share=share,
            spread=np.concatenate([between, spread]).astype(np.float32),
        )

    def move(self, face: Array, scalp: Array) -> Array:
        """Where the vertices go [R, 2], given how the face moves [478, 2] and where the scalp is now [S, 2]."""
        scalp = scalp - self.rest
        neck = NECK_SHARE * np.exp(-((ACROSS / NECK_WIDTH) ** 2))[:, None] * scalp[-1]
        pull = np.concatenate([face[self.rim], scalp[:-1] * self.share[:, None], neck])
        moved: Array = self.source + self.spread @ pull
        return moved


def region_edge(head: Head, start: Array) -> Array:
    """Where rays from the face's middle through `start` [N, 2] meet the edge of the head's region."""
    middle, radii = head.place(MIDDLE)[0, :2], REACH * head.height
    origin = (start.mean(0) - middle) / radii
    way = (start - start.mean(0)) / radii
    a, b, c = (way**2).sum(1), way @ origin, (origin**2).sum() - 1
    times = (-b + np.sqrt(np.maximum(b**2 - a * c, 0))) / a
    edge: Array = start.mean(0) + np.maximum(times, 1.05)[:, None] * (start - start.mean(0))
    return edge


def rim_landmarks() -> Ids:
    """The oval and the landmarks next to it."""
    triangles = face_model().triangles
    rim: Ids = np.unique(triangles[np.isin(triangles, OVAL).any(1)]).astype(np.int32)
    return rim


def scalp_points(head: Head) -> tuple[Array, Array]:
    """Points [S, 3] of the scalp and the chin, and the share [S - 1] of the head's motion that the scalp takes."""
    oval = head.shape[OVAL]
    middle, upper = oval.mean(0), oval[oval[:, 1] > SCALP_ABOVE]
    rings = [middle + (upper - middle) * [times, times, 1] - [0, 0, back] for times, back, _ in SCALP]
    shares = [np.full(len(upper), share) for _, _, share in SCALP]
    return np.concatenate([*rings, head.shape[[CHIN]]]).astype(np.float32), np.concatenate(shares).astype(np.float32)


def below_chin(head: Head, landmarks: Array, distance: float) -> Array:
    """A row of points [7, 2] `distance` face heights below the chin."""
    row: Array = landmarks[CHIN, :2] + head.height * np.column_stack([ACROSS, np.full_like(ACROSS, distance)])
    return row


def radial_spread(points: Array, pulling: Array, still: Array, unit: float) -> Array:
    """Weights [P, K] by which `points` follow `pulling` [K, 2] while `still` [S, 2] stay: linear radial functions.

    The kernel r is the smoothest that keeps the pull local; the little ridge lets close controls disagree.
    """
    controls = np.concatenate([pulling, still], dtype=np.float64) / unit
    near = cdist(controls, controls) - 1e-3 * np.eye(len(controls))
    weights = np.linalg.inv(near)[:, : len(pulling)]  # near is symmetric
    spread: Array = cdist(points / unit, controls) @ weights
    return spread


def nearness(points: Array, image: Frame, landmarks: Array, region: Array, unit: float) -> Array:
    """How far `points` [N, 2] belong to a person in `image` [N]: 1 on one, 0 from MARGIN face heights off.

    It stiffens the background, whose straight lines would bend with the head. All 1 if no person is found.

    region: [M, 2] around what can move
    unit:   pixels of a face height
    """
    near = np.ones(len(points), np.float32)
    box = extent(region, image, margin=WIDER * unit)
    if box is None:
        return near
    left, top, right, bottom = box
    matte = person_matte(image[top:bottom, left:right])
    if matte is None:
        return near
    face = np.zeros(matte.shape, np.uint8)
    cv2.fillPoly(face, [np.round(landmarks[OVAL, :2] - [left, top]).astype(np.int32)], 1)
    person = matte > 0.5
    if not face.any() or (face > person).sum() > MISSED * face.sum():
        return near
    away = cv2.distanceTransform((~person & (face == 0)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    away = cv2.GaussianBlur(away, (0, 0), max(0.03 * unit, 0.5))  # a matte's outline is ragged
    x, y = np.rint(points - [left, top]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < matte.shape[1]) & (y < matte.shape[0])
    near[inside] = np.clip(1 - away[y[inside], x[inside]] / (MARGIN * unit), 0, 1)
    return near


def ring_triangles() -> Ids:
    """Triangles [F, 3] between the oval, the vertices halfway on it and the rings, facing the viewer."""
    first = 468 + len(OVAL)
    start = np.stack([OVAL, 468 + np.arange(len(OVAL))], 1).ravel()
    rings = np.concatenate([start[None], first + np.arange(RINGS * SPOKES).reshape(RINGS, SPOKES)])
    a, b = rings[:-1], np.roll(rings[:-1], -1, 1)
    d, c = rings[1:], np.roll(rings[1:], -1, 1)
    triangles: Ids = np.stack([a, d, c, a, c, b], -1).reshape(-1, 3).astype(np.int32)
    return triangles


def freedom(points: Array, image: Frame, head: Head) -> Array:
    """How freely `points` [N, 2] may move [N]: 0 at the border of `image`, 1 well inside."""
    height, width = image.shape[:2]
    room = np.minimum(points, [width - 1, height - 1] - points).min(1)
    free = np.clip(room / (BORDER * head.height), 0, 1)
    smooth: Array = (free * free * (3 - 2 * free)).astype(np.float32)
    return smooth


def loose_skin(head: Head) -> Array:
    """How much of an expression the landmarks show [478]: all but those of the oval, of which only the jaw's do.

    A jaw that opens moves the temples by a hair's breadth; the hair beside them must not shimmer with it.
    """
    loose = np.ones(len(head.shape), np.float32)
    low = np.clip((TEMPLES - head.shape[OVAL, 1]) / (TEMPLES - JAW), 0, 1)
    loose[OVAL] = low * low * (3 - 2 * low)
    return loose
