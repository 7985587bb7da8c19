"""Eyes: lids that slide over a round eyeball, and an iris that looks around."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...face.landmarks import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from ...types import Array, Frame
from .opening import Opening

Mask = NDArray[np.bool_]
Group = tuple[int, ...]  # of landmarks

# The lids' edges from the picture's left to its right, if the head is upright.
RIGHT_UPPER, RIGHT_LOWER = RIGHT_EYE[:9], (RIGHT_EYE[0], *RIGHT_EYE[:7:-1])
LEFT_UPPER, LEFT_LOWER = LEFT_EYE[8::-1], (*LEFT_EYE[8:], LEFT_EYE[0])

UPPER_LIDS, LOWER_LIDS = np.array((RIGHT_UPPER, LEFT_UPPER)), np.array((RIGHT_LOWER, LEFT_LOWER))

# Upper lid: its edge, and the crease above it. Between them are the lashes and the make-up.
LID_EDGE = np.array((246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398))
CREASE = np.array((247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414))
CREASE_FOLLOWS = 0.95  # of the edge's way down: the skin that unfolds is the one above the crease

SHUTTING = 0.25  # of the portrait's opening: lids closer than that are on their way to meet
SHUT = 0.03  # of the eye's width: lids that are so close, in the mean, have met
OVERLAP = 0.08  # of the portrait's opening: by how much they do

LASHES = 0.07  # of the eye's width: how far lashes and the lid's shadow reach over the eyeball
# The line of lashes on a closed eye, in shares of the eye's width: how thick it is, how far below the lids' meeting,
# since it hides the lower lid's wet rim, and how far past the outer corner, as lashes sweep outwards. Then how bluntly
# it ends, and which percentile of the colours at the upper lid's edge it has.
LINE, HANG, PAST, BLUNT, DARKEST = 0.1, 0.03, 0.1, 0.4, 3
SHADOW, SHADE = 0.15, 0.6  # how far their shadow fades below the line, and with which share of its colour it begins
LIMBUS = 0.12  # of the iris' radius: how soft its rim is
RIM = 1.2  # of the iris' radius: lashes outside are told apart from it
FAINTEST = 20  # which percentile of the lashes outside, at each place the darkest, they count with
MISTAKEN = (20, 45)  # levels of 255 by which they are lighter: the iris is taken for lashes hardly, or surely
LIKE_THOSE = 0.6  # how much of the difference the line is lighter then: one without contrast is no shut eye
SEEN = 1.0  # pixels of motion at which the eyeball is fully redrawn


@dataclass(frozen=True, eq=False)
class Eye:
    """One eyeball as the portrait shows it, and what its lids hide.

    upper, lower: [9] landmarks of the lids' edges, from the picture's left to its right
    inner:        landmark of the corner at the nose
    iris:         landmark of its centre
    left, top:    of the textures in the portrait
    ball:         [h, w, 3] the eyeball without lids
    white:        [h, w, 3] the eyeball without iris
    centre, radius: of the iris, in pixels of the textures
    lashes:       [3] colour of the upper lid's edge
    opening:      pixels between the lids, and width the pixels between the corners
    """

    upper: NDArray[np.intp]
    lower: NDArray[np.intp]
    inner: int
    iris: int
    left: int
    top: int
    ball: Frame
    white: Frame
    centre: Array
    radius: float
    lashes: Array
    opening: float
    width: float

    @classmethod
    def of(cls, image: Frame, landmarks: Array, upper: Group, lower: Group, iris: Group) -> Eye | None:
        """The eye between these lids; None if the picture does not show it."""
        slit = Opening.between(landmarks[list(upper), :2], landmarks[list(lower), :2], image, margin=0)
        width = float(np.linalg.norm(landmarks[upper[0]] - landmarks[upper[-1]]))
        if slit is None or width < 6:
            return None
        pad = int(0.35 * width) + 2
        height, length = slit.mask.shape
        box = image[slit.top : slit.top + height, slit.left : slit.left + length]
        seen = (slit.mask > 0.99) & (slit.under > LASHES * width) & (slit.over > 0.5 * LASHES * width)
        if not seen.any():
            return None
        box, seen = np.pad(box, ((pad, pad), (pad, pad), (0, 0))), np.pad(seen, pad)
        corner = np.array([slit.left - pad, slit.top - pad])
        centre = landmarks[iris[0], :2] - corner
        radius = float(np.linalg.norm(landmarks[list(iris[1:]), :2] - landmarks[iris[0], :2], axis=1).mean())
        y, x = np.indices(seen.shape)
        distance = np.hypot(x - centre[0], y - centre[1])
        white = fill(box, seen & (distance > 1.35 * radius))
        ball, known = mirror_iris(box, seen, centre, distance < 1.1 * radius)
        ball = fill(ball, known)
        strip = np.abs(slit.under) < max(1.0, LASHES * width)
        dark = image[slit.top : slit.top + height, slit.left : slit.left + length][strip]
        return cls(
            upper=np.array(upper),
            lower=np.array(lower),
            inner=upper[-1] if iris is RIGHT_IRIS else upper[0],
            iris=iris[0],
            left=int(corner[0]),
            top=int(corner[1]),
            ball=ball,
            white=white,
            centre=centre,
            radius=radius,
            lashes=lash_colour(np.percentile(dark, DARKEST, axis=0), image, landmarks, upper, iris),
            opening=max(float((lids_apart(landmarks, upper, lower) @ across(landmarks, upper)).max()), 1e-3),
            width=width,
        )

    def draw(self, frame: Frame, face: Array, posed: Array, own: Array) -> None:
        """Lay the eyeball between the lids of `face`, where they or the gaze differ from `posed`, all [478, 3]."""
        ring = np.concatenate([self.upper, self.lower[1:-1]])
        gaze = face[self.iris, :2] - posed[self.iris, :2]
        moved = max(float(np.abs(face[ring, :2] - posed[ring, :2]).max()), float(np.abs(gaze).max()))
        if moved < 0.05:
            return
        shut = self.shut(face)
        if shut > 0:
            self.draw_lashes(frame, face, shut)
        slit = Opening.between(face[self.upper, :2], face[self.lower, :2], frame, margin=0)
        if slit is None:
            return
        where = slit.seen_from(posed[ring, :2], own[ring, :2] - [self.left, self.top])  # the head alone moves it
        looked = where - gaze
        white = cv2.remap(self.white, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        ball = cv2.remap(self.ball, looked, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if np.abs(gaze).max() > 0.05:
            distance = np.linalg.norm(looked - self.centre, axis=2)
            iris = np.clip((1.15 - distance / self.radius) / LIMBUS, 0, 1)[..., None]
            still = cv2.remap(self.ball, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            away = np.linalg.norm(where - self.centre, axis=2)
            plain = np.clip((1.45 - away / self.radius) / LIMBUS, 0, 1)[..., None]
            ball = (white * plain + still * (1 - plain)) * (1 - iris) + ball * iris
        soft = LASHES * self.width
        edge = np.clip(slit.under / soft, 0, 1) * np.clip(slit.over / (0.5 * soft), 0, 1)
        slit.paint(frame, ball.astype(np.float32), edge * min(1.0, moved / SEEN))

    def shut(self, face: Array) -> float:
        """How far the eye is shut, from 0 where it is SHUTTING open to 1 where the lids meet."""
        gap = float((lids_apart(face, self.upper, self.lower) @ across(face, self.upper)).max())
        return float(np.clip(1 - gap / (SHUTTING * self.opening), 0, 1))

    def draw_lashes(self, frame: Frame, face: Array, shut: float) -> None:
        """Draw the line where lids meet, as far as they do, and the shadow below it."""
        upper, lower = face[self.upper, :2], face[self.lower, :2]
        bow = np.sin(np.linspace(0, np.pi, len(upper)))[:, None] ** BLUNT * across(face, self.upper) * self.width
        line = (upper + lower) / 2 + HANG * bow
        along = (upper[-1] - upper[0]) / self.width
        outwards = (line - face[self.inner, :2]) @ along / self.width  # from 0 at the inner corner to -1 or 1
        line += PAST * self.width * np.outer(np.sign(outwards) * outwards**4, along)  # all but the outer end stays
        slit = Opening.between(line - LINE / 2 * bow, line + (LINE / 2 + SHADOW) * bow, frame)
        if slit is not None:
            thick = LINE / (LINE + SHADOW) * (slit.under + slit.over)
            half = LINE / 2 * self.width
            dark = np.clip(np.minimum(slit.under, thick - slit.under) / half, 0, 1) ** 0.5
            fade = np.clip(np.minimum(slit.under / half, slit.over / (SHADOW * self.width)), 0, 1)
            slit.paint(frame, self.lashes, shut * np.maximum(dark, SHADE * fade * (1 - slit.along**4)))


@dataclass(frozen=True, eq=False)
class Eyes:
    """Both eyes of a portrait, as far as it shows them."""

    eyes: tuple[Eye, ...]
    own: Array  # [478, 3] the portrait's landmarks
    open: Array  # [2] as `lids_open` tells of them

    @classmethod
    def of(cls, image: Frame, landmarks: Array) -> Eyes:
        """The eyes in `image` with the face at `landmarks` [478, 3]."""
        right = Eye.of(image, landmarks, RIGHT_UPPER, RIGHT_LOWER, RIGHT_IRIS)
        left = Eye.of(image, landmarks, LEFT_UPPER, LEFT_LOWER, LEFT_IRIS)
        return cls(tuple(eye for eye in (right, left) if eye is not None), landmarks, lids_open(landmarks))

    def draw(self, frame: Frame, face: Array, posed: Array) -> None:
        """Lay the eyeballs between the lids of `face`; `posed` is the face without expression, both [478, 3]."""
        for eye in self.eyes:
            eye.draw(frame, face, posed, self.own)


def lay_lids(face: Array, posed: Array, own: Array, shut: Array) -> Array:
    """`face` [478, 3] with lids that slide and close as real ones do.

    The strip above a lid's edge moves in one piece with it, so that the stretch of a closing lid falls on the skin
    below the brow; and lids that all but meet are laid over each other everywhere, so that no eyeball is seen.

    posed, own: [478, 3] the face without expression, and as the portrait has it
    shut:       [478] as `shut_lids` tells
    """
    face = face.copy()
    for upper, lower in ((RIGHT_UPPER, RIGHT_LOWER), (LEFT_UPPER, LEFT_LOWER)):
        above = list(upper[1:-1])
        down = across(face, upper)
        usual = np.maximum(lids_apart(own, upper, lower)[1:-1] @ across(own, upper), 1e-3)
        gap = lids_apart(face, upper, lower)[1:-1] @ down
        face[above, :2] += (shut[above] * (gap + OVERLAP * usual))[:, None] * down
        face[above, 2] -= np.where(shut[above] > 0, usual, 0)  # the upper lid is in front
    down = across(face, RIGHT_UPPER) + across(face, LEFT_UPPER)
    way = (face[LID_EDGE] - posed[LID_EDGE])[:, :2] * CREASE_FOLLOWS
    closing = way @ down > (face[CREASE] - posed[CREASE])[:, :2] @ down
    face[CREASE[closing], :2] = posed[CREASE[closing], :2] + way[closing]
    return face


def lids_open(face: Array) -> Array:
    """Pixels between the lids of the right and the left eye of `face` [478, 3], the mean along them: [2]."""
    down = face[LOWER_LIDS, :2].mean(1) - face[UPPER_LIDS, :2].mean(1)
    along = face[UPPER_LIDS[:, -1], :2] - face[UPPER_LIDS[:, 0], :2]
    across = along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0]
    gaps: Array = across / np.maximum(np.hypot(*along.T), 1e-3)
    return gaps


def shut_lids(face: Array, own: Array) -> Array:
    """How far the lids of `face` [478, 3] are on their way to meet [478], at their edges and creases; elsewhere 0.

    0 for an eye that is SHUTTING open or more, 1 from half of that on; 0 too if the portrait has it shut. All of a lid
    goes alike: the shapes of the model bring some landmarks too far and others not far enough, since no two eyes have
    the same form.

    own: [2] as `lids_open` tells of the portrait
    """
    shut = np.zeros(len(face), np.float32)
    width = np.hypot(*(face[UPPER_LIDS[:, -1], :2] - face[UPPER_LIDS[:, 0], :2]).T)
    closing = np.clip(2 - 2 * lids_open(face) / (SHUTTING * np.maximum(own, 1e-3)), 0, 1) * (own > SHUT * width)
    shut[LID_EDGE] = shut[CREASE] = np.repeat(closing, 7)
    return shut


def across(face: Array, upper: Group | NDArray[np.intp]) -> Array:
    """The direction [2] from an eye's upper lid to its lower one: at right angles to the line of its corners."""
    x, y = (face[upper[-1]] - face[upper[0]])[:2]
    direction: Array = np.array([-y, x], np.float32) / max(float(np.hypot(x, y)), 1e-3)
    return direction


def lids_apart(face: Array, upper: Group | NDArray[np.intp], lower: Group | NDArray[np.intp]) -> Array:
    """From each landmark of the upper lid's edge to that of the lower one: [9, 2] pixels."""
    return face[list(lower), :2] - face[list(upper), :2]


def lash_colour(darkest: Array, image: Frame, landmarks: Array, upper: Group, iris: Group) -> Array:
    """The colour [3] of the portrait's own line of lashes; `darkest` [3] is that of the upper lid's edge.

    It is faint on some, and what is dark there is an iris that the tracker left above the edge: so it is if lashes
    outside the iris, between the edge and the crease, are much lighter. Then the line is more like those.
    """
    eye = np.isin(LID_EDGE, upper)
    edge, crease = landmarks[LID_EDGE[eye], None, :2], landmarks[CREASE[eye], None, :2]
    places = (edge + np.linspace(-0.2, 1, 16)[:, None] * (crease - edge)).astype(np.float32)
    seen = cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    centre = landmarks[iris[0], :2]
    radius = np.linalg.norm(landmarks[list(iris[1:]), :2] - centre, axis=1).mean()
    hidden = np.linalg.norm(places - centre, axis=2) < RIM * radius
    shown = ~hidden.all(1)
    if not shown.any():
        return darkest
    brightness = np.where(hidden, np.inf, seen.mean(2))[shown]
    lashes = np.take_along_axis(seen[shown], brightness.argmin(1)[:, None, None], axis=1)[:, 0]
    lighter = np.percentile(lashes, FAINTEST, axis=0) - darkest
    colour: Array = darkest + LIKE_THOSE * np.clip(np.interp(lighter.mean(), MISTAKEN, (0, 1)), 0, 1) * lighter
    return colour.astype(np.float32)


def mirror_iris(box: Frame, seen: Mask, centre: Array, iris: Mask) -> tuple[Frame, Mask]:
    """Fill what the lids hide of the iris from its mirror images, which look alike; also what is known then."""
    box, known = box.copy(), seen.copy()
    height, width = seen.shape
    y, x = np.nonzero(iris & ~seen)
    for flip_x, flip_y in ((1, -1), (-1, 1), (-1, -1)):
        from_x = np.round(centre[0] + flip_x * (x - centre[0])).astype(int)
        from_y = np.round(centre[1] + flip_y * (y - centre[1])).astype(int)
        inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height) & ~known[y, x]
        inside[inside] = seen[from_y[inside], from_x[inside]]
        box[y[inside], x[inside]] = box[from_y[inside], from_x[inside]]
        known[y[inside], x[inside]] = True
    return box, known


def fill(box: Frame, known: Mask) -> Frame:
    """`box` [h, w, 3] with what is not known continued from what is."""
    if not known.any():
        return box
    filled: Frame = cv2.inpaint(box, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return filled
