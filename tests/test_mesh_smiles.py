"""A face that smiles already smiles more: the light in its mouth is the one that the portrait shows there."""

import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Portrait
from talkinghead.animators.mesh.animator import Sitter
from talkinghead.animators.mesh.lips import LOWER_EDGE, UPPER_EDGE, untangled
from talkinghead.animators.mesh.opening import Opening
from talkinghead.animators.mesh.teeth import MOST, OwnTeeth
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.redetection import sent
from talkinghead.types import Array

from .test_mesh import motion


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return Sitter.of(MediaPipeTracker()(astronaut()))


def inside(sitter: Sitter, **shapes: float) -> tuple[Opening, Array]:
    """What is seen between lips that start from those of the portrait, and the colours of that box."""
    moved = motion(**shapes)
    goal = sent(sitter.head, moved, speaking=0)[0]
    frame = sitter.draw(moved, goal)
    slit = Opening.between(*untangled(sitter.move(moved, goal).opening), frame)
    assert slit is not None
    height, width = slit.mask.shape
    return slit, frame[slit.top : slit.top + height, slit.left : slit.left + width].astype(np.float32)


def test_a_wider_smile_has_no_black_corners(sitter: Sitter) -> None:
    slit, colours = inside(sitter, mouthSmile=0.7, cheekSquint=0.5)
    corners = (slit.mask > 0.99) & (np.abs(slit.along) > 0.6)
    assert corners.sum() > 20
    assert np.percentile(colours[corners].mean(1), 10) > 70  # it was 43


def test_a_mouth_wide_open_is_dark_in_its_depth(sitter: Sitter) -> None:
    slit, colours = inside(sitter, jawOpen=0.8)
    deep = (slit.mask > 0.99) & (np.abs(slit.along) < 0.5)
    assert np.percentile(colours[deep].mean(1), 10) < 60


def test_the_dark_between_lips_is_neither_lip_nor_tooth(sitter: Sitter) -> None:
    own, light = sitter.mouth.own, sitter.mouth.light
    assert own is not None
    assert (own.dark <= MOST * light.gum + 1e-3).all()
    black = sitter.portrait.image.copy()
    black[:] = (30, 10, 10)
    lips = sitter.portrait.landmarks[:, :2]
    unlit = OwnTeeth.of(black, lips, light)
    assert unlit is not None
    np.testing.assert_allclose(unlit.dark, (30, 10, 10))


def test_light_falls_into_a_smile_and_less_of_it_between_lips_that_part_farther(sitter: Sitter) -> None:
    own, lips = sitter.mouth.own, sitter.portrait.landmarks[:, :2]
    assert own is not None
    middle = lips[UPPER_EDGE].mean(0)
    wider, higher = (middle + (lips - middle) * times for times in ((1.2, 1.0), (1.2, 3.0)))

    assert own.light_in(lips, lips) == 0  # speech and the portrait's own mouth keep their dark
    assert own.light_in(wider, lips) > 0.95
    assert 0.2 < own.light_in(higher, lips) < 0.5


def test_a_portrait_with_closed_lips_shows_no_light_inside(sitter: Sitter) -> None:
    shut = Portrait(sitter.portrait.image, sitter.portrait.landmarks.copy())
    shut.landmarks[LOWER_EDGE] = shut.landmarks[UPPER_EDGE]
    assert OwnTeeth.of(shut.image, shut.landmarks[:, :2], sitter.mouth.light) is None
