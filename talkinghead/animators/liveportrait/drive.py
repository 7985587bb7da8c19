"""From a driving motion to the keypoints that a source is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from ...types import Array
from .retarget import EYES_OPEN, EYES_SHUT, LIP_ZERO, eye_condition, lip_condition
from .sizes import KEYPOINTS
from .smoothing import OBSERVATION_VARIANCE, smoothed, smoothed_rotation
from .transform import KeypointMotion

Region = Literal["all", "exp", "pose", "lip", "eyes"]

ANIMAL_MULTIPLIER = 1.75  # of motion, with which the public pipeline shows its animals
LIP_KEYPOINTS = (6, 12, 14, 17, 19, 20)
EYE_KEYPOINTS = (11, 13, 15, 16, 18)


def _mask(coordinates: dict[Sequence[int], Sequence[int]]) -> Array:
    """[21, 3]: 1 where a keypoint's coordinate is listed."""
    mask = np.zeros((KEYPOINTS, 3), np.float32)
    for keypoints, axes in coordinates.items():
        mask[np.ix_(list(keypoints), list(axes))] = 1
    return mask


# The coordinates that carry expression from one person to another; the rest tells who it is.
EXPRESSIVE = _mask({(1, 2, 6, *range(11, 21)): (0, 1, 2), (3, 4): (1,), (5, 8): (2,), (9,): (1, 2)})
# The expression of closed lips that the public pipeline takes a driving picture's relative to: of its coordinates
# those that matter.
NEUTRAL_LIPS = np.zeros((KEYPOINTS, 3), np.float32)
NEUTRAL_LIPS[19], NEUTRAL_LIPS[20] = (0, -0.0151, -0.0025), (0, 0.0056, 0.0027)
NEUTRAL_LIPS.setflags(write=False)
_WHOLE = {"lip": _mask({LIP_KEYPOINTS: (0, 1, 2)}), "eyes": _mask({EYE_KEYPOINTS: (0, 1, 2)})}


class Heads(Protocol):
    """The three small networks, as functions of arrays."""

    def stitch(self, source: Array, driving: Array) -> Array:
        """`driving` [T, 21, 3] so moved that it meets the neck of `source` [1 or T, 21, 3]."""
        ...

    def move_lips(self, source: Array, condition: Array) -> Array:
        """What to add to keypoints [T, 21, 3] for `source` [1 or T, 21, 3] and a condition [T, 2]."""
        ...

    def move_eyes(self, source: Array, condition: Array) -> Array:
        """What to add to keypoints [T, 21, 3] for `source` [1 or T, 21, 3] and a condition [T, 3]."""
        ...


@dataclass(frozen=True)
class Options:
    """How a driving motion is taken over; names and defaults are those that LivePortrait's users know.

    relative:           from the driver's first frame on, rather than as it is
    region:             what moves: all, exp (expression), pose, lip or eyes
    expression_friendly: scale the motion by the faces' sizes
    stitching:          keep the shoulders where they are
    lip_zero:           close an open mouth first (relative, one picture)
    eye_retargeting:    open the eyes as far as the driver's
    lip_retargeting:    open the lips as far as the driver's
    source_eye_retargeting: keep a source video's eyes as open as in its first frame
    eye_scale, lip_scale: of the offsets that retargeting adds
    multiplier:         of all motion, at the end
    variance:           of a source video's smoothing; the larger, the smoother
    as_upstream:        with the public pipeline's faults: retargeting discards the driving motion, smoothed
                        rotations stay as they come out
    """

    relative: bool = True
    region: Region = "all"
    expression_friendly: bool = False
    stitching: bool = True
    lip_zero: bool = False
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    source_eye_retargeting: bool = False
    eye_scale: float = 1.0
    lip_scale: float = 1.0
    multiplier: float = 1.0
    variance: float = OBSERVATION_VARIANCE
    as_upstream: bool = False

    def __post_init__(self) -> None:
        if self.region not in get_args(Region):
            raise ValueError(f"region must be {', '.join(get_args(Region))}, not {self.region!r:.40}")
        for name in ("multiplier", "eye_scale", "lip_scale"):
            if not 0 <= (value := getattr(self, name)) <= 10:
                raise ValueError(f"{name} must be 0 to 10, not {value!r}")
        if not self.variance > 0:
            raise ValueError(f"variance must be above 0, not {self.variance!r}")

    @property
    def moves_pose(self) -> bool:
        """Whether rotation and place follow the driver."""
        return self.region in ("all", "pose")

    @property
    def expressive(self) -> Array:
        """The expression's coordinates [21, 3] that follow the driver where not all do: 1, else 0."""
        return _WHOLE.get(self.region, EXPRESSIVE if self.region in ("all", "exp") else np.zeros_like(EXPRESSIVE))


DEFAULTS = Options()


@dataclass(frozen=True, eq=False)
class Face:
    """A face to be driven.

    canonical: [1 or T, 21, 3] its keypoints at rest
    motion:    its own motion: 1 frame of a picture, T of a video
    eyes:      [1 or T, 2] how open its eyes are
    lips:      [1 or T, 1] how open its lips are
    """

    canonical: Array
    motion: KeypointMotion
    eyes: Array
    lips: Array

    @property
    def keypoints(self) -> Array:
        """Where its keypoints are: [1 or T, 21, 3]."""
        return self.motion.place(self.canonical)


@dataclass(frozen=True, eq=False)
class Driver:
    """What drives it.

    motion:  its motion, of T frames; 1 frame is a picture, which drives every frame of a source
    eyes:    [T, 2] how open its eyes are, the left one in the picture first; needed for eye_retargeting
    lips:    [T, 1] how open its lips are; needed for lip_retargeting
    neutral: [21, 3] the expression of closed lips, which a driving picture's is taken relative to
    """

    motion: KeypointMotion
    eyes: Array | None = None
    lips: Array | None = None
    neutral: Array | None = None


def drive(face: Face, driver: Driver, heads: Heads, options: Options = DEFAULTS) -> Array:
    """The keypoints [T, 21, 3] that `face` is drawn with when `driver` moves it.

    T is the shorter of the two where both are videos; a picture lasts as long as the other. Transforms, then
    retargeting, stitching, the source's own lips and eyes, and the multiplier, in this order.

    Raises ValueError if a ratio that the options need is not given.
    """
    one = len(driver.motion) == 1
    if len(face.motion) > 1 and not one:
        frames = min(len(face.motion), len(driver.motion))
        face = Face(face.canonical[:frames], face.motion[:frames], face.eyes[:frames], face.lips[:frames])
        driver = Driver(driver.motion[:frames], driver.eyes, driver.lips, driver.neutral)
    source = face.keypoints
    moved = (_over_video if len(face.motion) > 1 else _over_picture)(face, driver, options)
    driven = moved.place(face.canonical)
    if options.expression_friendly and options.relative and len(face.motion) == 1 and not one:
        driven = source + (driven - driven[:1]) * hull_multiplier(source[0], driven[0])
    driven = _retarget(face, driver, heads, options, driven)
    if options.stitching:
        driven = heads.stitch(source, driven)
    driven = driven + _own_lips_and_eyes(face, heads, options)
    driven = source + (driven - source) * np.float32(options.multiplier)
    return driven.astype(np.float32)


def _over_picture(face: Face, driver: Driver, options: Options) -> KeypointMotion:
    """The motion of a face in one picture."""
    own, other = face.motion, driver.motion
    frames = len(other)
    rotation, translation = (np.repeat(a, frames, 0) for a in (own.rotation, own.translation))
    scale, expression = np.repeat(own.scale, frames, 0), np.repeat(own.expression, frames, 0)
    if options.relative:
        given = expression + _relative_expression(driver, options)
        # On a picture all of the expression goes along, except where a region was asked for.
        follows = np.ones_like(EXPRESSIVE) if options.region in ("all", "exp") else options.expressive
        if options.moves_pose:
            rotation = other.rotation @ np.swapaxes(other.rotation[:1], 1, 2) @ rotation
            translation = translation + other.translation - other.translation[:1]
        if options.region == "all":
            scale = scale * other.scale / other.scale[:1]
    else:
        given, follows = other.expression, options.expressive
        if options.moves_pose:
            rotation, translation = other.rotation, other.translation
    expression = np.where(follows > 0, given, expression)
    return KeypointMotion(expression, _float(rotation), _float(scale), _float(translation))


def _over_video(face: Face, driver: Driver, options: Options) -> KeypointMotion:
    """The motion of a face in a video: its own, edited, and smoothed."""
    own, other = face.motion, driver.motion
    video = len(other) > 1
    given = own.expression + _relative_expression(driver, options) if options.relative else other.expression
    rotation, translation = own.rotation, own.translation
    if options.moves_pose and not options.relative:
        rotation, translation = np.broadcast_to(other.rotation, rotation.shape), other.translation
    elif options.moves_pose and video:
        rotation = other.rotation @ np.swapaxes(other.rotation[:1], 1, 2) @ rotation
    if video:
        given = smoothed(given, options.variance)
        if options.moves_pose:
            smooth = smoothed if options.as_upstream else smoothed_rotation
            rotation = smooth(_float(rotation), options.variance)
    expression = np.where(options.expressive > 0, given, own.expression)
    translation = np.broadcast_to(translation, own.translation.shape)
    return KeypointMotion(_float(expression), _float(rotation), own.scale, _float(translation))


def _relative_expression(driver: Driver, options: Options) -> Array:
    """What the driver's expression adds [T, 21, 3]: to its first frame, or to closed lips where it is a picture."""
    expression = driver.motion.expression
    if len(expression) > 1:
        return expression - expression[:1]
    if driver.neutral is None or options.region == "eyes":
        return expression
    return expression - driver.neutral.astype(np.float32)


def _retarget(face: Face, driver: Driver, heads: Heads, options: Options, driven: Array) -> Array:
    """`driven` with lips and eyes as open as the driver's, where that is asked for."""
    if not (options.eye_retargeting or options.lip_retargeting):
        return driven
    source = face.keypoints
    added = np.zeros_like(driven)
    if options.eye_retargeting:
        if driver.eyes is None:
            raise ValueError("eye_retargeting needs the driver's eye ratios, which this one has not")
        eyes = heads.move_eyes(source, eye_condition(face.eyes, driver.eyes[: len(driven)]))
        added = added + np.float32(options.eye_scale) * eyes
    if options.lip_retargeting:
        if driver.lips is None:
            raise ValueError("lip_retargeting needs the driver's lip ratios, which this one has not")
        lips = heads.move_lips(source, lip_condition(face.lips, driver.lips[: len(driven)]))
        added = added + np.float32(options.lip_scale) * lips
    return (source if options.as_upstream and options.relative else driven) + added


def _own_lips_and_eyes(face: Face, heads: Heads, options: Options) -> Array:
    """What closes a picture's open mouth, or keeps a video's eyes open: [1 or T, 21, 3]."""
    source = face.keypoints
    added = np.zeros_like(source)
    if options.lip_zero and options.relative and len(source) == 1 and face.lips[0, 0] >= LIP_ZERO:
        added = added + heads.move_lips(source, lip_condition(face.lips, np.zeros((1, 1), np.float32)))
    if options.source_eye_retargeting and len(source) > 1:
        target = face.eyes[:1].mean(1, keepdims=True)
        target = np.where(target < EYES_SHUT, np.float32(EYES_OPEN), target)
        added = added + heads.move_eyes(source, eye_condition(face.eyes, target))
    return added


def drive_animal(face: Face, driver: Driver, multiplier: float = ANIMAL_MULTIPLIER) -> Array:
    """The keypoints [T, 21, 3] that an animal's `face`, of one picture, is drawn with when a person drives it.

    The driver's pose, place and expression as they are, on the animal's own keypoints and scale; from the first
    frame on, in proportion to the two shapes' sizes. Animals are neither stitched nor retargeted.
    """
    own, other = face.motion, driver.motion
    scale = np.repeat(own.scale, len(other), 0)
    driven = KeypointMotion(other.expression, other.rotation, scale, other.translation).place(face.canonical)
    source = face.keypoints
    driven = source + (driven - driven[:1]) * hull_multiplier(source[0], driven[0])
    return _float(source + np.float32(multiplier) * (driven - source))


def hull_multiplier(source: Array, driving: Array) -> float:
    """How much larger `source` [21, 3] is than `driving`: the square root of the ratio of their convex hulls."""
    from scipy.spatial import ConvexHull

    return float(np.sqrt(ConvexHull(source).volume) / np.sqrt(ConvexHull(driving).volume))


def _float(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32)
