"""Several faces in one picture: who speaks, who listens, and that none touches another."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Clip, FaceTooSmall, NoFaceFound, Portrait, Speech, TalkingHead
from talkinghead.cli import app
from talkinghead.cli.options import speaker_files
from talkinghead.demo import demo_speech
from talkinghead.face.landmarks import LIPS, LOWER_LIP, UPPER_LIP
from talkinghead.face.tracker import MediaPipeTracker, eye_distance, face_mesh, mesh_landmarks
from talkinghead.speakers import MixedSound, Voices, followed_by_rest, parted
from talkinghead.types import SAMPLE_RATE, Array, Frame, Motion


@pytest.fixture(scope="module")
def pair() -> Frame:
    """The same face twice, one in a mirror: [300, 480, 3]."""
    left = astronaut()[:300, 90:330]
    return np.ascontiguousarray(np.concatenate([left, left[:, ::-1]], axis=1))


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained(face="all")


@pytest.fixture(scope="module")
def portraits(pair: Frame) -> list[Portrait]:
    return MediaPipeTracker().everyone(pair)


@pytest.fixture(scope="module")
def voices() -> tuple[Speech, Speech]:
    samples = demo_speech().samples
    return Speech(samples[: 2 * SAMPLE_RATE].copy()), Speech(samples[2 * SAMPLE_RATE : 3 * SAMPLE_RATE].copy())


@pytest.fixture(scope="module")
def talk(head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech]) -> Clip:
    return head.speak(pair, speakers={0: voices[0], 1: voices[1]}, seed=4)


def openings(frames: list[Frame]) -> Array:
    """Pixels [T, 2] between the inner lips of the left and of the right face."""
    gaps = []
    with face_mesh(0.5, 2) as mesh:
        for frame in frames:
            faces = sorted(mesh_landmarks(mesh, frame), key=lambda face: float(face[:, 0].mean()))
            gaps.append([np.linalg.norm(face[UPPER_LIP] - face[LOWER_LIP]) for face in faces])
    return np.array(gaps, np.float32)


def moving(frames: list[Frame], portrait: Portrait) -> float:
    """How much the lips of `portrait` change from frame to frame."""
    points = portrait.landmarks[list(LIPS), :2].astype(int)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    mouths = np.stack([frame[top:bottom, left:right] for frame in frames]).astype(int)
    return float(np.abs(np.diff(mouths, axis=0)).mean())


def test_each_face_says_its_own(
    talk: Clip, pair: Frame, portraits: list[Portrait], voices: tuple[Speech, Speech], head: TalkingHead
) -> None:
    frames = list(talk)

    assert len(portraits) == 2
    assert len(talk) == 50
    assert talk.size == (480, 300)
    gaps = openings(frames[::2])
    for column, speech in enumerate(voices):
        alone = TalkingHead.from_pretrained(face=column).speak(pair, speech, seed=4 + column)
        own = openings(list(alone)[::2])[:, column]
        assert np.corrcoef(gaps[: len(own), column], own)[0, 1] > 0.8
    assert moving(frames[35:], portraits[1]) < 0.5 * moving(frames[:25], portraits[1])


def test_faces_do_not_touch_each_others_pixels(
    head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech], portraits: list[Portrait]
) -> None:
    one = list(head.speak(pair, speakers={0: voices[0]}, seed=1, style="neutral"))[::5]
    other = list(head.speak(pair, speakers={0: voices[0]}, seed=1, style="shout", articulation=1.6))[::5]

    changed = np.max([np.abs(a.astype(int) - b).max(2) for a, b in zip(one, other, strict=True)], axis=0)
    assert changed[:, :240].max() > 30
    assert changed[:, 240:].max() == 0
    assert len(portraits) == 2


def test_who_does_not_speak_lives_on(
    head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech], portraits: list[Portrait]
) -> None:
    frames = list(head.speak(pair, speakers={1: voices[0]}, seed=2))

    assert 0 < moving(frames, portraits[0]) < 0.6 * moving(frames, portraits[1])
    assert np.abs(frames[-1][:, :240].astype(int) - pair[:, :240]).max() > 20


def test_all_may_say_the_same(head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech]) -> None:
    clip = head.speak(pair, voices[1])

    gaps = openings(list(clip)[::2])
    assert clip.speech is voices[1]
    assert np.corrcoef(gaps.T)[0, 1] > 0.7


def test_sounds_are_mixed_at_the_highest_rate_and_never_clip() -> None:
    times = np.arange(24_000) / 24_000
    high = np.stack([0.8 * np.sin(2 * np.pi * 300 * times)] * 2, axis=1).astype(np.float32)
    low = (0.8 * np.sin(2 * np.pi * 300 * np.arange(4000) / 8000)).astype(np.float32)

    together = Voices({0: Speech.of((24_000, high)), 1: Speech.of((8000, low))}).mixed()

    sound = together.sound
    assert isinstance(sound, MixedSound)
    assert (sound.rate, sound.channels, sound.frames) == (24_000, 2, 24_000)
    samples = np.concatenate(list(sound.blocks(1000)))
    assert samples.shape == (24_000, 2)
    assert 0.97 < np.abs(samples).max() <= 1
    assert np.abs(samples[2000:10_000]).max() == pytest.approx(2 * np.abs(samples[14_000:]).max(), rel=0.02)
    assert np.abs(together.samples).max() <= 1
    np.testing.assert_allclose(samples, np.concatenate(list(sound.blocks())), atol=1e-6)


def test_parts_of_a_picture_do_not_overlap(portraits: list[Portrait]) -> None:
    below = [
        Portrait(np.zeros((900, 480, 3), np.uint8), portraits[0].landmarks + np.float32([x, y, 0]))
        for x, y in ((0, 0), (20, 250), (240, 60), (230, 500))
    ]

    covered = np.zeros((900, 480), int)
    for part in parted(below):
        height, width = part.portrait.image.shape[:2]
        covered[part.top : part.top + height, part.left : part.left + width] += 1
        x, y = part.portrait.landmarks[:, :2].mean(0)
        assert 0 < x < width
        assert 0 < y < height
    assert covered.max() == 1


def test_a_mouth_comes_to_rest_after_its_speech() -> None:
    spoken = Motion.still(10)
    spoken.expression[:, 24] = 0.5

    longer = followed_by_rest(spoken, 30)

    assert len(longer) == 30
    assert (np.diff(longer.expression[10:15, 24]) < 0).all()
    assert longer.expression[16:].max() == 0
    assert len(followed_by_rest(spoken, 4)) == 4
    assert followed_by_rest(Motion.still(0), 3).expression.max() == 0


def test_wrong_speakers_are_refused(head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech]) -> None:
    first = voices[0]
    with pytest.raises(NoFaceFound, match="face 2 is to speak, but 2 found"):
        head.speak(pair, speakers={2: first})
    with pytest.raises(ValueError, match="must not be given both"):
        head.speak(pair, first, speakers={0: first})
    with pytest.raises(ValueError, match="phones and words are for one face"):
        head.speak(pair, speakers={0: first}, phones=[(0, 0.5, "AA")])
    with pytest.raises(TypeError, match="speakers must be sounds by numbers of faces"):
        head.speak(pair, speakers=[first])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a face is a number from 0"):
        head.speak(pair, speakers={-1: first})
    with pytest.raises(ValueError, match="must name at least one face"):
        head.speak(pair, speakers={})
    with pytest.raises(TypeError, match="speak needs audio"):
        TalkingHead.from_pretrained().speak(pair)


def test_a_speaker_who_is_too_small_is_refused_and_a_listener_left_alone(
    head: TalkingHead, pair: Frame, voices: tuple[Speech, Speech]
) -> None:
    import cv2

    small = np.full((300, 120, 3), 128, np.uint8)
    small[100:190, 20:92] = cv2.resize(pair[:, :240], (72, 90), interpolation=cv2.INTER_AREA)
    picture = np.concatenate([pair[:, :240], small], axis=1)
    found = MediaPipeTracker().everyone(picture)
    if len(found) < 2:
        tiny = Portrait(picture, found[0].landmarks * np.float32(0.2) + np.float32([280, 100, 0]))
        found = [found[0], tiny]

    class Both(MediaPipeTracker):
        def everyone(self, image: Frame) -> list[Portrait]:
            return found

    both = TalkingHead(Both(face="all"), head.audio_encoder, head.motion_generator, head.animator)

    clip = both.speak(picture, speakers={0: voices[1]})

    assert np.array_equal(next(iter(clip))[:, 250:], picture[:, 250:])
    with pytest.raises(FaceTooSmall):
        both.speak(picture, speakers={1: voices[1]})


def test_if_nobody_can_move_the_largest_face_tells_why(
    head: TalkingHead, pair: Frame, portraits: list[Portrait], voices: tuple[Speech, Speech]
) -> None:
    crowd = [Portrait(pair, portraits[0].landmarks * np.float32(scale)) for scale in (0.2, 0.3, 0.25)]

    class Crowd(MediaPipeTracker):
        def everyone(self, image: Frame) -> list[Portrait]:
            return crowd

    small = TalkingHead(Crowd(face="all"), head.audio_encoder, head.motion_generator, head.animator)

    with pytest.raises(FaceTooSmall) as raised:
        small.speak(pair, voices[1])

    assert f"{eye_distance(crowd[1].landmarks):.0f} pixels apart" in str(raised.value)
    assert f"{eye_distance(crowd[2].landmarks):.0f} pixels apart" not in str(raised.value)


def test_the_command_takes_a_sound_for_each_face(pair: Frame, voices: tuple[Speech, Speech], tmp_path: Path) -> None:
    import soundfile

    Image.fromarray(pair).save(tmp_path / "pair.png")
    for name, speech in zip("ab", voices, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", speech.samples[: SAMPLE_RATE // 2], SAMPLE_RATE)
    options = ["--speaker", f"0={tmp_path / 'a.wav'}", "--speaker", f"1={tmp_path / 'b.wav'}"]
    command = ["speak", str(tmp_path / "pair.png"), "-o", str(tmp_path / "o.mp4")]

    done = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert (tmp_path / "o.mp4").stat().st_size > 1000
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--force", "--speaker", "left=a.wav"]).exit_code == 2
    assert speaker_files(["0=a.wav", "12=b=c.wav"]) == {0: Path("a.wav"), 12: Path("b=c.wav")}
