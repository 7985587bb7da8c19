"""Shut eyes look shut, behind glasses too; and frames of glasses take no shadow and no lash with them."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Portrait
from talkinghead.animators.mesh.eyes import Eyes
from talkinghead.animators.mesh.glasses import Glasses
from talkinghead.animators.mesh.skin import LIDS, without_shadow
from talkinghead.face.landmarks import LEFT_EYE, LEFT_EYE_CORNERS, LEFT_LIDS, RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_LIDS
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.image import load_image
from talkinghead.redetection import closing
from talkinghead.types import Array

from .shared import SHARED, needs_shared
from .test_mesh import bespectacled, draw, motion


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


def shaded(portrait: Portrait) -> tuple[Portrait, Array]:
    """The portrait with glasses, and the pixels of their shadow: a broad band below each eye, from rim to rim."""
    wearing = bespectacled(portrait)
    points = wearing.landmarks[:, :2]
    eyes = [points[list(eye)].mean(0) for eye in (RIGHT_EYE, LEFT_EYE)]
    radius = int(0.26 * np.linalg.norm(eyes[1] - eyes[0]))
    shadow = np.zeros(wearing.image.shape[:2], np.uint8)
    for x, y in eyes:
        below, half = int(y + 0.9 * radius), int(0.8 * radius)
        cv2.line(shadow, (int(x) - half, below), (int(x) + half, below), 1, 11)
    dim = cv2.GaussianBlur(1 - 0.55 * shadow, (0, 0), 1)[..., None]
    rims = wearing.image.max(2) < 30
    image = np.where(rims[..., None], wearing.image, wearing.image * dim).astype(np.uint8)
    near = cv2.dilate(rims.astype(np.uint8), np.ones((17, 17), np.uint8))
    return Portrait(image, wearing.landmarks), (shadow > 0) & (near == 0)


def test_the_shadow_of_glasses_stays_on_the_skin(portrait: Portrait) -> None:
    wearing, shadow = shaded(portrait)
    glasses = Glasses.of(wearing.image, wearing.landmarks)

    assert glasses is not None
    assert shadow.sum() > 300
    kept = (glasses.bare == wearing.image).all(2)[shadow].mean()
    assert kept > 0.95  # what rides on the frames is painted over in it
    assert np.array_equal(draw(wearing, motion()), wearing.image)


def test_frames_over_darker_skin_are_no_blot(portrait: Portrait) -> None:
    wearing = bespectacled(portrait)
    glasses = Glasses.of(wearing.image, wearing.landmarks)
    assert glasses is not None
    moved = glasses.bare // 3  # a shadow has come here

    glasses.draw(moved, wearing.landmarks)

    darker = (glasses.bare.astype(int) - wearing.image).min(2) > 20
    assert darker.sum() > 500
    assert np.abs(moved[darker] - wearing.image[darker] / 3).max() < 3


def test_the_line_of_lashes_sweeps_past_the_outer_corner_and_shades_what_is_below(portrait: Portrait) -> None:
    image = cv2.resize(portrait.image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    landmarks = portrait.landmarks * np.float32(6)
    for eye in Eyes.of(image, landmarks).eyes:
        grey = np.full_like(image, 200)
        face = landmarks.copy()
        face[eye.upper[1:-1]] = face[eye.lower[1:-1]]
        eye.draw_lashes(grey, face, 1.0)
        dark = grey.mean(2)
        columns = np.nonzero((dark < 150).any(0))[0]
        ends = sorted((float(face[eye.upper[0], 0]), float(face[eye.upper[-1], 0])))
        beyond = np.array([ends[0] - columns[0], columns[-1] - ends[1]]) / eye.width
        inner = int(eye.inner == eye.upper[-1])
        assert beyond[1 - inner] > 0.05
        assert beyond[inner] < 0.02
        middle = dark[:, int(face[eye.lower[4], 0])]
        line = int(middle.argmin())
        assert 90 < middle[line + round(0.08 * eye.width)] < 195
        assert middle[line - round(0.08 * eye.width)] == 200
        assert middle[line + round(0.25 * eye.width)] == 200


def test_both_lids_are_as_light_as_the_lighter_one(portrait: Portrait) -> None:
    points = portrait.landmarks[:, :2]
    face = np.full(portrait.image.shape, (210, 160, 130), np.float32)
    lids = []
    for group, eye, colour in zip(LIDS, (RIGHT_EYE, LEFT_EYE), ((150, 85, 50), (200, 152, 124)), strict=True):
        mask = np.zeros(face.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points[[*group, *eye]]).astype(np.int32)), 1)
        face[mask > 0] = colour
        lids.append(mask > 0)

    lit = without_shadow(face, points, 2.0)

    dark, light = (float(lit[lid].mean()) for lid in lids)
    assert dark > 0.75 * light  # it was 0.6
    assert np.abs(lit[lids[1]] - face[lids[1]]).max() < 3


@needs_shared
def test_eyes_shut_behind_glasses_are_seen_shut() -> None:
    tracker = MediaPipeTracker()
    wearing = tracker(load_image(SHARED / "data/portraits/generated_glasses.png"))
    found = tracker(draw(wearing, motion(eyeBlink=1))).landmarks
    for lids, corners in ((RIGHT_LIDS, RIGHT_EYE_CORNERS), (LEFT_LIDS, LEFT_EYE_CORNERS)):
        assert closing(found, wearing.landmarks, lids, corners) <= 0.15  # it was 0.25 and 0.21
