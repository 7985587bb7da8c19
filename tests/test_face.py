import numpy as np
import pytest

from talkinghead import Motion, Portrait
from talkinghead.blendshapes import INDEX, NAMES
from talkinghead.face.fit import fit_motion
from talkinghead.face.geometry import (
    Head,
    drawn_in,
    lip_sealing,
    move_face,
    rotation_angles,
    rotation_matrix,
    speaking,
    stream_landmarks,
)
from talkinghead.face.landmarks import (
    LEFT_IRIS,
    LEFT_LIDS,
    LIPS,
    LOWER_LIP,
    MOUTH_CORNERS,
    OUTER_LIPS,
    RIGHT_IRIS,
    RIGHT_LIDS,
    UPPER_LIP,
)
from talkinghead.face.model import face_model
from talkinghead.types import Array

from .shared import SHARED, needs_shared


def average_portrait() -> Portrait:
    """The model's own face, looking at us from the middle of a picture."""
    pixels = face_model().neutral * np.float32([15, -15, -15]) + np.float32([256, 256, 0])
    return Portrait(np.zeros((512, 512, 3), np.uint8), pixels.astype(np.float32))


def posed(frames: int = 1, **weights: float) -> Motion:
    motion = Motion.still(frames)
    for name, weight in weights.items():
        motion.expression[:, INDEX[name]] = weight
    return motion


def gap(landmarks: Array) -> Array:
    return np.linalg.norm(landmarks[..., UPPER_LIP, :2] - landmarks[..., LOWER_LIP, :2], axis=-1)


def test_the_names_are_arkits() -> None:
    assert len(NAMES) == len(set(NAMES)) == 52
    assert list(NAMES[:51]) == sorted(NAMES[:51])
    assert NAMES[51] == "tongueOut"


def test_no_motion_leaves_the_landmarks_in_place() -> None:
    portrait = average_portrait()

    landmarks = move_face(portrait, Motion.still(3))

    np.testing.assert_allclose(landmarks, np.tile(portrait.landmarks, (3, 1, 1)), atol=1e-3)


def test_streamed_landmarks_are_those_of_move_face() -> None:
    portrait = average_portrait()
    motion = posed(7, jawOpen=0.5)
    motion.rotation[:, 1] = np.linspace(0, 0.2, 7)

    rows = list(stream_landmarks(portrait, motion, block=3))

    np.testing.assert_allclose(np.stack(rows), move_face(portrait, motion), atol=1e-4)


def test_opening_the_jaw_opens_the_mouth_and_mouth_close_seals_it() -> None:
    portrait = average_portrait()
    still, opened, sealed = (
        float(gap(move_face(portrait, motion))[0])
        for motion in (posed(), posed(jawOpen=0.4), posed(jawOpen=0.4, mouthClose=0.4 * 0.84))
    )

    assert opened > still + 10
    assert sealed < 3 < still  # this face has its lips parted at rest


def test_a_blink_closes_each_eye_and_only_it() -> None:
    portrait = average_portrait()
    upper, lower = RIGHT_LIDS
    other_upper, other_lower = LEFT_LIDS

    moved = move_face(portrait, posed(eyeBlinkRight=1))[0]

    aperture = portrait.landmarks[lower, 1] - portrait.landmarks[upper, 1]
    assert abs(moved[lower, 1] - moved[upper, 1]) < 0.1 * aperture
    other = [other_upper, other_lower]
    np.testing.assert_allclose(moved[other], portrait.landmarks[other], atol=0.1)


def test_gaze_moves_the_irises_together() -> None:
    portrait = average_portrait()

    moved = move_face(portrait, posed(eyeLookOutLeft=1, eyeLookInRight=1))[0] - portrait.landmarks

    for iris in (LEFT_IRIS, RIGHT_IRIS):
        assert (moved[list(iris), 0] > 5).all()  # the subject's left is the picture's right
    assert np.abs(moved[list(LIPS)]).max() < 0.5


@pytest.mark.parametrize(
    ("axis", "point", "direction", "sign"), [(0, 1, 1, 1), (1, 1, 0, -1), (2, 10, 0, 1)], ids=["pitch", "yaw", "roll"]
)
def test_rotation_turns_the_way_it_says(axis: int, point: int, direction: int, sign: int) -> None:
    """Positive pitch lowers the nose, yaw turns it to the picture's left, roll tips the forehead clockwise."""
    portrait = average_portrait()
    motion = Motion.still(1)
    motion.rotation[0, axis] = 0.2

    moved = move_face(portrait, motion)[0] - portrait.landmarks

    assert sign * moved[point, direction] > 5


def test_translation_is_in_face_heights() -> None:
    portrait = average_portrait()
    motion = Motion.still(2)
    motion.translation[:] = [[0.1, 0, 0], [0, 0, 1]]

    right, away = move_face(portrait, motion)

    np.testing.assert_allclose(right[:, 0] - portrait.landmarks[:, 0], 0.1 * 15 * face_model().height, rtol=1e-3)
    assert np.ptp(away[:, 1]) == pytest.approx(0.8 * np.ptp(portrait.landmarks[:, 1]), rel=0.02)


def test_angles_and_matrices_are_inverse() -> None:
    angles = np.random.default_rng(1).uniform(-1, 1, (20, 3)).astype(np.float32)

    np.testing.assert_allclose(rotation_angles(rotation_matrix(angles)), angles, atol=1e-5)


def test_fitting_recovers_a_known_motion() -> None:
    portrait = average_portrait()
    time = np.linspace(0, 4 * np.pi, 80)
    motion = Motion.still(80)
    motion.expression[:, INDEX["jawOpen"]] = 0.25 - 0.25 * np.cos(time)
    motion.expression[:, INDEX["mouthPucker"]] = 0.3 - 0.3 * np.sin(time)
    motion.rotation[:, 1] = 0.1 * np.sin(time / 2)
    landmarks = move_face(portrait, motion)

    fit = fit_motion(landmarks, 25)

    assert fit.error(landmarks).mean() < 0.5  # regularised: not exact
    for name in ("jawOpen", "mouthPucker"):
        found = fit.motion.expression[:, INDEX[name]]
        assert np.corrcoef(found, motion.expression[:, INDEX[name]])[0, 1] > 0.95
    assert np.corrcoef(fit.motion.rotation[:, 1], motion.rotation[:, 1])[0, 1] > 0.99
    assert fit.motion.expression.min() >= 0
    assert fit.motion.expression.max() <= 1


def test_a_head_has_no_pose_of_its_own_left() -> None:
    portrait = average_portrait()
    motion = Motion.still(1)
    motion.rotation[0] = [0.1, 0.2, -0.1]

    head = Head.of(move_face(portrait, motion)[0])

    width = head.shape[MOUTH_CORNERS[1]] - head.shape[MOUTH_CORNERS[0]]
    assert np.abs(width[1:]).max() < 0.05 * width[0]


@needs_shared
def test_the_shipped_face_model_is_what_the_command_makes() -> None:
    from pathlib import Path

    from talkinghead.face.build import build, read_ict, read_obj

    face = SHARED / "data" / "face"
    canonical, triangles = read_obj(face / "canonical_face_model.obj")
    made = build(read_ict(Path(face / "ict_facekit.npz")), canonical, triangles)

    shipped = face_model()
    np.testing.assert_allclose(made["basis"].astype(np.float32), shipped.basis, atol=2e-3)
    np.testing.assert_allclose(made["neutral"], shipped.neutral, atol=1e-3)
    np.testing.assert_array_equal(made["oral_triangles"], shipped.oral_triangles)


@needs_shared
@pytest.mark.parametrize("name", ["brbk7n", "lbax4n", "sbia1a", "swiz3n"])
def test_tracking_a_real_talker_errs_by_less_than_a_fiftieth_of_the_eyes(name: str) -> None:
    from talkinghead.face.tracker import MediaPipeTracker
    from talkinghead.video import open_video

    video = open_video(SHARED / "data" / "clips" / f"grid_{name}.mpg")
    landmarks = MediaPipeTracker().follow(video)

    error = fit_motion(landmarks, float(video.fps)).error(landmarks)

    assert len(landmarks) == 75
    assert error.mean() <= 1.6
    assert error[:, list(LIPS)].mean() <= 1.6


def test_a_smile_that_closes_gathers_the_lower_lip_to_its_middle() -> None:
    shape = face_model().neutral + 0.4 * face_model().basis[[INDEX["jawOpen"]]].sum(0)
    shape = shape.astype(np.float32)

    sealing = lip_sealing(shape)

    below = list(OUTER_LIPS[:11])  # from the right corner to the left one
    inward = (shape[below[5], 0] - shape[below, 0]) * sealing[below, 0]
    np.testing.assert_allclose((shape + sealing)[UPPER_LIP], (shape + sealing)[LOWER_LIP], atol=0.02)
    assert inward[[2, 3, 7, 8]].min() > 0
    assert np.abs(drawn_in(shape[below])[[0, 5, 10]]).max() < 1e-4


def test_a_mouth_speaks_through_short_pauses_and_rests_in_long_ones() -> None:
    expression = np.zeros((250, 52), np.float32)
    expression[50:75, INDEX["jawOpen"]] = 0.3
    expression[100:125, INDEX["jawOpen"]] = 0.3  # after a pause of one second

    speaks = speaking(expression, 25)

    assert speaks.shape == (250,)
    assert speaks[50:125].min() > 0.99
    assert speaks[200:].max() == 0
    assert np.abs(np.diff(speaks)).max() < 0.2
    assert speaking(np.zeros((10, 52), np.float32), 25).max() == 0
