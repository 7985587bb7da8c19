"""What is measured of a dubbed film, and that it tells a good one from poor ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Clip, Motion, NoFaceFound, Speech, TalkingHead
from talkinghead.animators.mesh import MeshAnimator
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.demo import demo_speech
from talkinghead.dub_report import DubReport, changed_above, known, measure_dub
from talkinghead.dubbing import dubbed, watch
from talkinghead.evaluation.intervals import correlation
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import SAMPLE_RATE, Frame
from talkinghead.video import Video, open_video, write_video

from .shared import SHARED, needs_shared

FRAMES = 24
CLIPS = ("grid_brbk7n", "grid_lbax4n", "grid_sbia1a", "grid_swiz3n")


def speaking(times: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Motion:
    """A mouth that opens and closes, by `times` in radians."""
    motion = Motion.still(len(times), 25)
    motion.expression[:, INDEX["jawOpen"]] = np.maximum(0.25 * np.sin(times), 0)
    return motion


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained()


@pytest.fixture(scope="module")
def film(head: TalkingHead, tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A face that opens and closes its mouth twice in 24 frames, its teeth seen."""
    said = speaking(np.arange(FRAMES) / FRAMES * 4 * np.pi + 1)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = list(head.animate(np.ascontiguousarray(astronaut()[:280, 80:370]), said))
    write_video(path, frames, size=(290, 280), fps=Fraction(25), count=FRAMES, sound=None)
    return open_video(path)


@pytest.fixture(scope="module")
def clip(film: Video) -> Clip:
    """The film with a mouth that opens and closes thrice."""
    motion = speaking(np.arange(FRAMES) / FRAMES * 6 * np.pi + np.pi)
    speech = Speech(np.zeros(FRAMES * SAMPLE_RATE // 25, np.float32))
    return dubbed(film, watch(MediaPipeTracker(), film), motion, speech, MeshAnimator().redrawer)


@pytest.fixture(scope="module")
def measured(film: Video, clip: Clip) -> DubReport:
    return measure_dub(film, clip, MediaPipeTracker())


def drawn(clip: Clip, change: Callable[[Frame], Frame]) -> Clip:
    """`clip` with each frame changed."""
    return replace(clip, draw=lambda: map(change, clip.draw()))


def test_a_dubbed_film_has_the_new_mouth_sealed_where_it_is_to_be_and_all_else_as_it_was(measured: DubReport) -> None:
    assert measured.frames == FRAMES
    assert measured.lips is not None
    assert measured.lips >= 0.9
    assert measured.filmed is not None
    assert measured.filmed < 0.5
    assert measured.sealed is not None
    assert measured.sealed < 3  # a hundredth of the distance of the eyes is 0.4 pixels here
    assert measured.upper <= 1
    assert measured.changed == 0


def test_a_film_that_was_not_dubbed_has_the_old_mouth(film: Video, clip: Clip, measured: DubReport) -> None:
    untouched = replace(clip, draw=film.frames)

    found = measure_dub(film, untouched, MediaPipeTracker())

    assert found.filmed == pytest.approx(1)
    assert found.lips is not None
    assert measured.lips is not None
    assert found.lips < measured.lips - 0.5
    assert found.sealed is not None
    assert found.sealed > 3
    assert found.upper == 0
    assert found.changed == 0


def test_a_head_that_moves_and_pixels_that_change_are_told(film: Video, clip: Clip) -> None:
    def shifted(frame: Frame) -> Frame:
        return np.roll(frame, 3, axis=1)

    found = measure_dub(film, drawn(clip, shifted), MediaPipeTracker())

    assert found.upper > 2
    assert found.changed > 1000 * FRAMES


def test_pixels_are_counted_at_the_eyes_and_above_as_the_head_is_held(film: Video) -> None:
    image = next(iter(film.frames()))
    face = MediaPipeTracker()(image).landmarks
    above, below = image.copy(), image.copy()
    x, y = face[6, :2].astype(int)  # between the eyes
    above[y, x] ^= 255
    x, y = face[164, :2].astype(int)  # below the nose
    below[y, x] ^= 255
    turned = face.copy()
    turned[:, :2] = [290, 280] - face[:, :2]

    assert changed_above(face, image, above) == 1
    assert changed_above(face, image, below) == 0
    assert changed_above(turned, image[::-1, ::-1], above[::-1, ::-1]) == 1


def test_what_cannot_be_measured_is_refused_or_left_open(film: Video, clip: Clip) -> None:
    grey = drawn(clip, lambda frame: np.full_like(frame, 90))

    with pytest.raises(NoFaceFound, match=r"0 of 24 frames show a face both in the film and in its dubbed frames"):
        measure_dub(film, grey, MediaPipeTracker())
    with pytest.raises(ValueError, match="has a motion"):
        measure_dub(film, replace(clip, motion=None), MediaPipeTracker())
    assert known(correlation(np.zeros(5), np.arange(5))) is None
    assert known(correlation(np.arange(5), np.arange(5))) == pytest.approx(1)


def test_the_command_measures_on_request_and_does_not_count_that_time(film: Video, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "s.wav", demo_speech().samples[: SAMPLE_RATE // 2], SAMPLE_RATE)
    command = ["dub", str(film.path), str(tmp_path / "s.wav"), "-o", str(tmp_path / "o.mp4"), "--measure"]

    plain = CliRunner().invoke(app, command, catch_exceptions=False)
    done = CliRunner().invoke(app, [*command, "--force", "--json"], catch_exceptions=False)

    assert "eyes and brows" in plain.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["measured"]["changed"] == 0
    assert result["measured"]["frames"] == result["frames"] == 13
    assert sum(stage["wall"] for stage in result["stages"].values()) <= result["wall"] + 0.01


@needs_shared
@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_says_another_sentence(head: TalkingHead, name: str) -> None:
    path = SHARED / "data" / "clips" / f"{name}.mpg"

    clip = head.dub(path, SHARED / "data" / "speech" / "LJ001-0004.flac")

    found = measure_dub(open_video(path), clip, MediaPipeTracker())
    assert found.frames == len(clip) == 129
    assert found.lips is not None
    assert found.lips >= 0.9
    assert found.filmed is not None
    assert abs(found.filmed) < 0.5
    assert found.sealed is not None
    assert found.sealed <= 1
    assert found.upper <= 1
    assert found.changed == 0
