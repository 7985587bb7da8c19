"""Pictures for the video transformer: drawn, framed, aligned, put back."""

import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead.animators.dit.align import SIZE, TEMPLATE, aligned_face, five_points, similarity
from talkinghead.animators.dit.draw import (
    DRIVING,
    Box,
    detected_box,
    draw_driving,
    draw_driving_face,
    draw_reference,
    face_box,
)
from talkinghead.animators.dit.framing import Framing, face_frame, whole_frame
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import Portrait

from .dit_golden import expected, needs_golden

CANVAS = (480, 720)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


def box_of(case: int) -> Box:
    left, top, width, height = map(int, expected("expected_draw")["box_xywh"][case])
    return Box(left, top, left + width, top + height)


@needs_golden
@pytest.mark.parametrize("case", range(6))
def test_golden_reference_drawing_differs_in_no_pixel(case: int) -> None:
    golden = expected("expected_draw")

    drawn = draw_reference(golden["lmk478"][case], box_of(case), CANVAS)

    assert int((drawn != golden["canvas_2d"][case]).sum()) == 0


@needs_golden
@pytest.mark.parametrize("mode", ["video", "audio"])
@pytest.mark.parametrize("case", range(6))
def test_golden_driving_drawing_differs_in_no_pixel(case: int, mode: str) -> None:
    golden = expected("expected_draw")

    drawn = draw_driving(golden[f"lmk105_{mode}"][case], golden[f"pupil_px_{mode}"][case], box_of(case), CANVAS, mode)

    assert int((drawn != golden[f"canvas_3d_{mode}"][case]).sum()) == 0


@needs_golden
def test_golden_face_boxes() -> None:
    golden = expected("expected_draw")

    boxes = [face_box(detected, CANVAS) for detected in golden["det_bbox"]]

    np.testing.assert_array_equal(boxes, golden["face_box"])


@needs_golden
@pytest.mark.parametrize("name", ["portrait", "wide", "square"])
def test_golden_whole_pictures_fit_the_canvas(name: str) -> None:
    image, wanted = expected("expected_draw")[f"fit_in_{name}"], expected("expected_draw")[f"fit_out_{name}"]

    fitted = whole_frame(image.shape[:2], wanted.shape[:2]).fit(image)

    np.testing.assert_array_equal(fitted, wanted)


def test_a_driving_face_is_drawn_where_it_is(portrait: Portrait) -> None:
    framing = face_frame(portrait.landmarks, portrait.image.shape[:2], CANVAS)
    points = framing.points(portrait.landmarks)
    box = face_box(detected_box(points), CANVAS)

    drawn = draw_driving_face(points, box, CANVAS)

    rows, columns = np.nonzero(drawn.any(2))
    seen = points[list(DRIVING)]
    assert abs(columns.min() - seen[:, 0].min()) < 4
    assert abs(columns.max() - seen[:, 0].max()) < 4
    assert abs(rows.min() - seen[:, 1].min()) < 4
    assert abs(rows.max() - seen[:, 1].max()) < 4


@pytest.mark.parametrize("margin", [5, 20, 60])
def test_a_close_face_gets_black_bars_at_the_sides_at_most(portrait: Portrait, margin: int) -> None:
    low, high = portrait.landmarks[:, :2].min(0), portrait.landmarks[:, :2].max(0)
    (left, top), (right, bottom) = (low - margin).astype(int), (high + margin).astype(int)
    image = portrait.image[top:bottom, left:right]

    framing = face_frame(portrait.landmarks - np.array([left, top, 0], np.float32), image.shape[:2], CANVAS)
    fitted = framing.fit(np.maximum(image, 1))

    assert framing.top >= 0
    assert framing.top + framing.height <= len(image)
    assert (fitted[:, CANVAS[1] // 2] > 0).any(-1).all()


def test_the_face_box_is_a_square_twice_as_wide_as_the_face(portrait: Portrait) -> None:
    box = face_box(np.array([300, 150, 400, 280], np.float32), CANVAS)

    assert box.size == (200, 200)
    assert (box.left + box.right) / 2 == 350


def test_five_points_of_a_face_land_on_the_template(portrait: Portrait) -> None:
    aligned = aligned_face(portrait.image, portrait.landmarks)
    turn = similarity(five_points(portrait.landmarks), TEMPLATE)
    moved = five_points(portrait.landmarks) @ turn[:, :2].T + turn[:, 2]

    assert aligned.shape == (SIZE, SIZE, 3)
    assert np.abs(moved - TEMPLATE).max() < 25  # faces differ; the template is an average
    found = MediaPipeTracker()(aligned)
    assert np.abs(five_points(found.landmarks) - moved).max() < 8


def test_alignment_undoes_turns_and_scales() -> None:
    turned = TEMPLATE @ np.array([[0, 2], [-2, 0]], np.float32) + np.array([30, -7], np.float32)

    turn = similarity(turned, TEMPLATE)

    np.testing.assert_allclose(turned @ turn[:, :2].T + turn[:, 2], TEMPLATE, atol=0.01)


def test_a_cut_out_face_comes_back_where_it_was(portrait: Portrait) -> None:
    framing = face_frame(portrait.landmarks, portrait.image.shape[:2], CANVAS)
    image = portrait.image

    pasted = framing.paste(image, framing.fit(image), framing.seam(image.shape[:2]))

    assert np.abs(pasted.astype(int) - image).mean() < 1  # nothing but two resamplings


@pytest.mark.parametrize("size", [(400, 300), (300, 900), (64, 64), (481, 719)])
def test_the_whole_of_any_picture_comes_back_at_its_size(size: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, size[1])[None, :, None]
    image = np.broadcast_to(ramp, (*size, 3)).astype(np.uint8)
    framing = whole_frame(size, CANVAS)

    pasted = framing.paste(image, framing.fit(image), framing.seam(size))

    assert np.abs(pasted.astype(int) - image).max() <= 3


def test_the_seam_fades_only_inside_the_picture() -> None:
    inner = Framing(50, 40, 300, 200, CANVAS).seam((400, 600))[..., 0]
    full = Framing(0, 0, 600, 400, CANVAS).seam((400, 600))[..., 0]

    assert inner[0].max() < 0.1
    assert inner[:, -1].max() < 0.1
    assert inner[100, 150] == 1
    assert np.all(np.diff(inner[100, :150]) >= 0)
    np.testing.assert_array_equal(full, 1)
