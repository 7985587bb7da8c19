"""The embedded renderer: what moves, what stays, and what it survives."""

import inspect
from collections.abc import Iterator

import numba
import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Motion, Portrait
from talkinghead.animators.mesh import MeshAnimator
from talkinghead.animators.mesh.animator import FARTHER, KNEE, SHIFT_LIMIT, TURN_LIMIT, eased, turn_limits
from talkinghead.animators.mesh.eyes import (
    LEFT_LOWER,
    LEFT_UPPER,
    RIGHT_LOWER,
    RIGHT_UPPER,
    across,
    lay_lids,
    lids_apart,
    lids_open,
    shut_lids,
)
from talkinghead.animators.mesh.glasses import Glasses
from talkinghead.animators.mesh.opening import Opening
from talkinghead.animators.mesh.raster import compiled
from talkinghead.blendshapes import INDEX
from talkinghead.face.geometry import Head, lips_parted, move_face
from talkinghead.face.landmarks import CHIN, LEFT_EYE, LEFT_IRIS, LEFT_LIDS, LIPS, LOWER_LIP, RIGHT_EYE, UPPER_LIP
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import Array, Frame


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


def motion(yaw: float = 0, pitch: float = 0, roll: float = 0, **weights: float) -> Motion:
    """One frame: angles in degrees, weights of shapes, of both sides where the side is not named."""
    made = Motion.still(1)
    made.rotation[:] = np.radians([pitch, yaw, roll])
    for name, weight in weights.items():
        for column in (INDEX[full] for full in (name, f"{name}Left", f"{name}Right") if full in INDEX):
            made.expression[:, column] = weight
    return made


def draw(portrait: Portrait, moved: Motion) -> Frame:
    return next(MeshAnimator()(portrait, moved, move_face(portrait, moved)))


def changed(portrait: Portrait, frame: Frame) -> Array:
    return np.abs(frame.astype(int) - portrait.image).max(2)


def cut(portrait: Portrait, left: int, top: int, right: int, bottom: int) -> Portrait:
    """A part of the picture, with the face where it was."""
    image = np.ascontiguousarray(portrait.image[top:bottom, left:right])
    return Portrait(image, portrait.landmarks - np.float32([left, top, 0]))


def around(portrait: Portrait, landmarks: tuple[int, ...], grow: float = 0) -> tuple[slice, slice]:
    """Rows and columns of the box around some landmarks."""
    points = portrait.landmarks[list(landmarks), :2]
    (left, top), (right, bottom) = points.min(0) - grow, points.max(0) + grow
    return slice(max(0, int(top)), int(bottom) + 1), slice(max(0, int(left)), int(right) + 1)


def test_no_motion_gives_the_picture_back_bit_by_bit(portrait: Portrait) -> None:
    frame = draw(portrait, Motion.still(1))

    assert np.array_equal(frame, portrait.image)
    assert frame is not portrait.image


def test_a_frame_is_drawn_when_it_is_asked_for(portrait: Portrait) -> None:
    asked = []

    def landmarks() -> Iterator[Array]:
        for row in range(1000):
            asked.append(row)
            yield portrait.landmarks

    frames = MeshAnimator()(portrait, Motion.still(1000), landmarks())

    assert inspect.isgenerator(frames)
    assert asked == []
    next(frames)
    assert asked == [0]


def test_frames_do_not_share_memory(portrait: Portrait) -> None:
    moved = Motion.still(2)
    moved.expression[1, INDEX["jawOpen"]] = 0.3

    first, second = MeshAnimator()(portrait, moved, move_face(portrait, moved))

    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, portrait.image)


@pytest.mark.parametrize("turned", [{"yaw": 12}, {"pitch": -8}, {"roll": 8}, {"jawOpen": 0.4}], ids=str)
def test_the_far_background_never_changes(portrait: Portrait, turned: dict[str, float]) -> None:
    difference = changed(portrait, draw(portrait, motion(**turned)))

    head = Head.of(portrait.landmarks)
    middle = portrait.landmarks[:, :2].mean(0)
    rows, columns = np.indices(difference.shape)
    far = np.hypot(columns - middle[0], rows - middle[1]) > 1.4 * head.height
    assert difference.max() > 30
    assert difference[far].max() == 0


def test_a_moving_mouth_leaves_eyes_and_brow_alone(portrait: Portrait) -> None:
    difference = changed(portrait, draw(portrait, motion(jawOpen=0.3)))

    assert difference[around(portrait, LIPS)].max() > 60
    assert difference[around(portrait, LEFT_EYE, grow=3)].max() <= 4
    assert difference[around(portrait, (151, 9))].max() == 0


def test_the_open_mouth_is_dark_where_the_lips_part(portrait: Portrait) -> None:
    moved = motion(jawOpen=0.4)
    x, y = move_face(portrait, moved)[0, [UPPER_LIP, LOWER_LIP], :2].mean(0).round().astype(int)

    frame = draw(portrait, moved)

    skin = portrait.image[around(portrait, (50, 205))].mean()
    assert frame[y + 1 : y + 3, x].mean() < 0.6 * skin


def test_speech_closes_lips_that_the_picture_shows_parted(portrait: Portrait) -> None:
    assert lips_parted(portrait.landmarks) == 1
    sealed = draw(portrait, motion(mouthPress=0.3))

    found = MediaPipeTracker()(sealed).landmarks

    gap = np.linalg.norm(found[UPPER_LIP] - found[LOWER_LIP])
    assert gap < 0.4 * np.linalg.norm(portrait.landmarks[UPPER_LIP] - portrait.landmarks[LOWER_LIP])


def test_the_tracker_sees_the_jaw_where_it_was_sent(portrait: Portrait) -> None:
    moved = motion(jawOpen=0.35)

    found = MediaPipeTracker()(draw(portrait, moved)).landmarks

    wanted = move_face(portrait, moved)[0]
    lowered = wanted[CHIN, 1] - portrait.landmarks[CHIN, 1]
    assert lowered > 4
    assert found[CHIN, 1] - portrait.landmarks[CHIN, 1] == pytest.approx(lowered, rel=0.4)


def test_a_blink_closes_the_eye(portrait: Portrait) -> None:
    found = MediaPipeTracker()(draw(portrait, motion(eyeBlink=1))).landmarks

    upper, lower = LEFT_LIDS
    gap = np.linalg.norm(found[upper] - found[lower])
    assert gap < 0.35 * np.linalg.norm(portrait.landmarks[upper] - portrait.landmarks[lower])


@pytest.mark.parametrize("rest", [0.0, 0.3], ids=["open eyes", "eyes wide"])
def test_a_blink_leaves_nothing_of_the_eye_along_the_whole_lid(portrait: Portrait, rest: float) -> None:
    own = portrait.landmarks.copy()
    own[[*RIGHT_UPPER[1:4], *LEFT_UPPER[-4:-1]], 1] -= 3 * rest  # a form of eye that the model's blink does not fit
    shut = move_face(Portrait(portrait.image, own), motion(eyeBlink=1))[0]

    face = lay_lids(shut, own, own, shut_lids(shut, lids_open(own)))

    for upper, lower in ((RIGHT_UPPER, RIGHT_LOWER), (LEFT_UPPER, LEFT_LOWER)):
        gaps = lids_apart(face, upper, lower)[1:-1] @ across(face, upper)
        assert gaps.max() < 0
        assert gaps.min() > -1.5


def test_dark_lashes_do_not_make_a_shut_eye_look_open(portrait: Portrait) -> None:
    import cv2

    image, landmarks = cv2.resize(portrait.image, None, fx=3, fy=3), portrait.landmarks * np.float32(3)
    for lid in (LEFT_UPPER, RIGHT_UPPER):
        line = landmarks[list(lid), :2].round().astype(np.int32) - [0, 3]
        cv2.polylines(image, [line], False, (20, 15, 15), 7, cv2.LINE_AA)
    painted = Portrait(image, landmarks)

    shut, still = draw(painted, motion(eyeBlink=1)), draw(painted, Motion.still(1))

    columns = landmarks[[LEFT_UPPER[3], LEFT_UPPER[5]], 0].astype(int)
    eye = slice(int(landmarks[257, 1]), int(landmarks[374, 1]) + 6), slice(columns.min(), columns.max())
    assert np.array_equal(still, image)
    assert (image[eye].max(2) < 60).sum(0).min() >= 6
    assert 1 <= np.median((shut[eye].max(2) < 60).sum(0)) <= 5


def test_a_portrait_with_shut_eyes_stays_as_it_is(portrait: Portrait) -> None:
    landmarks = portrait.landmarks.copy()
    for upper, lower in ((RIGHT_UPPER, RIGHT_LOWER), (LEFT_UPPER, LEFT_LOWER)):
        landmarks[list(upper[1:-1])] = landmarks[list(lower[1:-1])] + np.float32([0, 0.2, 0])
    asleep = Portrait(portrait.image, landmarks)

    assert np.array_equal(draw(asleep, Motion.still(1)), portrait.image)
    assert shut_lids(landmarks, lids_open(landmarks)).max() == 0


def test_gaze_moves_the_iris_and_not_the_lids(portrait: Portrait) -> None:
    found = MediaPipeTracker()(draw(portrait, motion(eyeLookInLeft=0.6, eyeLookOutRight=0.6))).landmarks

    eye = portrait.landmarks[list(LEFT_LIDS), 0]
    assert found[LEFT_IRIS[0], 0] < portrait.landmarks[LEFT_IRIS[0], 0] - 0.5
    np.testing.assert_allclose(found[list(LEFT_LIDS), 0], eye, atol=1.5)


def bespectacled(portrait: Portrait) -> Portrait:
    """The portrait enlarged, with round black glasses painted on."""
    import cv2

    image = cv2.resize(portrait.image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    landmarks = portrait.landmarks * np.float32(3)
    eyes = [landmarks[list(eye), :2].mean(0).round().astype(int) for eye in (RIGHT_EYE, LEFT_EYE)]
    radius = int(0.26 * np.linalg.norm(eyes[1] - eyes[0]))
    middles = [np.add(eye, (0, radius // 3)) for eye in eyes]  # the rims pass between the lids and the brows
    for middle in middles:
        cv2.circle(image, middle.tolist(), radius, (10, 10, 10), 3, cv2.LINE_AA)
    cv2.line(image, (middles[0] + [radius, 0]).tolist(), (middles[1] - [radius, 0]).tolist(), (10, 10, 10), 3)
    return Portrait(image, landmarks)


def test_glasses_do_not_move_with_the_lids(portrait: Portrait) -> None:
    wearing = bespectacled(portrait)
    frames = wearing.image.max(2) < 30
    frames[: int(wearing.landmarks[:, 1].min())] = False
    rows, columns = around(wearing, RIGHT_EYE, grow=20)
    lids = np.zeros_like(frames)
    lids[rows, columns] = True
    upper_rim = frames & lids
    upper_rim[int(wearing.landmarks[list(RIGHT_EYE), 1].min()) - 6 :] = False

    still, closed = draw(wearing, Motion.still(1)), draw(wearing, motion(eyeBlink=1))

    assert np.array_equal(still, wearing.image)
    assert Glasses.of(wearing.image, wearing.landmarks) is not None
    assert upper_rim.sum() > 50
    assert closed.max(2)[upper_rim].mean() < 60
    assert changed(wearing, closed)[around(wearing, RIGHT_EYE)].max() > 60


def test_a_portrait_without_glasses_has_none(portrait: Portrait) -> None:
    assert Glasses.of(portrait.image, portrait.landmarks) is None


def test_numba_without_a_place_for_its_cache_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def homeless(**options: bool) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", homeless)

    assert compiled(lambda x: x + 1)(1) == 2


def test_large_motion_is_eased_to_a_limit_and_small_motion_is_kept() -> None:
    values = np.radians(np.float32([[2, 3, -4], [90, -90, 45]]))

    small, large = eased(values, -TURN_LIMIT, TURN_LIMIT)

    np.testing.assert_array_equal(small, values[0])
    assert (np.abs(large) <= TURN_LIMIT).all()
    assert (np.abs(large) > KNEE * TURN_LIMIT).all()
    np.testing.assert_array_equal(np.sign(large), [1, -1, 1])


@pytest.mark.parametrize("side", [1, -1], ids=["left", "right"])
def test_a_portrait_that_is_turned_turns_less_to_either_side(portrait: Portrait, side: int) -> None:
    turned = [move_face(portrait, motion(yaw=side * yaw))[0] for yaw in (5, 28, 60)]

    (low, high), part, full = ([side * bound[1] for bound in turn_limits(Head.of(face))][::side] for face in turned)

    most = TURN_LIMIT[1]
    assert (low, high) == pytest.approx((-most, most))
    assert -most < part[0] < 0 < FARTHER * most < part[1] < most
    assert full == pytest.approx([0, FARTHER * most])


def test_a_head_turned_too_far_is_drawn_at_the_limit(portrait: Portrait) -> None:
    far, farther = draw(portrait, motion(yaw=40)), draw(portrait, motion(yaw=80))

    assert np.abs(far.astype(int) - farther).max() <= 12
    assert changed(portrait, far).max() > 30
    assert SHIFT_LIMIT.shape == TURN_LIMIT.shape == (3,)


def crops() -> list[object]:
    return [
        pytest.param((170, 62, 281, 187), id="the face fills the picture"),
        pytest.param((0, 0, 225, 512), id="cut through the nose"),
        pytest.param((100, 100, 401, 140), id="only the eyes, 40 rows"),
        pytest.param((100, 0, 333, 150), id="the chin is cut off"),
        pytest.param((225, 0, 512, 301), id="the right half, odd size"),
    ]


@pytest.mark.parametrize("box", crops())
def test_a_face_at_the_border_of_the_picture_is_drawn(portrait: Portrait, box: tuple[int, int, int, int]) -> None:
    part = cut(portrait, *box)

    still, moved = draw(part, Motion.still(1)), draw(part, motion(yaw=10, pitch=5, roll=-6, jawOpen=0.3, eyeBlink=0.7))

    assert np.array_equal(still, part.image)
    assert moved.shape == part.image.shape
    assert changed(part, moved).max() > 30


def test_the_border_of_the_picture_stays_where_it_is(portrait: Portrait) -> None:
    part = cut(portrait, 150, 40, 300, 200)

    difference = changed(part, draw(part, motion(yaw=10, roll=6)))

    edges = np.concatenate([difference[0], difference[-1], difference[:, 0], difference[:, -1]])
    assert difference.max() > 30
    assert edges.max() <= 2


def test_a_face_all_but_off_the_picture_is_survived(portrait: Portrait) -> None:
    right = portrait.image.shape[1] - portrait.landmarks[:, 0].min() - 1
    away = Portrait(portrait.image, portrait.landmarks + np.array([right, 0, 0], np.float32))

    frame = draw(away, motion(jawOpen=0.3, eyeBlink=0.5))

    assert np.isfinite(frame).all()


@pytest.mark.parametrize("degrees", [30, 90, 180])
def test_a_tilted_face_blinks_as_an_upright_one_does(portrait: Portrait, degrees: int) -> None:
    import cv2

    upright = draw(portrait, motion(eyeBlink=1)).astype(np.int16)
    size = portrait.image.shape[1::-1]
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1)
    landmarks = portrait.landmarks.copy()
    landmarks[:, :2] = landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
    tilted = Portrait(cv2.warpAffine(portrait.image, turn, size), landmarks.astype(np.float32))

    frame = draw(tilted, motion(eyeBlink=1))

    back = cv2.warpAffine(frame, cv2.invertAffineTransform(turn), size).astype(np.int16)
    x, y = portrait.landmarks[[*LEFT_EYE, *RIGHT_EYE], :2].astype(int).T
    eyes = (slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1))
    change = np.abs(upright - portrait.image)[eyes].mean()
    assert np.abs(back - upright)[eyes].mean() < 0.5 * change


def test_an_opening_covers_what_lies_between_its_edges() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    x = np.linspace(10, 50, 11, dtype=np.float32)
    bow = 8 * np.sin(np.pi * (x - 10) / 40)

    upper, lower = np.column_stack([x, 30 - bow]), np.column_stack([x, 30 + bow])
    slit = Opening.between(upper, lower, picture)

    assert slit is not None
    assert slit.mask.sum() == pytest.approx(2 * np.sum(bow) * 4, rel=0.02)
    assert Opening.between(lower, lower, picture) is None
    assert Opening.between(upper + 100, lower + 100, picture) is None
