"""What is measured by drawing known motion and looking again, and that it tells a good renderer from poor ones."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion, NoFaceFound, Portrait, redetection
from talkinghead.animators.mesh import MeshAnimator, field
from talkinghead.animators.mesh.animator import KNEE, TURN_LIMIT, Sitter
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.face.geometry import Head
from talkinghead.face.landmarks import LEFT_EYE_CORNERS, LEFT_LIDS
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.redetection import Redetection, again, bend_behind, closing, known_motion, posture, redetect, sent
from talkinghead.types import Array, Frame


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.fixture(scope="module")
def measured(portrait: Portrait) -> Redetection:
    return redetect(portrait, MediaPipeTracker())


class Still:
    """An animator that ignores motion."""

    fps: float | None = None

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        for _ in landmarks:
            yield portrait.image


class Blank(Still):
    """An animator that draws no face."""

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        for _ in landmarks:
            yield np.full_like(portrait.image, 90)


class Shy:
    """An animator that goes half of the way."""

    fps: float | None = None

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        halves = (portrait.landmarks + (face - portrait.landmarks) / 2 for face in landmarks)
        still = Motion.still(len(motion))
        return MeshAnimator()(portrait, still, halves)


def test_the_mesh_animator_brings_a_face_where_it_is_sent(measured: Redetection) -> None:
    assert measured.lost == 0
    assert 0.2 < measured.lips < 3
    assert 0.2 < measured.face < 2.5
    assert 0.2 < measured.tracker_lips < measured.lips
    assert 0.2 < measured.tracker_face < measured.face
    assert measured.sealed < 1
    assert max(measured.blink_right, measured.blink_left) < 0.2
    assert measured.bend is not None
    assert 0 < measured.bend < 1


def test_a_renderer_that_ignores_motion_is_far_off(portrait: Portrait, measured: Redetection) -> None:
    still = redetect(portrait, MediaPipeTracker(), animator=Still())

    assert still.lips > 3 * measured.lips
    assert still.face > 3 * measured.face
    assert still.tracker_lips == measured.tracker_lips
    assert still.sealed > 10
    assert still.blink_right == pytest.approx(1)
    assert still.blink_left == pytest.approx(1)


def test_a_renderer_that_goes_half_of_the_way_is_seen_to(portrait: Portrait) -> None:
    shut = posture(redetection.weights({"eyeBlink": 1}))

    (face,) = again(portrait, MediaPipeTracker(), Shy(), shut, speaking=0)

    assert face is not None
    assert 0.25 < closing(face, portrait.landmarks, LEFT_LIDS, LEFT_EYE_CORNERS) < 0.75
    goal = sent(Head.of(portrait.landmarks), shut, 0)[0]
    assert closing(goal, portrait.landmarks, LEFT_LIDS, LEFT_EYE_CORNERS) < 0.1


def test_a_background_that_is_not_held_bends(
    portrait: Portrait, measured: Redetection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "nearness", lambda points, *_: np.ones(len(points), np.float32))

    loose = bend_behind(portrait)

    assert loose is not None
    assert measured.bend is not None
    assert loose > 2 * measured.bend + 1


def test_without_a_person_before_a_background_no_bend_is_told(
    portrait: Portrait, measured: Redetection, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = np.ones(portrait.image.shape[:2], np.float32)
    for matte in (None, 0 * everywhere, everywhere):
        monkeypatch.setattr(redetection, "person_matte", lambda _, matte=matte: matte)
        assert bend_behind(portrait) is None


def test_a_face_that_is_not_found_again_is_an_error(portrait: Portrait) -> None:
    with pytest.raises(NoFaceFound, match="in any of 24 drawn frames"):
        redetect(portrait, MediaPipeTracker(), animator=Blank())


def test_the_known_motion_is_the_same_every_time_and_none_of_it_is_eased() -> None:
    motion = known_motion()

    assert np.array_equal(motion.expression, known_motion().expression)
    assert not np.array_equal(motion.rotation, known_motion(seed=1).rotation)
    assert (np.abs(motion.rotation) <= KNEE * TURN_LIMIT).all()
    assert (np.abs(motion.rotation).max(0) > np.radians([3, 5, 3])).all()
    assert motion.expression[:, INDEX["jawOpen"]].min() > 0
    assert motion.expression[:, INDEX["eyeBlinkLeft"]].max() == 0


def test_what_the_shift_says_is_what_is_drawn(portrait: Portrait) -> None:
    head, sitter = Head.of(portrait.landmarks), Sitter.of(portrait)
    turned, rest = (posture(np.zeros(52, np.float32), yaw) for yaw in (8, 0))
    goal = sent(head, turned, 0)[0]

    shift, frame = sitter.shift(turned, goal), sitter.draw(turned, goal)

    rows, columns = np.indices(shift.shape[:2], np.float32)
    places = shift + np.stack([columns, rows], axis=-1)
    rebuilt = cv2.remap(portrait.image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(shift).max() > 5
    assert np.abs(rebuilt.astype(int) - frame).mean() < 1
    assert np.abs(sitter.shift(rest, portrait.landmarks)).max() < 1e-2


def test_inspect_prints_what_was_measured(tmp_path: Path, measured: Redetection) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    face = str(tmp_path / "face.png")

    told = CliRunner().invoke(app, ["inspect", face, "--measure", "--json"], catch_exceptions=False)
    refused = CliRunner().invoke(app, ["inspect", face, "--measure", "--animator", "liveportrait"])

    assert json.loads(told.stdout)["measured"] == pytest.approx(measured.report())
    assert "24 of 24 frames" in " ".join(measured.notes)
    assert refused.exit_code == 2
    assert "--measure" in refused.output
