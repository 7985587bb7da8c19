"""Where the landmarks of a face go when it moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..blendshapes import INDEX, MOUTH
from ..types import Array, Motion, Portrait
from .landmarks import (
    INNER_LIPS,
    LEFT_EYE_CORNERS,
    LEFT_LIDS,
    LOWER_LIP,
    OUTER_LIPS,
    RIGHT_EYE_CORNERS,
    RIGHT_LIDS,
    UPPER_LIP,
    weights,
)
from .model import face_model

# From the image's axes (y down, z away) to the model's (y up, z to the viewer) and back.
FLIP = np.array([1, -1, -1], np.float32)

# The head turns about the top of the neck, in centimetres of the model: our choice, between the atlas and the
# seventh vertebra, behind and below the mouth.
NECK = np.array([0, -2, -5], np.float32)

# The inner lips' distance as a share of the eyes': trackers see up to 4 % where lips are closed (seen on portraits).
CLOSED, PARTED = 0.045, 0.075
# Parted lips meet so far down from the upper one; centimetres over which their surroundings follow. By eye.
MEET, UPPER_LIP_REACH, LOWER_LIP_REACH = 0.5, 1.3, 2.0
# How far the lower lip gathers to its middle as it closes, as a share of its half: an open smile has it drawn apart.
# Chosen so that a tracker finds its points where they are sent.
GATHERED = 0.12
# A mouth speaks when some weight of its shapes is above these, and PAUSE seconds before and after that, to which it
# takes EASE seconds. By eye.
QUIET, LOUD = 0.04, 0.12
PAUSE, EASE = 1.0, 0.3

CAMERA_DISTANCE = 4.0  # face heights: about 0.7 m, where portraits are taken; sets what translation in z does


def rotation_matrix(rotation: Array) -> Array:
    """Pitch, yaw, roll [..., 3] in radians to matrices [..., 3, 3] on the image's axes: roll · yaw · pitch."""
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(rotation), -1, 0), np.moveaxis(np.sin(rotation), -1, 0)
    rows = [
        [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
        [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
        [-sy, sx * cy, cx * cy],
    ]
    return np.moveaxis(np.array(rows, np.float32), (0, 1), (-2, -1))


def rotation_angles(matrix: Array) -> Array:
    """The inverse of `rotation_matrix`: matrices [..., 3, 3] to pitch, yaw, roll [..., 3] in radians."""
    pitch = np.arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = np.arcsin(np.clip(-matrix[..., 2, 0], -1, 1))
    roll = np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    angles: Array = np.stack([pitch, yaw, roll], axis=-1).astype(np.float32)
    return angles


def procrustes(model: Array, observed: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Scale [T], rotation [T, 3, 3] and shift [T, 3] that best map `model` to `observed`, both [T, N, 3].

    Weighted least squares in closed form: Umeyama, Least-squares estimation of transformation parameters, 1991.
    """
    weight = weight / weight.sum()
    centre_a, centre_b = np.einsum("tni,n->ti", model, weight), np.einsum("tni,n->ti", observed, weight)
    a, b = model - centre_a[:, None], observed - centre_b[:, None]
    u, values, vt = np.linalg.svd(np.einsum("tni,n,tnj->tij", a, weight, b))
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = np.swapaxes((u * signs[:, None]) @ vt, 1, 2)
    scale = (values * signs).sum(1) / np.einsum("tni,n->t", a**2, weight)
    return scale, rotation, centre_b - scale[:, None] * np.einsum("tij,tj->ti", rotation, centre_a)


@dataclass(frozen=True, eq=False)
class Head:
    """A portrait's own face in the model's space: what it looks like with its pose taken away.

    shape:    [478, 3] centimetres, with the expression that the picture shows
    scale:    pixels per centimetre
    rotation: [3, 3] from the model's axes to the picture's view of it
    shift:    [3] pixels, y up
    gain:     [52] how strongly this face answers each shape: a wide eye needs a longer way to close
    sealing:  [478, 3] what closes the lips, if the picture shows them parted; else 0
    """

    shape: Array
    scale: float
    rotation: Array
    shift: Array
    gain: Array
    sealing: Array

    @classmethod
    def of(cls, landmarks: Array) -> Head:
        """The head that `landmarks` [478, 3] in pixels show."""
        observed = landmarks * FLIP
        weight = weights()
        weight[list(INNER_LIPS)] = 0  # they move most, and say least about the pose
        scale, rotation, shift = procrustes(face_model().neutral[None, :468], observed[None, :468], weight)
        shape = (observed - shift[0]) / scale[0] @ rotation[0]
        sealing = lips_parted(landmarks) * lip_sealing(shape)
        return cls(shape, float(scale[0]), rotation[0], shift[0], blink_gain(shape), sealing)

    @property
    def height(self) -> float:
        """Pixels that a translation of 1 moves."""
        return self.scale * face_model().height

    def place(self, points: Array, rotation: Array | None = None, translation: Array | None = None) -> Array:
        """Points [T, N, 3] or [N, 3] of the model's space in pixels of the picture (y down, z away).

        rotation, translation: [T, 3], as in Motion, on top of the portrait's own pose; None is the portrait's own
        """
        if rotation is not None:
            turn = rotation_matrix(rotation) * FLIP[:, None] * FLIP
            points = np.einsum("tij,tnj->tni", turn, points - NECK) + NECK
        pixels = (points @ self.rotation.T * self.scale + self.shift) * FLIP
        if translation is not None:
            centre = (self.shift * FLIP)[:2]
            nearer = CAMERA_DISTANCE / np.maximum(CAMERA_DISTANCE + translation[:, 2], 0.5)
            pixels = pixels * nearer[:, None, None]
            pixels[..., :2] += (centre - centre * nearer[:, None] + self.height * translation[:, :2])[:, None]
        placed: Array = pixels.astype(np.float32)
        return placed

    def express(self, expression: Array, speaking: Array) -> Array:
        """The shape [T, 478, 3] under blendshape weights [T, 52].

        speaking: [T] 0 to 1: a mouth that speaks starts from closed lips, one that rests is as the picture shows it
        """
        moved: Array = np.einsum("te,enx->tnx", expression * self.gain, face_model().basis)
        return self.shape + moved + speaking[:, None, None] * self.sealing


def blink_gain(shape: Array) -> Array:
    """Gains [52] that make eyeBlink = 1 just close the eyes of `shape` [478, 3]."""
    gain = np.ones(len(INDEX), np.float32)
    for name, (upper, lower) in (("eyeBlinkRight", RIGHT_LIDS), ("eyeBlinkLeft", LEFT_LIDS)):
        delta = face_model().basis[INDEX[name]]
        aperture = np.linalg.norm(shape[upper] - shape[lower])
        gain[INDEX[name]] = np.clip(aperture / np.linalg.norm(delta[upper] - delta[lower]), 0.2, 2)
    return gain


def lips_parted(landmarks: Array) -> float:
    """How far the lips are parted: 0 is closed, 1 is so wide that one sees between them."""
    right, left = (landmarks[list(corners)].mean(0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    gap = float(np.linalg.norm(landmarks[UPPER_LIP] - landmarks[LOWER_LIP]) / np.linalg.norm(right - left))
    return float(np.clip((gap - CLOSED) / (PARTED - CLOSED), 0, 1))


def lip_sealing(shape: Array) -> Array:
    """What to add to `shape` [478, 3] so that its lips meet: the lower side follows the jaw, the upper one the lip."""
    upper = np.array(INNER_LIPS[1:10])
    lower = np.array(INNER_LIPS[:10:-1])
    line = shape[upper] + MEET * (shape[lower] - shape[upper])
    jaw = np.linalg.norm(face_model().basis[INDEX["jawOpen"]], axis=1)
    below = jaw > 0.5 * jaw[LOWER_LIP]
    sealing = np.zeros_like(shape)
    for lip, side, reach in ((upper, ~below, UPPER_LIP_REACH), (lower, below, LOWER_LIP_REACH)):
        squared = ((shape[side, None] - shape[lip]) ** 2).sum(2)
        nearest = squared.min(1, keepdims=True)
        share = np.exp((nearest - squared) / 0.1)  # of each lip vertex: those about as near as the nearest, in cm²
        share *= np.exp(-nearest / reach**2) / share.sum(1, keepdims=True)
        sealing[side] = share @ (line - shape[lip])
        sealing[lip] = line - shape[lip]
    for edge in (OUTER_LIPS[:11], (*INNER_LIPS[:1], *INNER_LIPS[:9:-1])):  # of the lower lip, from corner to corner
        sealing[list(edge)] += drawn_in((shape + sealing)[list(edge)])
    return sealing


def drawn_in(edge: Array) -> Array:
    """How `edge` [11, 3], from corner to corner, gathers along itself to its middle, the ends and the middle fixed."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(edge, axis=0), axis=1))])
    middle = length[len(edge) // 2]
    half = np.where(length < middle, middle, length[-1] - middle)
    side = (length - middle) / half  # -1 to 1
    gathered = middle + half * side * (1 - GATHERED * (1 - side**2))
    there = np.stack([np.interp(gathered, length, edge[:, axis]) for axis in range(3)], axis=1)
    change: Array = (there - edge).astype(np.float32)
    return change


def speaking(expression: Array, fps: float) -> Array:
    """Whether the mouth speaks [T], 0 to 1, under blendshape weights [T, 52]: while it moves, and in short pauses.

    It begins and ends softly: a mouth that opened to a smile in every pause would seem to go on talking.
    """
    if not len(expression):
        return np.zeros(0, np.float32)
    activity = np.abs(expression[:, MOUTH]).max(1, initial=0)
    activity = np.clip((activity - QUIET) / (LOUD - QUIET), 0, 1)
    reach, ease = round(PAUSE * fps), round(EASE * fps)
    padded = np.pad(activity, reach + ease, mode="edge")
    held = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)  # [T + 2 ease]
    window = np.hanning(2 * ease + 3)[1:-1]
    eased: Array = np.convolve(held, window / window.sum(), mode="valid").astype(np.float32)
    return eased


def move_face(portrait: Portrait, motion: Motion) -> Array:
    """Landmarks [T, 478, 3] of `portrait` under `motion`, in its pixels. No motion gives the portrait's own."""
    return np.stack(list(stream_landmarks(portrait, motion))) if len(motion) else np.zeros((0, 478, 3), np.float32)


def stream_landmarks(portrait: Portrait, motion: Motion, block: int = 100) -> Iterator[Array]:
    """The rows [478, 3] of `move_face`, a block at a time: an hour of them would take half a gigabyte."""
    head, speaks = Head.of(portrait.landmarks), speaking(motion.expression, motion.fps)
    for start in range(0, len(motion), block):
        some = slice(start, start + block)
        shapes = head.express(motion.expression[some], speaks[some])
        yield from head.place(shapes, motion.rotation[some], motion.translation[some])
