"""What people use LivePortrait for: faces in pictures and videos that do what another face did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ...errors import VideoUnreadable
from ...types import Array, Frame
from ...video import Video
from .crop import MEASURED, SOURCE, Square, box_matrix, cut, face_input, face_square, mean_box, portrait_square
from .drive import ANIMAL_MULTIPLIER, DEFAULTS, NEUTRAL_LIPS, Driver, Face, Options, drive, drive_animal
from .loading import Networks
from .sizes import PICTURE
from .source import Source, openness, read_motion
from .template import Template
from .transform import KeypointMotion, joined

BATCH = 8  # faces whose motion is read at once
BOX_SCALE = 1.3  # an animal's crop, in sides of the box around its head


def read_template(networks: Networks, video: Video, landmarks: Array) -> Template:
    """The motion of the face in a driving `video`, whose `landmarks` are [T, 478, 3]; the crop stands still."""
    matrix = box_matrix(mean_box(landmarks[..., :2], measured=MEASURED), PICTURE)
    faces = (face_input(cut(frame, matrix)) for frame in islice(video.frames(), len(landmarks)))
    _, motion = _read_all(networks, faces, len(landmarks))
    eyes, lips = openness(landmarks)
    return Template(motion, float(video.fps), eyes.astype(np.float32), lips.astype(np.float32))


def read_picture(networks: Networks, image: Frame, landmarks: Array, neutral: Array = NEUTRAL_LIPS) -> Driver:
    """What a picture of a face drives with: `landmarks` are [478, 3]; `neutral` [21, 3] is of closed lips."""
    matrix = box_matrix(mean_box(landmarks[None, :, :2], measured=MEASURED), PICTURE)
    _, motion = read_motion(networks, face_input(cut(image, matrix))[None])
    eyes, lips = openness(landmarks[None])
    return Driver(motion, eyes.astype(np.float32), lips.astype(np.float32), neutral)


def _read_all(networks: Networks, faces: Iterable[Frame], wanted: int) -> tuple[Array, KeypointMotion]:
    """Keypoints at rest and motion of `wanted` faces [256, 256, 3], read some at a time."""
    rest, parts, rows = [], [], iter(faces)
    while some := list(islice(rows, BATCH)):
        canonical, motion = read_motion(networks, np.stack(some))
        rest.append(canonical)
        parts.append(motion)
    if sum(map(len, parts)) != wanted:
        raise VideoUnreadable(f"the video gave {sum(map(len, parts))} frames where {wanted} were found before")
    return np.concatenate(rest), joined(parts)


def animate_picture(
    networks: Networks, image: Frame, faces: Sequence[Array], driver: Driver, options: Options = DEFAULTS
) -> Iterator[Frame]:
    """`image` [H, W, 3] with all of its `faces`, landmarks [478, 3] each, moved by `driver`: T frames.

    Each is pasted over what the ones before have drawn.
    """
    sources = [Source.of(networks, image, landmarks) for landmarks in faces]
    tracks = [drive(source.face, driver, networks, options) for source in sources]
    return _drawn(image, sources, tracks, options.as_upstream)


def animate_animal(
    networks: Networks, image: Frame, square: Square, driver: Driver, multiplier: float = ANIMAL_MULTIPLIER
) -> Iterator[Frame]:
    """`image` [H, W, 3] with an animal's face in `square` moved by `driver`; `networks` are those for animals."""
    shut = np.zeros((1, 2), np.float32)  # animals are not retargeted: how open eyes and lips are does not matter
    source = Source.in_square(networks, image, square, shut, shut[:, :1])
    return _drawn(image, [source], [drive_animal(source.face, driver, multiplier)], False)


def _drawn(image: Frame, sources: Sequence[Source], tracks: Sequence[Array], truncated: bool) -> Iterator[Frame]:
    for row in range(min(map(len, tracks))):
        frame = image.copy()
        for source, keypoints in zip(sources, tracks, strict=True):
            source.pasted(frame, source.draw(keypoints[row : row + 1])[0], truncated)
        yield frame


def animal_square(points: Array | None = None, box: tuple[float, float, float, float] | None = None) -> Square:
    """Where an animal's face is: from 9 points [9, 2], or from a box (left, top, right, bottom) around its head.

    Of the 9 points 0 and 1 are the corners of one eye, 2 and 3 those of the other, 5 and 6 those of the mouth.
    """
    if points is not None:
        if points.shape != (9, 2) or not np.isfinite(points).all():
            raise ValueError(f"an animal's points must be 9 pairs of numbers, not {list(points.shape)}")
        return face_square(points, *SOURCE)
    if box is None:
        raise ValueError("an animal needs 9 points of its face or a box around its head: none are found for it")
    left, top, right, bottom = box
    if not (left < right and top < bottom):
        raise ValueError(f"a box must be left, top, right, bottom in pixels, not {box}")
    centre = np.array([left + right, top + bottom]) / 2
    return Square(centre, BOX_SCALE * max(right - left, bottom - top), 0.0)


@dataclass(frozen=True, eq=False)
class FilmedFace:
    """A face in a video, read and ready to be edited.

    face:    its keypoints in T frames
    squares: where it is in each
    """

    video: Video
    face: Face
    squares: list[Square]

    @classmethod
    def of(cls, networks: Networks, video: Video, landmarks: Array) -> FilmedFace:
        """The face in `video` with `landmarks` [T, 478, 3]; each frame has its own crop."""
        squares = [portrait_square(points) for points in landmarks]
        frames = zip(video.frames(), squares, strict=False)
        faces = (face_input(cut(frame, square.matrix(PICTURE))) for frame, square in frames)
        canonical, motion = _read_all(networks, faces, len(landmarks))
        eyes, lips = openness(landmarks)
        return cls(video, Face(canonical, motion, eyes.astype(np.float32), lips.astype(np.float32)), squares)


def animate_video(
    networks: Networks, filmed: FilmedFace, driver: Template | Driver, options: Options = DEFAULTS
) -> tuple[int, Iterator[Frame]]:
    """How many frames the edited video has, and the frames [H, W, 3], at the source's own exact rate.

    A template of another frame rate is resampled to the source's, so that both keep their speed; a driver, and any
    with `as_upstream`, is taken frame by frame. The shorter of the two ends the video.
    """
    if isinstance(driver, Template):
        driver = (driver if options.as_upstream else driver.resample(float(filmed.video.fps))).driver
    keypoints = drive(filmed.face, driver, networks, options)[: len(filmed.face.motion)]

    def frames() -> Iterator[Frame]:
        for row, (image, target) in enumerate(zip(filmed.video.frames(), keypoints, strict=False)):
            still = _frame_of(filmed.face, row)
            source = Source.in_square(networks, image, filmed.squares[row], still.eyes, still.lips)
            source = replace(source, face=still)
            yield from source.frames(image, target[None], options.as_upstream)

    return len(keypoints), frames()


def _frame_of(face: Face, row: int) -> Face:
    one = slice(row, row + 1)
    return Face(face.canonical[one], face.motion[one], face.eyes[one], face.lips[one])
