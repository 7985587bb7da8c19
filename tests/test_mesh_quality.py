"""What the embedded renderer owes to the look of the picture: a still background, light on the skin, a tongue."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Portrait
from talkinghead.animators.mesh.animator import Sitter
from talkinghead.animators.mesh.eyes import RIGHT_UPPER, lash_colour
from talkinghead.animators.mesh.field import nearness
from talkinghead.animators.mesh.outline import Outline
from talkinghead.animators.mesh.shading import Shading, vertex_normals
from talkinghead.animators.mesh.skin import LIDS, skin_grain, without_shadow
from talkinghead.animators.mesh.warp import ZOOM
from talkinghead.blendshapes import INDEX
from talkinghead.face.geometry import Head, move_face
from talkinghead.face.landmarks import FACE_OVAL, LEFT_EYE, LIPS, LOWER_LIP, RIGHT_EYE, RIGHT_IRIS, UPPER_LIP
from talkinghead.face.matte import person_matte
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.image import load_image
from talkinghead.types import Array, Frame

from .shared import SHARED, needs_shared
from .test_mesh import changed, draw, motion


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.mark.parametrize("yaw", [-12, 12])
def test_the_background_beside_a_turning_head_stays(portrait: Portrait, yaw: float) -> None:
    matte = person_matte(portrait.image)
    assert matte is not None
    away = cv2.distanceTransform((matte < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    behind = away > 0.15 * Head.of(portrait.landmarks).height

    moved = changed(portrait, draw(portrait, motion(yaw=yaw)))

    assert behind.mean() > 0.2
    assert (moved[behind] > 8).mean() < 1e-4
    assert moved[away < 3].max() > 60


def test_a_picture_without_a_person_has_no_stiff_parts(portrait: Portrait) -> None:
    picture = np.full_like(portrait.image, 128)
    points = portrait.landmarks[:, :2]

    near = nearness(points, picture, portrait.landmarks, points, 100.0)

    assert near.min() == 1


def test_the_person_in_a_photo_is_found() -> None:
    matte = person_matte(astronaut())

    assert matte is not None
    assert matte.shape == (512, 512)
    assert matte[100, 220] > 0.9  # her face
    assert matte[60, 350] < 0.1  # the wall


def sphere(light: Array, landmarks: Array) -> Frame:
    """A picture of even skin in `light`, as bright at each landmark as the face's slope there makes it."""
    bright = 150 * Shading.brightness(light, vertex_normals(landmarks))
    picture = np.zeros((512, 512), np.float32)
    for (x, y), value in zip(landmarks[:468, :2].round().astype(int), bright, strict=True):
        cv2.circle(picture, (int(x), int(y)), 6, float(value), -1)
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_the_light_of_a_picture_is_found(portrait: Portrait) -> None:
    low, high = portrait.landmarks[:, :2].min(0), portrait.landmarks[:, :2].max(0)
    large = (portrait.landmarks - [*low, 0]) * 480 / float((high - low).max()) + [16, 16, 0]
    large = large.astype(np.float32)
    left, right = (np.float32([0.7, side, -0.1, -0.2]) for side in (-0.3, 0.3))

    found = [Shading.of(sphere(light, large), large).light for light in (left, right)]

    assert found[0][1] < -0.1
    assert found[1][1] > 0.1


def test_skin_that_does_not_move_keeps_its_light(portrait: Portrait) -> None:
    shading = Shading.of(portrait.image, portrait.landmarks)

    unchanged = shading.change(portrait.landmarks, np.zeros(468, np.float32))

    assert np.array_equal(unchanged, np.ones(468, np.float32))


def test_a_smile_changes_the_light_on_the_cheeks_and_not_on_lips_and_eyes(portrait: Portrait) -> None:
    shading = Shading.of(portrait.image, portrait.landmarks)
    smiling = move_face(portrait, motion(mouthSmile=0.8, cheekSquint=0.5))[0]
    way = np.abs(smiling - portrait.landmarks)[:468, :2].max(1)

    light = shading.change(smiling, way)

    assert light[list(LIPS)].min() == light[list(LIPS)].max() == 1
    cheeks = light[[50, 205, 280, 425, 36, 266]]
    assert np.abs(cheeks - 1).max() > 0.03
    assert 0.7 < light.min() < light.max() < 1.3


def test_the_tongue_rises_behind_the_teeth(portrait: Portrait) -> None:
    sitter = Sitter.of(portrait)

    (flat, down), (raised, up) = (sitter.mouth.shape(weights(jawOpen=0.25, tongueOut=out)) for out in (0.0, 0.08))

    tip = int(sitter.mouth.tip.argmax())
    assert (down, up) == pytest.approx((0, 1))
    assert raised[tip, 1] > flat[tip, 1] + 0.3  # centimetres
    assert np.array_equal(raised[sitter.mouth.tip == 0], flat[sitter.mouth.tip == 0])


def test_a_raised_tongue_is_seen(portrait: Portrait) -> None:
    low, high = (motion(jawOpen=0.45, tongueOut=out) for out in (0.0, 0.08))
    middle = move_face(portrait, low)[0, [UPPER_LIP, LOWER_LIP], :2].mean(0).round().astype(int)
    spot = slice(middle[1] - 1, middle[1] + 2), slice(middle[0] - 6, middle[0] + 7)

    assert draw(portrait, high)[spot].mean() > 1.1 * draw(portrait, low)[spot].mean()


def weights(**named: float) -> Array:
    row = np.zeros(52, np.float32)
    for name, weight in named.items():
        row[INDEX[name]] = weight
    return row


def test_a_finer_texture_keeps_whole_pixels_and_sharpness(portrait: Portrait) -> None:
    warp = Sitter.of(portrait).warp
    assert warp.zoom == ZOOM
    place = np.stack(np.meshgrid(np.arange(180, 260), np.arange(60, 140)), -1).astype(np.float32)
    exact, between, cubic = (np.zeros((80, 80, 3), np.uint8) for _ in range(3))

    warp.sample(place, exact)
    warp.sample(place + np.float32(0.4), between)
    cv2.remap(portrait.image, place + np.float32(0.4), None, cv2.INTER_CUBIC, cubic)

    assert np.array_equal(exact, portrait.image[60:140, 180:260])
    detail = [cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F).std() for picture in (between, cubic)]
    assert detail[0] > 0.95 * detail[1]


@needs_shared
def test_a_small_face_is_seen_where_it_was_turned_to() -> None:
    portrait = MediaPipeTracker()(load_image(SHARED / "data/portraits/generated_small_face.png"))
    turned = motion(yaw=2)
    expected = move_face(portrait, turned)[0, :, :2]

    found = MediaPipeTracker()(draw(portrait, turned)).landmarks[:, :2]

    eyes = np.linalg.norm(expected[33] - expected[263])
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.03 * eyes


def test_hair_at_the_edge_of_a_cheek_is_not_stretched_over_it(portrait: Portrait) -> None:
    image, landmarks = cv2.resize(portrait.image, None, fx=3, fy=3), portrait.landmarks * np.float32(3)
    edge = landmarks[[93, 132, 58], :2].round().astype(np.int32)
    cv2.polylines(image, [edge], False, (10, 10, 10), 7)
    locks = Portrait(image, landmarks)
    turned = motion(yaw=-12)
    goal, sitter = move_face(locks, turned)[0], Sitter.of(locks)
    bare = replace(sitter, outline=replace(sitter.outline, inward=0 * sitter.outline.inward))

    better, worse = (each.draw(turned, goal) for each in (sitter, bare))

    cheek = np.zeros(image.shape[:2], np.uint8)
    shown = sitter.move(turned, goal).face[[227, 93, 132, 58, 172, 192, 50], :2]
    cv2.fillPoly(cheek, [shown.round().astype(np.int32)], 1)
    dark = [((frame.max(2) < 50) & (cheek > 0)).sum() for frame in (better, worse)]
    assert dark[1] > 100
    assert dark[0] < 0.5 * dark[1]
    assert np.array_equal(draw(locks, motion()), image)


def plain_face(landmarks: Array) -> Frame:
    """A face of skin before black, whose outline is a little inside of where the tracker draws it."""
    image = np.zeros((512, 512, 3), np.uint8)
    face = landmarks[list(FACE_OVAL), :2].astype(np.int32)
    cv2.fillPoly(image, [face], (200, 150, 120))
    cv2.polylines(image, [face], True, (20, 20, 20), 3)
    return image


def test_a_narrow_shadow_does_not_interrupt_the_outline(portrait: Portrait) -> None:
    landmarks, height = portrait.landmarks, float(np.ptp(portrait.landmarks[:, 1]))
    image = plain_face(landmarks)
    temple, nose = (landmarks[i, :2].round().astype(int).tolist() for i in (132, 4))
    cv2.line(image, temple, nose, (60, 40, 30), 21)  # as that of an arm of glasses

    inward = np.linalg.norm(Outline.of(image, landmarks, height).inward, axis=1)

    assert inward[[172, 234]].min() > 0.5
    assert inward[132] > 0.5  # it was 0: there what is beside the face was stretched over the cheek


def test_a_mouth_near_the_outline_keeps_its_place(portrait: Portrait) -> None:
    landmarks, height = portrait.landmarks.copy(), float(np.ptp(portrait.landmarks[:, 1]))
    cheek = landmarks[[132, 58, 172], 0].mean()
    landmarks[list(LIPS), 0] += cheek + 0.03 * height - landmarks[list(LIPS), 0].min()

    inward = np.linalg.norm(Outline.of(plain_face(landmarks), landmarks, height).inward, axis=1)

    assert inward[list(FACE_OVAL)].mean() > 0.5
    assert inward[list(LIPS)].max() < 1e-3  # it was up to 1.6 pixels


def shaded_lids(portrait: Portrait, lid: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    """A plain face of skin with lids of another colour, where those are, and the face without a shadow on them."""
    face = np.full(portrait.image.shape, (210, 160, 130), np.float32)
    points = portrait.landmarks[:, :2]
    lids = np.zeros(face.shape[:2], np.uint8)
    for group, eye in zip(LIDS, (RIGHT_EYE, LEFT_EYE), strict=True):
        hull = cv2.convexHull(np.round(points[[*group, *eye]]).astype(np.int32))
        cv2.fillConvexPoly(lids, hull, 1)
    face[lids > 0] = lid
    return face, lids > 0, without_shadow(face, points, 2.0)


def test_grey_shade_on_a_lid_becomes_skin(portrait: Portrait) -> None:
    face, lids, lit = shaded_lids(portrait, (100, 98, 96))
    tone = np.array([210, 160, 130])

    assert np.ptp(lit[lids].mean(0)) > 20  # as skin is: more red than blue; it was 4
    assert np.abs(lit[lids] - tone).mean() < 0.7 * np.abs(face[lids] - tone).mean()
    assert np.array_equal(lit[200:], face[200:])


@pytest.mark.parametrize("lid", [(200, 150, 120), (130, 70, 40)], ids=["as skin", "brown make-up"])
def test_lids_that_are_no_greyer_than_skin_keep_their_colour(portrait: Portrait, lid: tuple[int, int, int]) -> None:
    face, lids, lit = shaded_lids(portrait, lid)
    assert np.abs(lit[lids] - face[lids]).max() < 1


def test_lids_of_a_picture_without_colours_stay_without(portrait: Portrait) -> None:
    grey = np.repeat(cv2.cvtColor(portrait.image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.float32)
    lit = without_shadow(grey, portrait.landmarks[:, :2], 2.0)
    assert np.ptp(lit, axis=2).max() < 1


def test_paint_shows_its_ground_on_a_lid_and_a_photo_noise(portrait: Portrait) -> None:
    rng = np.random.default_rng(0)
    stripes = 12 * np.sign(np.sin(np.arange(512) * 2))[None, :, None]  # the weave of a canvas
    canvas = np.clip(150 + stripes + rng.normal(0, 2, (512, 512, 3)), 0, 255).astype(np.uint8)
    photo = np.clip(150 + rng.normal(0, 1, (512, 512, 3)), 0, 255).astype(np.uint8)

    woven = skin_grain(canvas, portrait.landmarks, 4.0).mean(2)
    noise = skin_grain(photo, portrait.landmarks, 4.0).mean(2)

    assert woven.std() > 3 * noise.std()
    assert woven.mean(0).std() > 0.8 * woven.std()  # every row shows the same stripes
    assert noise.mean(0).std() < 0.5 * noise.std()


def test_a_line_of_lashes_is_not_as_dark_as_an_iris_above_the_lid(portrait: Portrait) -> None:
    skin, hazel, black = (np.full(3, level, np.float32) for level in (200, 120, 20))
    upper, iris = RIGHT_UPPER, RIGHT_IRIS
    picture = np.full(portrait.image.shape, skin, np.float32)
    places = portrait.landmarks[list(upper), :2].round().astype(np.int32)
    cv2.polylines(picture, [places], False, hazel.tolist(), 9)
    image = picture.astype(np.uint8)

    faint = lash_colour(black, image, portrait.landmarks, upper, iris)
    own = lash_colour(hazel, image, portrait.landmarks, upper, iris)

    assert black.mean() + 20 < faint.mean() < hazel.mean()
    assert np.allclose(own, hazel, atol=5)
