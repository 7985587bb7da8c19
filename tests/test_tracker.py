"""Which pictures have a face that can speak, and which are refused, with which words."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

from talkinghead import (
    FaceTooSmall,
    FaceTurnedAway,
    LowQualityFaceWarning,
    Motion,
    NoFaceFound,
    SeveralFacesFound,
)
from talkinghead.face.geometry import move_face
from talkinghead.face.tracker import TURNED, MediaPipeTracker, between, check_quality, eye_distance
from talkinghead.image import load_image
from talkinghead.types import Frame
from talkinghead.video import open_video, write_video

from .shared import SHARED, needs_shared


def noise(width: int, height: int) -> Frame:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def shrunk(image: Frame, size: int) -> Frame:
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def two_faces() -> Frame:
    image = np.full((512, 900, 3), 200, np.uint8)
    image[:, :512] = astronaut()
    image[100:450, 512:862] = shrunk(astronaut(), 350)
    return image


def test_the_astronaut_is_found() -> None:
    portrait = MediaPipeTracker()(astronaut())

    assert 30 < eye_distance(portrait.landmarks) < 60
    x, y = portrait.landmarks[:, :2].mean(0)
    assert 200 < x < 250
    assert 90 < y < 150


@pytest.mark.parametrize(
    "image",
    [coffee(), chelsea(), noise(320, 240), np.full((300, 200, 3), 128, np.uint8)],
    ids=["coffee", "cat", "noise", "blank"],
)
def test_pictures_without_a_face_are_refused(image: Frame) -> None:
    with pytest.raises(NoFaceFound, match="no face was found") as error:
        MediaPipeTracker()(image)
    assert error.value.hint


def test_of_two_faces_the_largest_speaks_and_a_warning_counts_them() -> None:
    with pytest.warns(LowQualityFaceWarning, match="2 faces"):
        portrait = MediaPipeTracker()(two_faces())

    assert portrait.landmarks[:, 0].mean() < 512


@pytest.mark.filterwarnings("ignore::talkinghead.LowQualityFaceWarning")
def test_a_face_is_chosen_by_number_or_box() -> None:
    image = two_faces()

    assert MediaPipeTracker(face=0)(image).landmarks[:, 0].mean() < 512
    assert MediaPipeTracker(face=1)(image).landmarks[:, 0].mean() > 512
    assert MediaPipeTracker(face=(512, 0, 900, 512))(image).landmarks[:, 0].mean() > 512
    with pytest.raises(NoFaceFound, match="face 2 was asked for, but 2 found"):
        MediaPipeTracker(face=2)(image)
    with pytest.raises(NoFaceFound, match="in the box"):
        MediaPipeTracker(face=(0, 400, 100, 512))(image)


@pytest.mark.parametrize("face", ["left", "biggest", (1, 2, 3), (5, 0, 1, 9), 1.5, None, True])
def test_a_face_that_is_no_choice_is_refused(face: object) -> None:
    with pytest.raises(ValueError, match='face must be "largest", a number'):
        MediaPipeTracker(face=face)  # type: ignore[arg-type]


def test_in_a_video_too_the_largest_face_is_followed(tmp_path: Path) -> None:
    image = two_faces()
    frames = [image[:, ::-1].copy()] * 5  # the larger one on the right
    write_video(tmp_path / "two.mp4", frames, size=(900, 512), fps=Fraction(25), count=5, sound=None)

    with pytest.warns(LowQualityFaceWarning, match="2 faces"):
        landmarks = MediaPipeTracker().follow(open_video(tmp_path / "two.mp4"))

    assert (landmarks[:, :, 0].mean(1) > 450).all()


def test_several_faces_can_be_an_error() -> None:
    with pytest.raises(SeveralFacesFound, match="2 faces"):
        MediaPipeTracker(on_several="error")(two_faces())


def test_a_tiny_face_is_refused() -> None:
    image = np.full((512, 512, 3), 180, np.uint8)
    image[200:360, 200:360] = shrunk(astronaut(), 160)

    with pytest.raises((FaceTooSmall, NoFaceFound)):
        MediaPipeTracker()(image)


def test_a_face_cut_by_the_border_or_filling_the_picture_is_found() -> None:
    face = np.array(Image.fromarray(astronaut()[40:190, 150:300]).resize((600, 600), Image.Resampling.LANCZOS))

    filling = MediaPipeTracker()(face)
    cut = MediaPipeTracker()(face[:, 150:])

    assert eye_distance(filling.landmarks) > 120
    assert np.isfinite(cut.landmarks).all()


def test_every_exif_orientation_gives_the_same_face(tmp_path) -> None:  # type: ignore[no-untyped-def]
    upright = MediaPipeTracker()(astronaut()).landmarks
    turned = {1: 0, 3: 180, 6: 90, 8: 270}  # counter-clockwise degrees that undo the tag

    for orientation, degrees in turned.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(astronaut()).rotate(degrees, expand=True).save(path, exif=exif)
        np.testing.assert_allclose(MediaPipeTracker()(load_image(path)).landmarks, upright, atol=1e-3)


def test_frames_without_a_face_lie_between_their_neighbours() -> None:
    known = np.stack([np.full((478, 3), value, np.float32) for value in (0, 2, 8)])

    rows = between(known, np.array([1, 3, 4]), 6)

    np.testing.assert_allclose(rows[:, 0, 0], [0, 0, 1, 2, 8, 8])


@needs_shared
@pytest.mark.parametrize("path", sorted((SHARED / "data" / "portraits").glob("*")), ids=lambda path: path.stem)
def test_a_face_is_found_in_every_portrait(path) -> None:  # type: ignore[no-untyped-def]
    portrait = MediaPipeTracker()(load_image(path))

    height, width = portrait.image.shape[:2]
    assert (portrait.landmarks[:, 0] > 0).all()
    assert (portrait.landmarks[:, 0] < width).all()
    assert (portrait.landmarks[:, 1] < height).all()


@pytest.mark.parametrize(("degrees", "refused"), [(20, False), (55, False), (80, True)])
def test_a_face_turned_too_far_is_warned_of_or_refused(degrees: float, refused: bool) -> None:
    landmarks = move_face(MediaPipeTracker()(astronaut()), turned(degrees))[0] * np.float32(2)

    if refused:
        with pytest.raises(FaceTurnedAway, match=r"turned away by \d+°"):
            check_quality(landmarks)
    elif degrees > TURNED:
        with pytest.warns(LowQualityFaceWarning, match="turned by"):
            check_quality(landmarks)
    else:
        check_quality(landmarks)


def turned(degrees: float) -> Motion:
    motion = Motion.still(1)
    motion.rotation[0, 1] = np.radians(degrees)
    return motion
