"""A filmed face gets another mouth: what changes, what stays, and how long it lasts."""

import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import LowQualityFaceWarning, Motion, NoFaceFound, Portrait, Speech, TalkingHead
from talkinghead import dubbing as module
from talkinghead.animators.mesh.lips import LOWER_EDGE, UPPER_EDGE
from talkinghead.animators.mesh.seam import LOWER_BORDER, UPPER_BORDER, flesh
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.demo import demo_speech
from talkinghead.dubbing import back_and_forth, fitted, played, ranges, redrawing
from talkinghead.face.footage import Footage, runs, smoothed
from talkinghead.face.geometry import Head
from talkinghead.face.landmarks import (
    EYES,
    LEFT_EYE_CORNERS,
    LEFT_IRIS,
    LIPS,
    LOWER_LIP,
    NOSE_TIP,
    RIGHT_EYE_CORNERS,
    UPPER_LIP,
)
from talkinghead.face.tracker import MediaPipeTracker, eye_distance, face_mesh, mesh_landmarks
from talkinghead.motion.articulation import lip_gap
from talkinghead.types import SAMPLE_RATE, Array, Clip, Frame
from talkinghead.video import Video, open_video, write_video

NTSC = Fraction(30000, 1001)
BLANK = range(20, 25)  # frames of the film that show no face


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained()


@pytest.fixture(scope="module")
def film(head: TalkingHead, tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A face that says something and moves its head, 60 frames at 29.97 a second; some of them are grey."""
    image = np.ascontiguousarray(astronaut()[:280, 80:370])
    said = Motion.still(60, float(NTSC))
    times = np.arange(60)
    said.expression[:, INDEX["jawOpen"]] = 0.12 + 0.12 * np.sin(times / 2)
    said.expression[32:36, INDEX["eyeBlinkLeft"]] = said.expression[32:36, INDEX["eyeBlinkRight"]] = 0.9
    said.rotation[:, 1] = 0.1 * np.sin(times / 12)
    frames = [np.full_like(image, 90) if n in BLANK else f for n, f in enumerate(head.animate(image, said))]
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, frames, size=(290, 280), fps=NTSC, count=60, sound=None)
    return open_video(path)


@pytest.fixture(scope="module")
def hello() -> Speech:
    return Speech(demo_speech().samples[: 5 * SAMPLE_RATE // 2])


@pytest.fixture(scope="module")
def dubbed(head: TalkingHead, film: Video, hello: Speech) -> Clip:
    with pytest.warns(LowQualityFaceWarning, match="no face in 5 of 75 frames, which stay as they are: 20 to 24"):
        return head.dub(film.path, hello)


@pytest.fixture(scope="module")
def both(film: Video, dubbed: Clip) -> tuple[list[Frame], list[Frame]]:
    """The film's frames in the order in which they are shown, and the dubbed ones."""
    frames = list(film.frames())
    return [frames[n] for n in islice(back_and_forth(60), len(dubbed))], list(dubbed)


def seen(frames: Iterable[Frame]) -> tuple[Array, Array]:
    """Landmarks [K, 478, 3] of the frames that show a face, and their numbers."""
    with face_mesh(0.5, 1) as mesh:
        found = [(n, faces[0]) for n, frame in enumerate(frames) if (faces := mesh_landmarks(mesh, frame))]
    return np.stack([face for _, face in found]), np.array([n for n, _ in found])


def openings(landmarks: Array) -> Array:
    """Distance of the inner lips [T] as a share of that of the eyes."""
    gap = np.linalg.norm(landmarks[:, UPPER_LIP] - landmarks[:, LOWER_LIP], axis=1)
    return np.asarray(gap / np.array([eye_distance(face) for face in landmarks]))


def test_size_and_rate_stay_and_the_length_is_that_of_the_sound(dubbed: Clip, hello: Speech, tmp_path: Path) -> None:
    dubbed.save(tmp_path / "out.mp4")

    video = open_video(tmp_path / "out.mp4")
    assert video.fps == NTSC
    assert video.size == (290, 280)
    assert sum(1 for _ in video.frames()) == len(dubbed) == hello.frames(float(NTSC)) == 75
    assert Speech.of(tmp_path / "out.mp4").duration == pytest.approx(2.5, abs=0.05)


def test_the_mouth_follows_the_new_sound_and_not_the_old_one(
    dubbed: Clip, both: tuple[list[Frame], list[Frame]]
) -> None:
    before, after = both
    landmarks, numbers = seen(after)
    old = openings(seen(before)[0])

    new = openings(landmarks)

    assert dubbed.motion is not None
    generated = lip_gap(dubbed.motion.expression)[numbers]
    assert len(numbers) == 70
    assert np.corrcoef(new, generated)[0, 1] >= 0.9
    assert abs(np.corrcoef(new, old)[0, 1]) < 0.5


def test_eyes_and_pose_stay_and_no_pixel_at_the_eyes_or_above_changes(both: tuple[list[Frame], list[Frame]]) -> None:
    before, after = both
    filmed, numbers = seen(before)

    found, again = seen(after)

    np.testing.assert_array_equal(numbers, again)
    moved = np.linalg.norm((found - filmed)[:, list(EYES), :2], axis=2).mean(1)
    assert (moved / [eye_distance(face) for face in filmed]).mean() < 0.01
    for n, face in zip(numbers, filmed, strict=True):
        changed = np.abs(after[n].astype(int) - before[n]).max(2)
        across = face[LEFT_EYE_CORNERS[0], :2] - face[RIGHT_EYE_CORNERS[0], :2]
        up = np.array([across[1], -across[0]]) / np.linalg.norm(across)
        eyes = (face[list(EYES), :2].mean(0) - face[NOSE_TIP, :2]) @ up
        rows, columns = np.indices(changed.shape)
        height = (np.dstack([columns, rows]) - face[NOSE_TIP, :2]) @ up / eyes  # 0 at the nose's tip, 1 at the eyes
        assert changed[height > 0.8].max() == 0
        x, y = face[list(LIPS), :2].mean(0).astype(int)
        assert changed[y - 8 : y + 8, x - 12 : x + 12].max() > 20


def test_frames_without_a_face_pass_untouched(dubbed: Clip, both: tuple[list[Frame], list[Frame]]) -> None:
    assert dubbed.untouched == tuple(BLANK)
    for n in BLANK:
        np.testing.assert_array_equal(both[0][n], both[1][n])


@pytest.mark.filterwarnings("ignore::talkinghead.LowQualityFaceWarning")
def test_the_picture_may_give_the_length(head: TalkingHead, film: Video, hello: Speech) -> None:
    short = Speech(hello.samples[:SAMPLE_RATE])

    longer, shorter = (head.dub(film.path, speech, length="video") for speech in (short, hello))

    assert len(longer) == len(shorter) == 60
    for clip in (longer, shorter):
        assert clip.speech is not None
        assert clip.speech.duration == pytest.approx(60 / NTSC, abs=1e-3)
    assert longer.motion is not None
    assert np.abs(lip_gap(longer.motion.expression)[50:]).max() < 0.1


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), NTSC, Fraction(24000, 1001)])
def test_sound_of_the_length_of_a_film_takes_as_many_frames_as_the_film(fps: Fraction, rate: int) -> None:
    speech = Speech.of((rate, np.resize(np.float32([0.5, 0.5, -0.5, -0.5]), 4 * rate)))

    counts = [fitted(speech, None, count / fps)[0].frames(float(fps)) for count in range(1, 200)]

    assert counts == list(range(1, 200))


def test_sound_is_cut_with_a_fade_or_followed_by_silence() -> None:
    tone = Speech.of((8000, np.stack([np.resize(np.float32([0.5, 0.5, -0.5, -0.5]), 8000)] * 2, axis=1)))
    phones = [(0.0, 0.3, "aa"), (0.3, 0.8, "b"), (0.8, 1.0, "aa")]

    cut, heard = fitted(tone, phones, Fraction(1, 2))
    longer, _ = fitted(tone, None, Fraction(3, 2))

    assert heard == [(0.0, 0.3, "aa"), (0.3, 0.5, "b")]
    assert len(cut.samples) == 8000
    assert len(longer.samples) == 24000
    for speech, frames in ((cut, 4000), (longer, 12000)):
        assert speech.sound is not None
        samples = np.abs(np.concatenate(list(speech.sound.blocks(777))))
        assert samples.shape == (frames, 2)
        end = min(frames, 8000)
        np.testing.assert_array_equal(samples[: end - 400], 0.5)
        assert (np.diff(samples[end - 400 : end, 0]) < 0).all()
        assert samples[end:].max(initial=0) == 0


def test_a_film_is_played_back_and_forth_without_holding_it(film: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = list(film.frames())
    assert list(islice(back_and_forth(4), 11)) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert list(islice(back_and_forth(1), 3)) == [0, 0, 0]
    monkeypatch.setattr(module, "HELD", 25 * 3 * 290 * 280)

    shown = islice(played(film, 60), 130)
    for (number, image), wanted in zip(shown, islice(back_and_forth(60), 130), strict=True):
        assert number == wanted
        np.testing.assert_array_equal(image, frames[wanted])


def test_numbers_are_told_as_ranges() -> None:
    assert ranges([3, 7, 8, 9, 12]) == "3, 7 to 9, 12"
    assert ranges([]) == ""


def test_a_film_without_a_face_and_wrong_options_are_refused(
    head: TalkingHead, film: Video, hello: Speech, tmp_path: Path
) -> None:
    grey = [np.full((64, 64, 3), 90, np.uint8)] * 3
    write_video(tmp_path / "grey.mp4", grey, size=(64, 64), fps=Fraction(25), count=3, sound=None)

    with pytest.raises(NoFaceFound, match=r"grey.mp4: no face was found in any of its 3 frames"):
        head.dub(tmp_path / "grey.mp4", hello)
    with pytest.raises(ValueError, match='length must be "audio" or "video", not \'both\''):
        head.dub(film.path, hello, length="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mouth_scale"):
        head.dub(film.path, hello, mouth_scale=3)


class Plain:
    """An animator for tests: the portrait as it is."""

    def __init__(self, fps: float | None = None) -> None:
        self.fps = fps
        self.moved: list[float] = []

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        for face in landmarks:
            self.moved.append(float(np.abs(face - portrait.landmarks)[LOWER_LIP].max()))
            yield portrait.image


@pytest.mark.filterwarnings("ignore::talkinghead.LowQualityFaceWarning")
def test_any_animator_can_dub_if_it_draws_at_any_rate(film: Video, hello: Speech) -> None:
    plain = Plain()
    head = TalkingHead.from_pretrained(animator=plain)

    frames = list(head.dub(film.path, hello))

    assert len(frames) == 75
    assert len(plain.moved) == 70
    assert max(plain.moved) > 3
    with pytest.raises(ValueError, match="draws 12 frames a second"):
        redrawing(Plain(12.0))


def test_smoothing_does_not_lag() -> None:
    times = np.arange(50)
    rng = np.random.default_rng(0)
    swing = np.sin(times / 4).astype(np.float32)
    noisy = (swing + 0.05 * rng.standard_normal(50)).astype(np.float32)[:, None]

    calm = smoothed(noisy, 7)[:, 0]

    assert np.abs(calm - swing)[5:-5].mean() < 0.8 * np.abs(noisy[:, 0] - swing)[5:-5].mean()
    lags = [np.corrcoef(calm[5:-5], np.roll(swing, lag)[5:-5])[0, 1] for lag in (-1, 0, 1)]
    assert np.argmax(lags) == 1
    np.testing.assert_array_equal(smoothed(noisy[:3], 7), noisy[:3])


def test_nothing_is_smoothed_across_a_cut_or_a_gap(film: Video) -> None:
    face = MediaPipeTracker()(next(iter(film.frames()))).landmarks
    landmarks = np.stack([face] * 10)
    landmarks[6:, :, 0] += eye_distance(face)
    there = np.ones(10, bool)
    there[2] = False

    found = list(runs(landmarks, there))

    assert found == [slice(0, 2), slice(3, 6), slice(6, 10)]


@pytest.mark.parametrize(
    ("steps", "cut"),
    [
        ([0, 0.005, 0, 0.1, 0.01, 0, 0], True),  # a jump
        ([0, 0.005, 0, 0.03, 0.01, 0, 0], False),  # a nod
        ([0.03, 0.1, 0.2, 0.2, 0.1, 0.03, 0], False),  # a head that turns fast
        ([0.1, 0, 0.1, 0, 0.1, 0, 0.1], False),  # every frame is there twice
    ],
)
def test_a_jump_of_the_face_is_a_cut_and_a_fast_head_is_none(film: Video, steps: list[float], cut: bool) -> None:
    face = MediaPipeTracker()(next(iter(film.frames()))).landmarks
    landmarks = np.stack([face] * 8)
    landmarks[1:, :, 0] += np.cumsum(steps)[:, None] * np.linalg.norm(face[33] - face[263])

    found = list(runs(landmarks, np.ones(8, bool)))

    assert found == ([slice(0, 4), slice(4, 8)] if cut else [slice(0, 8)])


def test_footage_tells_the_clearest_frame_and_leaves_the_upper_face(film: Video) -> None:
    footage = Footage.of(MediaPipeTracker().sight(film), float(NTSC))
    weights = np.zeros(52, np.float32)
    weights[INDEX["jawOpen"]] = 0.3

    take = footage.take(10, np.zeros((280, 290, 3), np.uint8), weights)

    assert footage.clearest not in (*BLANK, *range(32, 36))
    moved = np.linalg.norm(take.target - take.landmarks, axis=1)
    assert moved[[*EYES, *LEFT_IRIS]].max() == 0
    assert moved[LOWER_LIP] > 3
    gap = np.linalg.norm(take.sealed[UPPER_LIP] - take.sealed[LOWER_LIP])
    assert gap < 0.01 * eye_distance(take.landmarks)


def test_brows_and_nose_do_not_part_lips_that_are_to_be_sealed(film: Video) -> None:
    footage = Footage.of(MediaPipeTracker().sight(film), float(NTSC))
    footage.expression[10, [INDEX["noseSneerLeft"], INDEX["noseSneerRight"]]] = 1

    take = footage.take(10, np.zeros((280, 290, 3), np.uint8), np.zeros(52, np.float32))

    gaps = np.linalg.norm(take.target[UPPER_EDGE] - take.target[LOWER_EDGE], axis=1)
    assert gaps.max() < 0.002 * eye_distance(take.landmarks)


def test_lips_count_as_parted_beside_frames_where_they_are(film: Video) -> None:
    face = MediaPipeTracker()(next(iter(film.frames()))).landmarks
    shut = face.copy()
    shut[LOWER_EDGE] = shut[UPPER_EDGE]
    wide = shut.copy()
    wide[LOWER_EDGE[1:-1], 1] += 0.1 * eye_distance(face)

    parted = Footage.of([shut] * 10 + [wide] + [shut] * 9, 25).parted

    np.testing.assert_allclose(parted[[0, 6, 7, 8, 9, 10, 11, 12, 13, 14]], [0, 0, 0.25, 0.75, 1, 1, 1, 0.75, 0.25, 0])


def test_the_flesh_of_lips_begins_where_teeth_end_and_not_where_a_tracker_has_their_edge(film: Video) -> None:
    face = MediaPipeTracker()(next(iter(film.frames()))).landmarks
    face[LOWER_EDGE[1:-1], 1] += 6
    face[LOWER_BORDER[1:-1], 1] += 8
    face[UPPER_BORDER[1:-1], 1] -= 3
    height = Head.of(face).height
    image = np.full((280, 290, 3), (200, 90, 80), np.uint8)
    teeth = np.concatenate([face[UPPER_EDGE, :2] - [0, 1.5], face[LOWER_EDGE[::-1], :2] + [0, 1.5]])
    cv2.fillPoly(image, [np.round(teeth).astype(np.int32)], (230, 220, 200))

    found = flesh(image, face, height)

    for edge, border, way in ((UPPER_EDGE, UPPER_BORDER, -1), (LOWER_EDGE, LOWER_BORDER, 1)):
        middle, lip = found[edge[3:8]], np.abs(face[border[3:8], 1] - face[edge[3:8], 1])
        off = way * (middle[:, 1] - face[edge[3:8], 1])
        assert (off > 1.5).all()
        assert (off < 0.6 * lip).all()
        colours = image[tuple(np.round(middle[:, ::-1]).astype(int).T)]
        np.testing.assert_array_equal(colours, [(200, 90, 80)] * 5)
    column = found[[0, 11, 12, 13], 1]
    assert (np.diff(column) > -0.1).all()  # the mesh between is moved along, and is not folded


def test_the_command_tells_which_frames_are_untouched(film: Video, hello: Speech, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "s.wav", hello.samples[:SAMPLE_RATE], SAMPLE_RATE)
    command = ["dub", str(film.path), str(tmp_path / "s.wav"), "-o", str(tmp_path / "o.mp4"), "--length", "video"]

    with pytest.warns(LowQualityFaceWarning):
        done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["frames"] == 60
    assert result["untouched"] == list(BLANK)
    assert {"track", "draw", "write"} <= set(result["stages"])
