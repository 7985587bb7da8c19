"""The animator: this package's landmarks and head pose move a portrait through LivePortrait's networks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ...errors import WeightsMissing
from ...face.geometry import CAMERA_DISTANCE, Head, rotation_matrix, stream_landmarks
from ...types import Array, Frame, Motion, Portrait
from ...video import Video
from .adapter import MAP_FILE, LandmarkMap, displacements, known_offsets, unposed
from .drive import EYE_KEYPOINTS
from .loading import REPOSITORY, Networks, from_hub, is_liveportrait, load_networks
from .retarget import LIP_ZERO, eye_condition, lip_condition
from .sizes import KEYPOINTS
from .source import Source, openness
from .template import Template
from .transform import KeypointMotion, joined

TURN_LIMIT = np.radians(15).astype(np.float32)  # further, a single picture shows too little of the head
SHIFT_LIMIT = np.array([0.15, 0.15, 0.4], np.float32)  # face heights; z is a share of the camera's distance / 4
MIDDLE = np.array([[0, 1, -4]], np.float32)  # about what LivePortrait's keypoints turn: the head's middle, centimetres
TEMPLATE_BLOCK = 100  # frames turned into a template at once
EYES = np.isin(np.arange(KEYPOINTS), EYE_KEYPOINTS)[:, None]


@dataclass(frozen=True, eq=False)
class LivePortraitAnimator:
    """Draws portraits with LivePortrait's public weights, at any frame rate and picture size.

    networks:    the seven networks
    mapping:     what turns landmarks into expressions; None uses the table of known coordinates and the
                 retargeting networks
    batch:       frames drawn at once; None is 1 on a CPU and 8 elsewhere
    stitching:   keep the shoulders where they are
    fps:         any

    The head's pose is eased towards 15° and 15 % of the face's height. Lips go where the landmarks' lips are, so a
    mouth that is open in the picture closes where its landmarks do. Guo, LivePortrait: Efficient Portrait Animation
    with Stitching and Retargeting Control, 2024.
    """

    networks: Networks
    mapping: LandmarkMap | None = None
    batch: int | None = None
    stitching: bool = True
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, not {self.batch!r}")

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        device: str = "cpu",
        precision: str = "auto",
        compiled: bool = False,
    ) -> LivePortraitAnimator:
        """The animator of a folder in the public layout, or of a hub id; None is the public repository.

        name:     text may be either; a path object is always a folder
        revision: of a hub repository: a branch, tag or commit
        The other arguments are those of `load_networks`. A `landmark_map.safetensors` in the folder is used.

        Raises WeightsMissing, CheckpointMismatch, CheckpointCorrupt, UnsafeCheckpoint, NonFiniteWeights.
        """
        if name is not None and Path(name).is_dir():
            folder = Path(name)
        elif name is None or isinstance(name, str):
            folder = from_hub(REPOSITORY if name is None else name, revision)
        else:
            raise WeightsMissing(f"{os.fspath(name)}: no such folder", "check the path; a hub id is given as text")
        networks = load_networks(folder, device=device, precision=precision, compiled=compiled)
        mapping = LandmarkMap.load(folder / MAP_FILE) if (folder / MAP_FILE).is_file() else None
        return cls(networks, mapping)

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        """Frames [H, W, 3] of `portrait`, drawn a few at a time; `landmarks`, T × [478, 3], is where the face goes."""
        sitter = Sitter.of(self, portrait)
        rows, start = iter(landmarks), 0
        while some := list(islice(rows, self.frames_at_once)):
            keypoints = sitter.keypoints(motion[start : start + len(some)], np.stack(some))
            yield from sitter.source.frames(portrait.image, keypoints)
            start += len(some)

    def reenact(self, portrait: Portrait, video: Video, landmarks: Array) -> Iterator[Frame]:
        """Frames of `portrait` that does what the face in `video` does, relative to its first frame.

        landmarks: [T, 478, 3] of that face

        LivePortrait's own networks read the motion, which says more than landmarks do. Only `editing` has options.
        """
        from .editing import animate_picture, read_template

        driver = read_template(self.networks, video, landmarks).driver
        yield from animate_picture(self.networks, portrait.image, [portrait.landmarks], driver)

    def template(self, portrait: Portrait, motion: Motion) -> Template:
        """`motion` as this animator would draw it on `portrait`, as a template that LivePortrait plays too.

        Its first frame is the portrait at rest: players take the others relative to it.
        """
        if not len(motion):
            raise ValueError("a template needs at least one frame of motion")
        sitter, made, ratios = Sitter.of(self, portrait), [], []
        rows = stream_landmarks(portrait, motion)
        for start in range(0, len(motion), TEMPLATE_BLOCK):
            landmarks = np.stack(list(islice(rows, TEMPLATE_BLOCK)))
            made.append(sitter.motion(motion[start : start + len(landmarks)], landmarks))
            ratios.append(openness(unposed(landmarks, sitter.head)))
        eyes, lips = (np.concatenate(values).astype(np.float32) for values in zip(*ratios, strict=True))
        rest = sitter.source.face.motion
        return Template(joined([rest, joined(made)[1:]]), motion.fps, eyes, lips)

    @property
    def frames_at_once(self) -> int:
        """How many frames are drawn in one batch."""
        return self.batch or (1 if self.networks.device == "cpu" else 8)


@dataclass(frozen=True, eq=False)
class Sitter:
    """A portrait that an animator draws.

    eyes, mouth: [1, 2] and [1, 1] how open they are in the portrait, its pose apart
    """

    animator: LivePortraitAnimator
    source: Source
    head: Head
    eyes: Array
    mouth: Array

    @classmethod
    def of(cls, animator: LivePortraitAnimator, portrait: Portrait) -> Sitter:
        source = Source.of(animator.networks, portrait.image, portrait.landmarks)
        head = Head.of(portrait.landmarks)
        eyes, mouth = (values.astype(np.float32) for values in openness(head.shape[None]))
        return cls(animator, source, head, eyes, mouth)

    def keypoints(self, motion: Motion, landmarks: Array) -> Array:
        """The keypoints [T, 21, 3] of a motion of T frames, whose `landmarks` are [T, 478, 3]."""
        keypoints = self.motion(motion, landmarks).place(self.source.face.canonical)
        if self.animator.stitching:
            keypoints = self.animator.networks.stitch(self.source.face.keypoints, keypoints)
        return keypoints

    def motion(self, motion: Motion, landmarks: Array) -> KeypointMotion:
        """The same before stitching, in the networks' own terms: what a template holds."""
        own = self.source.face.motion
        rotation, shift, nearer = self.pose(motion)
        scale = own.scale * nearer[:, None]
        expression = own.expression + self.expression(landmarks, scale)
        return KeypointMotion(expression, rotation @ own.rotation, scale, own.translation + shift)

    def pose(self, motion: Motion) -> tuple[Array, Array, Array]:
        """Rotation [T, 3, 3] and shift [T, 3] on top of the portrait's own, and how much larger the face gets [T]."""
        rotation, translation = (
            (limit * np.tanh(values / limit)).astype(np.float32)
            for values, limit in ((motion.rotation, TURN_LIMIT), (motion.translation, SHIFT_LIMIT))
        )
        head, square = self.head, self.source.square
        still = np.zeros_like(rotation)
        middle = np.broadcast_to(MIDDLE, (len(rotation), 1, 3))
        moved = head.place(middle, rotation, translation) - head.place(middle, still, still)
        turned = square.matrix(2)[:2, :2]  # pixels of the picture to the crop's -1 to 1
        shift = np.zeros_like(translation)
        shift[:, :2] = moved[:, 0, :2] @ turned.T
        nearer = CAMERA_DISTANCE / (CAMERA_DISTANCE + translation[:, 2])
        return np.swapaxes(rotation_matrix(rotation), 1, 2), shift, nearer.astype(np.float32)

    def expression(self, landmarks: Array, scale: Array) -> Array:
        """What landmarks [T, 478, 3] add to the portrait's expression [T, 21, 3].

        scale: [T, 1] of the face: the retargeting networks' offsets count after it, an expression before
        """
        shapes = unposed(landmarks, self.head)
        moved = displacements(shapes, self.head.shape)
        eyes, lips = openness(shapes)
        lids = self.lids(eyes) / scale[:, None]
        if self.animator.mapping is None:
            added = known_offsets(moved) + lids + self.lips(lips) / scale[:, None]
        else:
            # The map's lids come from faces that blinked seldom: a closing eye goes over to the network.
            closing = np.clip(1 - eyes.mean(1) / max(float(self.eyes.mean()), 1e-3), 0, 1)[:, None, None]
            mapped = self.animator.mapping(moved)
            added = np.where(EYES, (1 - closing) * mapped + closing * lids, mapped)
        return added.astype(np.float32)

    def lips(self, target: Array) -> Array:
        """What opens or closes the lips as far as `target` [T, 1]: keypoints to add [T, 21, 3]."""
        source = self.source.face.keypoints
        closed = np.clip(target / LIP_ZERO, 0, 1)  # trackers see a slit where lips are closed
        gated = target * closed * closed * (3 - 2 * closed)
        move = self.animator.networks.move_lips
        return move(source, lip_condition(self.mouth, gated)) - move(source, lip_condition(self.mouth, self.mouth))

    def lids(self, eyes: Array) -> Array:
        """What opens or closes both eyes as far as the mean of `eyes` [T, 2]: keypoints to add [T, 21, 3]."""
        source = self.source.face.keypoints
        move = self.animator.networks.move_eyes
        target, rest = eyes.mean(1, keepdims=True), self.eyes.mean(1, keepdims=True)
        return move(source, eye_condition(self.eyes, target)) - move(source, eye_condition(self.eyes, rest))


def opens(name: str) -> bool:
    """Whether `name` is a folder that `LivePortraitAnimator.open` can open."""
    return Path(name).is_dir() and is_liveportrait(name)
