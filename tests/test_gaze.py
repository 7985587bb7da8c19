"""Controls that can be seen: where the eyes look, how far they are open, how far the lips part."""

import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Motion, Portrait
from talkinghead.animators.mesh import MeshAnimator
from talkinghead.blendshapes import EYES, INDEX, MOUTH
from talkinghead.face.geometry import move_face
from talkinghead.face.landmarks import LEFT_IRIS, LEFT_LIDS, RIGHT_IRIS, RIGHT_LIDS
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.motion.articulation import lip_gap
from talkinghead.motion.controls import Controls
from talkinghead.motion.gaze import add_eye_open, add_gaze, parse_gaze
from talkinghead.types import Array


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.fixture(scope="module")
def spoken() -> Motion:
    """Four seconds of speech: a jaw that opens and shuts, and rounded lips."""
    motion = Motion.still(100)
    motion.expression[10:90, INDEX["jawOpen"]] = 0.15 + 0.15 * np.sin(np.arange(80) / 3)
    motion.expression[10:90, INDEX["mouthPucker"]] = 0.2
    motion.expression[10:90, INDEX["browInnerUp"]] = 0.2
    return motion


def shown(portrait: Portrait, motion: Motion) -> Array:
    """The landmarks [478, 3] that a tracker finds in the first frame of `motion`."""
    frame = next(MeshAnimator()(portrait, motion, move_face(portrait, motion)))
    return MediaPipeTracker()(frame).landmarks


def irises(face: Array) -> Array:
    """Where the irises are [2]: the mean of both centres."""
    return np.asarray(face[[RIGHT_IRIS[0], LEFT_IRIS[0]], :2].mean(0))


def apertures(face: Array) -> float:
    return float(sum(np.linalg.norm(face[upper] - face[lower]) for upper, lower in (RIGHT_LIDS, LEFT_LIDS)))


def test_the_eyes_look_to_the_pictures_right_and_up(portrait: Portrait) -> None:
    still = Motion.still(1)

    right, left, up, down = (
        irises(shown(portrait, add_gaze(still, gaze))) for gaze in ((20, 0), (-20, 0), (0, 15), (0, -15))
    )

    assert right[0] > left[0] + 3
    assert up[1] < down[1] - 1.5


def test_eyes_on_the_camera_turn_against_the_head() -> None:
    turned = Motion.still(2)
    turned.rotation[1] = np.radians([6, 9, 0])  # down, and to the picture's left

    looked = add_gaze(turned, "camera").expression

    assert looked[0].max() == 0
    assert looked[1, INDEX["eyeLookOutLeft"]] == pytest.approx(9 / 30)
    assert looked[1, INDEX["eyeLookInRight"]] == pytest.approx(9 / 30)
    assert looked[1, INDEX["eyeLookUpLeft"]] == pytest.approx(6 / 25)
    assert looked[1, INDEX["eyeLookInLeft"]] == looked[1, INDEX["eyeLookDownLeft"]] == 0


def test_a_gaze_changes_with_time_and_leaves_a_trace_of_glances(spoken: Motion) -> None:
    plain = Controls(seed=1).enliven(spoken)
    held = Controls(seed=1, gaze=[(0.0, (0, 0)), (1.0, (15, 0))]).enliven(spoken)

    left = held.expression[:, INDEX["eyeLookOutLeft"]]
    assert left[25:].mean() == pytest.approx(0.5, abs=0.05)
    assert 0 < left[25:].std() < 0.5 * plain.expression[25:, INDEX["eyeLookOutLeft"]].std() + 0.02
    np.testing.assert_array_equal(held.expression[:, list(MOUTH)], plain.expression[:, list(MOUTH)])
    np.testing.assert_array_equal(held.rotation, plain.rotation)


def test_eyes_open_and_shut_by_a_ratio_of_the_portraits(portrait: Portrait) -> None:
    still = Motion.still(1)

    half, usual, wide = (apertures(shown(portrait, add_eye_open(still, ratio))) for ratio in (0.5, 1.0, 1.4))

    assert 0.3 * usual < half < 0.75 * usual
    assert wide > 1.02 * usual
    sent = apertures(move_face(portrait, add_eye_open(still, 1.4))[0])
    assert 1.2 * apertures(portrait.landmarks) < sent < 1.5 * apertures(portrait.landmarks)
    assert add_eye_open(still, 1.0) is still
    assert add_eye_open(still, 0).expression[0, INDEX["eyeBlinkLeft"]] == 1


def test_half_open_eyes_still_blink(spoken: Motion) -> None:
    plain, sleepy = (Controls(seed=2, eye_open=ratio, blink_rate=60).enliven(spoken) for ratio in (1.0, 0.6))

    before, after = (motion.expression[:, INDEX["eyeBlinkLeft"]] for motion in (plain, sleepy))
    assert before.max() > 0.85
    np.testing.assert_allclose(after, 1 - 0.6 * (1 - before), atol=1e-6)


def test_lips_part_by_a_ratio_and_shut_when_they_did(spoken: Motion) -> None:
    gap = lip_gap(spoken.expression)

    tight, wide = (lip_gap(Controls(lip_open=ratio).articulate(spoken).expression) for ratio in (0.5, 1.5))

    np.testing.assert_allclose(tight, 0.5 * gap, atol=1e-3)
    np.testing.assert_allclose(wide, 1.5 * gap, atol=1e-3)
    assert np.abs(lip_gap(Controls(lip_open=0).articulate(spoken).expression)).max() < 1e-3
    assert Controls().articulate(spoken) is spoken


def test_the_mouths_scale_is_not_the_faces(spoken: Motion) -> None:
    halved = Controls(mouth_scale=0.5).scale(spoken).expression
    both = Controls(mouth_scale=0.5, expression_scale=0.5).scale(spoken).expression

    np.testing.assert_allclose(halved[:, list(MOUTH)], 0.5 * spoken.expression[:, list(MOUTH)])
    np.testing.assert_array_equal(halved[:, INDEX["browInnerUp"]], spoken.expression[:, INDEX["browInnerUp"]])
    np.testing.assert_allclose(both[:, INDEX["jawOpen"]], 0.25 * spoken.expression[:, INDEX["jawOpen"]])
    np.testing.assert_allclose(both[:, INDEX["browInnerUp"]], 0.5 * spoken.expression[:, INDEX["browInnerUp"]])


def test_what_is_not_asked_for_changes_nothing(spoken: Motion) -> None:
    plain = Controls(seed=3).enliven(spoken)
    same = Controls(seed=3, mouth_scale=1, lip_open=1, eye_open=1, gaze=None).enliven(spoken)

    np.testing.assert_array_equal(plain.expression, same.expression)
    assert plain.expression[:, list(EYES)].max() > 0


def test_a_gaze_can_be_written() -> None:
    assert parse_gaze("wander") is None
    assert parse_gaze("camera") == "camera"
    assert parse_gaze("10,-5") == (10, -5)
    for wrong in ("left", "1", "1,2,3", ""):
        with pytest.raises(ValueError, match="gaze must be wander, camera, or degrees"):
            parse_gaze(wrong)
