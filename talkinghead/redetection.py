"""Does a drawn face arrive where it was sent? Known motion is drawn, and the tracker looks again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .animators.mesh.animator import MeshAnimator, Sitter, eased, turn_limits
from .blendshapes import INDEX
from .errors import NoFaceFound
from .face.geometry import Head
from .face.landmarks import (
    FACE_OVAL,
    LEFT_EYE_CORNERS,
    LEFT_LIDS,
    LIPS,
    LOWER_LIP,
    RIGHT_EYE_CORNERS,
    RIGHT_LIDS,
    UPPER_LIP,
)
from .face.matte import person_matte
from .face.tracker import MediaPipeTracker
from .protocols import Animator
from .types import Array, Motion, Portrait

FRAMES = 24  # drawn with random mouths and poses
STRENGTHS = (0.3, 1.0)  # of the mouths
TURNS = (5.0, 8.0, 5.0)  # degrees of pitch, yaw, roll, to either side: the animator's limits do not yet ease them
BROW = 0.5  # the most that the inner brow rises
# Mouths that speech makes. A shape that has a left and a right side takes the weight for both.
MOUTHS = {
    "a": {"jawOpen": 0.38, "mouthLowerDown": 0.2},
    "i": {"jawOpen": 0.12, "mouthStretch": 0.3, "mouthSmile": 0.25, "mouthUpperUp": 0.2, "mouthLowerDown": 0.3},
    "u": {"jawOpen": 0.12, "mouthPucker": 0.75, "mouthFunnel": 0.25},
    "o": {"jawOpen": 0.3, "mouthFunnel": 0.5, "mouthPucker": 0.2},
    "f": {"jawOpen": 0.12, "mouthRollLower": 0.55, "mouthUpperUp": 0.2},
    "m": {"jawOpen": 0.05, "mouthClose": 0.05, "mouthPress": 0.35},
    "l": {"jawOpen": 0.2, "tongueOut": 0.1, "mouthLowerDown": 0.2},
}
BLINK = {"eyeBlink": 1.0}

SHAKES = 16
SHAKE = (5.0, 0.04, 0.16)  # the most: degrees, share of the size, distances between the eyes

LINES_YAW = 12.0  # degrees to either side, at which lines behind the head are looked at
BESIDE = 0.15  # face heights around a person that may move along
MISSED = 0.1  # a matte that leaves out more of the face than this has not found the person


@dataclass(frozen=True)
class Redetection:
    """How far what the tracker sees in drawn frames is from what was asked for; small numbers are good.

    lips, face:  mean distance of the lips' landmarks, and of all 468 of the face, from where they were sent, in
                 percent of the distance between the eyes; the mean of 24 frames of speaking mouths and turned heads
    tracker_lips, tracker_face: the same errors where nothing is drawn: the picture itself is rotated, scaled and
                 shifted, 16 times. No renderer can be seen to err by much less
    sealed:      distance of the inner lips in /m/, in the same unit
    blink_right, blink_left: distance of the lids of an eye that is shut, as a share of what it is in the portrait
    bend:        the most, in pixels, that something behind the head is moved, and a straight line there can bend, when
                 the head turns by 12° of yaw to either side: farther from the person than 15 % of the face's height;
                 None if no person was found in the picture, or nothing is behind
    lost:        frames of the 24 in which no face was found again; they count for no error
    """

    lips: float
    face: float
    tracker_lips: float
    tracker_face: float
    sealed: float
    blink_right: float
    blink_left: float
    bend: float | None
    lost: int

    @property
    def notes(self) -> list[str]:
        """What was measured, in plain words."""
        lines = "no person was found before a background" if self.bend is None else f"up to {self.bend:.2f} pixels"
        seen = f"{FRAMES - self.lost} of {FRAMES} frames"
        return [
            f"found again in {seen}: lips {self.lips:.2f} %, face {self.face:.2f} % of the eyes' distance off",
            f"the tracker alone: lips {self.tracker_lips:.2f} %, face {self.tracker_face:.2f} %",
            f"sealed lips: {self.sealed:.2f} % of the eyes' distance apart",
            f"shut lids: {self.blink_right:.2f} (right), {self.blink_left:.2f} (left) of the open eye's gap",
            f"bend of lines behind the head: {lines}",
        ]

    def report(self) -> dict[str, Any]:
        """The measures as plain values, for JSON."""
        return {name: value if value is None else round(value, 3) for name, value in asdict(self).items()}


def redetect(
    portrait: Portrait, tracker: MediaPipeTracker, *, animator: Animator | None = None, seed: int = 0
) -> Redetection:
    """Draw known motion of `portrait` and measure what `tracker` finds in the frames.

    animator: draws the frames; None is the mesh animator, whose limits say where turned portraits are sent, and whose
              map of the picture gives the bend
    seed:     of the random motion

    Raises NoFaceFound if no frame, or not the one with sealed lips or shut eyes, or no rotated picture shows a face.
    """
    animator = animator or MeshAnimator()
    head, unit = Head.of(portrait.landmarks), eyes_apart(portrait.landmarks)
    motion = known_motion(seed)
    within = replace(motion, rotation=eased(motion.rotation, *turn_limits(head)))
    found = again(portrait, tracker, animator, motion)
    pairs = [(face, goal) for face, goal in zip(found, sent(head, within), strict=True) if face is not None]
    if not pairs:
        raise NoFaceFound(f"no face was found again in any of {FRAMES} drawn frames", "give another portrait")
    errors = distances(pairs, unit)
    if not (still := shaken(portrait, tracker, seed)):
        raise NoFaceFound("no face was found again in the picture rotated by a few degrees", "give another portrait")
    own = distances(still, unit)
    (sealed,) = again(portrait, tracker, animator, posture(weights(MOUTHS["m"])))
    (shut,) = again(portrait, tracker, animator, posture(weights(BLINK)), speaking=0)
    if sealed is None or shut is None:
        which = "sealed lips" if sealed is None else "shut eyes"
        raise NoFaceFound(f"no face was found again in the drawn frame with {which}", "give another portrait")
    return Redetection(
        lips=float(errors[:, list(LIPS)].mean()),
        face=float(errors.mean()),
        tracker_lips=float(own[:, list(LIPS)].mean()),
        tracker_face=float(own.mean()),
        sealed=float(np.linalg.norm(np.subtract(*sealed[[UPPER_LIP, LOWER_LIP], :2]))) / unit * 100,
        blink_right=closing(shut, portrait.landmarks, RIGHT_LIDS, RIGHT_EYE_CORNERS),
        blink_left=closing(shut, portrait.landmarks, LEFT_LIDS, LEFT_EYE_CORNERS),
        bend=bend_behind(portrait),
        lost=FRAMES - len(pairs),
    )


def known_motion(seed: int = 0) -> Motion:
    """Random mouths of speech, raised brows and turned heads, one in each of 24 frames."""
    chance = np.random.default_rng(seed)
    rows, turns = [], []
    for _ in range(FRAMES):
        mouth = MOUTHS[chance.choice(list(MOUTHS))]
        rows.append(weights(mouth) * chance.uniform(*STRENGTHS) + weights({"browInnerUp": BROW * chance.random()}))
        turns.append(np.radians(chance.uniform(-1, 1, 3) * TURNS))
    return Motion(np.array(rows, np.float32), np.array(turns, np.float32), np.zeros((FRAMES, 3), np.float32))


def weights(shapes: Mapping[str, float]) -> Array:
    """The row [52] of `shapes` by name; a name without a side stands for both."""
    row = np.zeros(len(INDEX), np.float32)
    for shape, weight in shapes.items():
        row[[INDEX[name] for name in (shape, f"{shape}Left", f"{shape}Right") if name in INDEX]] = weight
    return row


def posture(expression: Array, yaw: float = 0) -> Motion:
    """One frame with `expression` [52] and a head turned by `yaw` degrees."""
    rotation = np.radians([[0, yaw, 0]]).astype(np.float32)
    return Motion(expression[None], rotation, np.zeros((1, 3), np.float32))


def sent(head: Head, motion: Motion, speaking: float = 1) -> Array:
    """Landmarks [T, 478, 3] of `head` under `motion`: the mouth starts from closed lips if `speaking` is 1, else from
    what the portrait shows. That is not left to how weights follow each other: these frames are no film.
    """
    shapes = head.express(motion.expression, np.full(len(motion), speaking, np.float32))
    return head.place(shapes, motion.rotation, motion.translation)


def again(
    portrait: Portrait, tracker: MediaPipeTracker, animator: Animator, motion: Motion, speaking: float = 1
) -> list[Array | None]:
    """Draw `motion`, and find in each frame the face [478, 3] that is nearest to that of `portrait`, if there is one.

    Neither a face's size nor its place is checked: the portrait passed those checks.
    """
    middle = portrait.landmarks.mean(0)
    frames = animator(portrait, motion, sent(Head.of(portrait.landmarks), motion, speaking))
    faces = map(tracker.find, frames)
    return [min(some, key=lambda face: float(np.linalg.norm(face.mean(0) - middle)), default=None) for some in faces]


def distances(pairs: list[tuple[Array, Array]], unit: float) -> Array:
    """How far the 468 landmarks of the face of each pair are apart, in percent of `unit` pixels: [N, 468]."""
    apart: Array = np.array([np.linalg.norm((face - goal)[:468, :2], axis=1) for face, goal in pairs]) / unit * 100
    return apart


def shaken(portrait: Portrait, tracker: MediaPipeTracker, seed: int = 0) -> list[tuple[Array, Array]]:
    """The face [478, 2] found in the picture of `portrait`, rotated, scaled and shifted, and where it is in that."""
    import cv2

    chance = np.random.default_rng(seed)
    height, width = portrait.image.shape[:2]
    own, pairs = portrait.landmarks[:, :2], []
    for _ in range(SHAKES):
        degrees, size = chance.uniform(-SHAKE[0], SHAKE[0]), 1 + chance.uniform(-SHAKE[1], SHAKE[1])
        change = cv2.getRotationMatrix2D(own.mean(0).tolist(), degrees, size)
        change[:, 2] += chance.uniform(-SHAKE[2], SHAKE[2], 2) * eyes_apart(portrait.landmarks)
        edge = cv2.BORDER_REPLICATE
        moved = cv2.warpAffine(portrait.image, change, (width, height), flags=cv2.INTER_CUBIC, borderMode=edge)
        goal = (own @ change[:, :2].T + change[:, 2]).astype(np.float32)
        found = tracker.find(moved)
        if found:
            nearest = min(found, key=lambda face: float(np.linalg.norm(face[:, :2].mean(0) - goal.mean(0))))
            pairs.append((nearest[:, :2], goal))
    return pairs


def eyes_apart(landmarks: Array) -> float:
    """Pixels of the picture between the middles of the eyes."""
    right, left = (landmarks[list(corners), :2].mean(0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    return float(np.linalg.norm(right - left))


def closing(face: Array, own: Array, lids: tuple[int, int], corners: tuple[int, int]) -> float:
    """How far the middles of `lids` are apart in `face`, across the line between the `corners`, as a share of `own`."""
    gaps = []
    for points in (face[:, :2], own[:, :2]):
        along = points[corners[1]] - points[corners[0]]
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-3)
        gaps.append(abs(float((points[lids[1]] - points[lids[0]]) @ across)))
    return gaps[0] / max(gaps[1], 1e-3)


def bend_behind(portrait: Portrait) -> float | None:
    """The most, in pixels, that the mesh animator moves what is behind the person when the head turns; None if no
    person is found, or nothing is behind.
    """
    import cv2

    head = Head.of(portrait.landmarks)
    matte = person_matte(portrait.image)
    if matte is None:
        return None
    face = np.zeros(matte.shape, np.uint8)
    cv2.fillPoly(face, [np.round(portrait.landmarks[list(FACE_OVAL), :2]).astype(np.int32)], 1)
    person = matte > 0.5
    if not face.any() or (face > person).sum() > MISSED * face.sum():
        return None
    away = cv2.distanceTransform((~person & (face == 0)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    behind = away > BESIDE * head.height
    if not behind.any():
        return None
    sitter, still = Sitter.of(portrait), np.zeros(len(INDEX), np.float32)
    turned = [posture(still, yaw) for yaw in (-LINES_YAW, LINES_YAW)]
    shifts = [sitter.shift(motion, sent(head, motion, speaking=0)[0]) for motion in turned]
    return max(float(np.linalg.norm(shift[behind], axis=1).max()) for shift in shifts)
