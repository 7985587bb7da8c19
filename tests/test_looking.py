"""What tells before the work whether a photo suits and a machine is fast enough."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import FaceTooSmall, Motion, NoFaceFound, OutputNotWritable, Portrait, TalkingHead
from talkinghead.bench import SCENES, cpu_model, run_bench, staged, table_rows
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.contact_sheet import CELL, COLUMNS, LABEL, Findings, draw_sheet, extremes, inspect_image, overlay
from talkinghead.face.landmarks import FACE_OVAL
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.motion.articulation import lip_gap
from talkinghead.types import Array, Frame


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained()


@pytest.fixture(scope="module")
def findings() -> Findings:
    return inspect_image(astronaut(), MediaPipeTracker())


def test_findings_tell_what_matters_in_plain_words(findings: Findings) -> None:
    assert findings.faces == 1
    assert not findings.glasses
    assert findings.mouth_open == 1
    assert findings.cut == ()
    assert "picture 512 x 512 pixels, 1 face" in findings.notes
    assert [text for text in findings.warnings if "mouth is open" in text]
    assert findings.report()["suits"] is False
    assert json.loads(json.dumps(findings.report()))["eye_distance"] == pytest.approx(findings.eye_distance, abs=0.01)


def test_a_small_face_a_cut_one_and_several_are_warned_of() -> None:
    import cv2

    image = astronaut()
    small = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cut = np.ascontiguousarray(image[:, :235])
    two = np.concatenate([image[:, :300], image[:, 299::-1]], axis=1)

    assert "small face" in " ".join(inspect_image(small, MediaPipeTracker()).warnings)
    assert "cut off at the right" in " ".join(inspect_image(cut, MediaPipeTracker()).warnings)
    assert "2 faces: choose one with --face" in inspect_image(two, MediaPipeTracker()).warnings
    with pytest.raises(NoFaceFound):
        inspect_image(np.full((128, 128, 3), 90, np.uint8), MediaPipeTracker())
    with pytest.raises(FaceTooSmall):
        inspect_image(cv2.resize(image, (200, 200), interpolation=cv2.INTER_AREA), MediaPipeTracker())


def test_no_choice_is_asked_for_once_a_face_was_chosen() -> None:
    image = astronaut()
    two = np.concatenate([image[:, :300], image[:, 299::-1]], axis=1)

    for face in (0, (0.0, 0.0, 300.0, 512.0)):
        chosen = inspect_image(two, MediaPipeTracker(face=face))
        assert "2 faces" in chosen.notes[0]
        assert not [text for text in chosen.warnings if "faces" in text]
    assert "2 faces: choose one with --face" in inspect_image(two, MediaPipeTracker(face="all")).warnings

    suits = replace(chosen, mouth_open=0.0, yaw=0.0, pitch=0.0, eyes_open=0.3, eye_distance=80.0, cut=())
    assert suits.report()["suits"] is True
    assert replace(suits, chosen=False).report()["suits"] is False


def test_the_extremes_are_what_their_names_say() -> None:
    shown = extremes()
    gap = {name: float(lip_gap(motion.expression)[0]) for name, motion in shown.items()}

    assert gap["/a/"] > 0.8
    assert gap["/a/"] > gap["/u/"] > gap["/m/"]
    assert abs(gap["/m/"]) < 0.05
    assert shown["/u/"].expression[0, INDEX["mouthPucker"]] > shown["/i/"].expression[0, INDEX["mouthPucker"]] + 0.2
    assert shown["blink"].expression[0, INDEX["eyeBlinkLeft"]] == 1
    assert shown["gaze left"].expression[0, INDEX["eyeLookInLeft"]] > 0.5
    assert np.degrees(shown["yaw +12° (left)"].rotation[0, 1]) == pytest.approx(12)


def test_the_sheet_shows_every_extreme(head: TalkingHead, findings: Findings) -> None:
    sheet = draw_sheet(head, findings)

    rows = -(-(len(extremes()) + 2) // COLUMNS)
    cells = [
        sheet[y * (CELL + LABEL) : y * (CELL + LABEL) + CELL, x * CELL : (x + 1) * CELL].astype(int)
        for y in range(rows)
        for x in range(COLUMNS)
    ][: len(extremes()) + 2]
    assert sheet.shape[1] == COLUMNS * CELL
    assert sheet.shape[0] > rows * (CELL + LABEL)
    for cell in cells[1:]:
        assert np.abs(cell - cells[0]).max() > 30


def test_the_overlay_is_drawn_on_the_face_alone(findings: Findings) -> None:
    changed = np.abs(overlay(findings.portrait).astype(int) - findings.portrait.image).max(2)

    x, y = findings.portrait.landmarks[:, :2].T
    assert changed[int(y.min()) : int(y.max()), int(x.min()) : int(x.max())].mean() > 5
    assert changed[int(y.max()) + 4 :].max() == 0


def test_inspect_writes_a_sheet_and_prints_findings(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "face.png")

    plain = CliRunner().invoke(app, ["inspect", str(tmp_path / "face.png")], catch_exceptions=False)
    done = CliRunner().invoke(
        app,
        ["inspect", str(tmp_path / "face.png"), "-o", str(tmp_path / "sheet.png"), "--json"],
        catch_exceptions=False,
    )

    assert "! the mouth is open" in plain.stdout
    assert json.loads(done.stdout)["faces"] == 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == COLUMNS * CELL
    with pytest.raises(OutputNotWritable, match=r"must be named \.png"):
        CliRunner().invoke(
            app, ["inspect", str(tmp_path / "face.png"), "-o", str(tmp_path / "sheet.txt")], catch_exceptions=False
        )


class Still:
    """An animator for tests: the portrait as it is."""

    fps: float | None = None

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        for _ in landmarks:
            yield portrait.image


def test_the_bench_measures_every_scene_beside_its_floor() -> None:
    bench = run_bench(TalkingHead.from_pretrained(animator=Still()), runs=1, frames=2, seconds=1)

    assert set(bench.scenes) == set(SCENES)
    for scene in bench.scenes.values():
        assert 0 < scene["remap"] < scene["remap_encode"]
        assert scene["render"] < scene["remap"]
        assert scene["render_encode"] > scene["render"]
    rounded = 0.0051  # hundredths
    assert bench.speak["real_time_factor"] == pytest.approx(bench.speak["wall"] / 1, abs=rounded)
    assert all(len(row) == 3 for row in table_rows(bench))
    assert bench.cpu == cpu_model() != ""


def test_the_bench_stages_a_face_of_known_size(head: TalkingHead, findings: Findings) -> None:
    scene = staged(head, findings.portrait, (1280, 720), 300.0)

    assert scene.image.shape == (720, 1280, 3)
    found = MediaPipeTracker()(scene.image).landmarks
    assert np.ptp(found[list(FACE_OVAL), 1]) == pytest.approx(300, rel=0.04)
    np.testing.assert_allclose(found[:, :2], scene.landmarks[:, :2], atol=12)
