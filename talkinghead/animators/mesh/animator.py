"""The story of one frame: pull the portrait along, put the eyes back, paint what the open mouth shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...face.footage import Footage, Take
from ...face.geometry import FLIP, Head, rotation_angles
from ...types import Array, Frame, Motion, Portrait
from .eyes import Eyes, lay_lids, shut_lids
from .field import freedom, loose_skin
from .glasses import Glasses
from .lashes import lash_bands
from .lips import almond, lip_line, overlapped
from .mouth import Mouth
from .outline import Outline
from .redraw import Redrawer
from .warp import Warp

TURN_LIMIT = np.radians([8, 12, 8]).astype(np.float32)  # pitch, yaw, roll: beyond, what the picture hides would show
# Yaw of the portrait: it may turn less from the first on, and back not at all at the second.
TURNED = np.radians([15, 40])
FARTHER = 0.3  # of the limit: what such a portrait may turn farther away, where its nose would cover its far cheek
SHIFT_LIMIT = np.array([0.08, 0.08, 0.3], np.float32)  # face heights
KNEE = 0.7  # of a limit: motion up to there is drawn as it is


@dataclass(frozen=True)
class MeshAnimator:
    """Draws a portrait moving with nothing but its own pixels and a CPU, at any frame rate and picture size.

    Pixels that the head cannot reach are never touched, and no motion gives back the portrait bit by bit.
    A single picture does not show the sides of a head, so large motion is eased: up to 70 % of a limit it is drawn
    as it is, further on it approaches the limit. The limits are 12° of yaw, 8° of pitch and roll, and shifts of
    8 % of the face's height, 30 % in depth. A portrait that is turned to a side itself may turn less: from 15° of its
    own on, the limit for turning back shrinks to nothing at 40°, since its far side is not in the picture, and that for
    turning farther away to 30 %, since its outline would flatten.
    """

    fps: float | None = None  # any

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        """Frames [H, W, 3] of `portrait`, drawn one at a time; `landmarks`, T × [478, 3], is where the face goes."""
        sitter = Sitter.of(portrait)
        for frame, face in enumerate(landmarks):
            yield sitter.draw(motion[frame : frame + 1], face)

    def redrawer(self, footage: Footage, clearest: Frame) -> Callable[[Take], Frame]:
        """What gives the filmed face of `footage` another mouth; `clearest` is the frame of that number."""
        return Redrawer.of(footage, clearest).draw


@dataclass(frozen=True, eq=False)
class Sitter:
    """A portrait made ready to be drawn often.

    bare:    [H, W, 3] the picture without glasses
    freedom: [478, 1] how freely each landmark may move: 0 at the border of the picture, 1 inside
    loose:   [478, 1] how much of its expression each landmark shows: none where skin lies tight on the skull
    settle:  [478, 2] what brings the inner edges of closed lips together
    lashes:  [478, 2] the way across the band of lashes at the lids' edges
    turns:   [3] and [3] the least and the most rotation
    """

    portrait: Portrait
    head: Head
    bare: Frame
    warp: Warp
    eyes: Eyes
    mouth: Mouth
    glasses: Glasses | None
    freedom: Array
    loose: Array
    settle: Array
    lashes: Array
    outline: Outline
    turns: tuple[Array, Array]

    @classmethod
    def of(cls, portrait: Portrait) -> Sitter:
        """Everything that can be known before the first frame."""
        image, landmarks = portrait.image, portrait.landmarks
        head = Head.of(landmarks)
        texture = lip_line(image, landmarks)
        glasses = Glasses.of(image, landmarks)
        bare = image if glasses is None else glasses.bare
        return cls(
            portrait=portrait,
            head=head,
            bare=bare,
            warp=Warp.of(bare, head, landmarks, texture),
            eyes=Eyes.of(image, landmarks),
            mouth=Mouth.of(head, image, landmarks, texture),
            glasses=glasses,
            freedom=freedom(landmarks[:, :2], image, head)[:, None],
            loose=loose_skin(head)[:, None],
            settle=texture - landmarks[:, :2],
            lashes=lash_bands(bare, landmarks),
            outline=Outline.of(bare, landmarks, head.height),
            turns=turn_limits(head),
        )

    def draw(self, motion: Motion, landmarks: Array) -> Frame:
        """One frame: `motion` has one row, `landmarks` [478, 3] is where it brings the face."""
        at = self.move(motion, landmarks)
        frame = self.bare.copy()
        self.warp.draw(frame, at.lips, at.face, at.around, at.taken)
        self.eyes.draw(frame, at.face, at.posed)
        self.mouth.draw(frame, at.opening, at.posed[:, :2] + self.settle, motion.expression[0], at.place)
        if self.glasses is not None:
            self.glasses.draw(frame, at.posed)
        return frame

    def shift(self, motion: Motion, landmarks: Array) -> Array:
        """From each pixel of the frame that `draw` gives to where the portrait shows it: [H, W, 2] pixels.

        Eyeballs, the inside of the mouth and glasses, which are laid on top, are not counted.
        """
        at = self.move(motion, landmarks)
        shifts = np.zeros((*self.bare.shape[:2], 2), np.float32)
        found = self.warp.places(self.bare, at.lips, at.face, at.around, at.taken)
        if found is not None:
            left, top, shown = found
            rows, columns = np.indices(shown.shape[:2], np.float32)
            here = np.stack([columns + left, rows + top], axis=-1)
            shifts[top : top + len(rows), left : left + columns.shape[1]] = shown[..., :2] - here
        return shifts

    def move(self, motion: Motion, landmarks: Array) -> Moved:
        """Where everything goes, for the arguments of `draw`."""
        own = self.portrait.landmarks
        rotation = eased(motion.rotation, *self.turns)
        translation = eased(motion.translation, -SHIFT_LIMIT, SHIFT_LIMIT)

        def place(points: Array) -> Array:
            placed: Array = self.head.place(points[None], rotation, translation)[0]
            return placed

        # Where the head alone takes the face, and where its expression does.
        posed = place(self.head.shape)
        landmarks = landmarks + posed - self.head.place(self.head.shape[None], motion.rotation, motion.translation)[0]
        landmarks = posed + (landmarks - posed) * self.loose
        posed = own + (posed - own) * self.freedom
        face = own + (landmarks - own) * self.freedom
        shut = shut_lids(face, self.eyes.open)
        taken = shut[:, None] * self.lashes
        taken[:468] += self.outline.taken(posed)
        face = lay_lids(face, posed, own, shut)
        around = self.warp.surround.move((face - own)[:, :2], place(self.warp.surround.scalp)[:, :2])
        rest = own[:, :2] + self.settle
        opening = almond(face[:, :2] + self.settle, rest)
        return Moved(posed, face, overlapped(opening, rest), opening, around, taken, place)


@dataclass(frozen=True, eq=False)
class Moved:
    """Where one frame has everything.

    posed:   [478, 3] the face without expression
    face:    [478, 3] the face
    lips:    [478, 2] the face as the picture is pulled there: lips that touch lie over each other a little
    opening: [478, 2] the face with the edges that the inside of the mouth is seen between
    around:  [R, 2] what is around the face
    taken:   [478, 2] how far from the landmarks of the portrait what they show is: lids that shut show no lashes,
             and skin that is stretched no hair beside it
    place:   puts points [N, 3] of the head's space into the picture
    """

    posed: Array
    face: Array
    lips: Array
    opening: Array
    around: Array
    taken: Array
    place: Callable[[Array], Array]


def turn_limits(head: Head) -> tuple[Array, Array]:
    """The least and the most pitch, yaw and roll, each [3], by which `head` can turn and still look like one."""
    low, high = -TURN_LIMIT, TURN_LIMIT.copy()
    yaw = float(rotation_angles(head.rotation * FLIP[:, None] * FLIP)[1])
    back = float(np.clip((TURNED[1] - abs(yaw)) / (TURNED[1] - TURNED[0]), 0, 1))
    behind, ahead = (low, high) if yaw > 0 else (high, low)
    behind[1] *= back
    ahead[1] *= FARTHER + (1 - FARTHER) * back
    return low, high


def eased(values: Array, low: Array, high: Array) -> Array:
    """`values` up to KNEE of their limits as they are; beyond, they approach them."""
    limit = np.where(values < 0, -low, high)
    knee = KNEE * limit
    excess = np.maximum(np.abs(values) - knee, 0)
    room = np.maximum(limit - knee, 1e-6)
    bent = np.sign(values) * (knee + room * np.tanh(excess / room))
    return np.where(excess > 0, bent, values).astype(np.float32)
