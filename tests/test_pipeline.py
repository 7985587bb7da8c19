"""The whole path, with the parts that ship."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import (
    AudioTooShort,
    ImageUnreadable,
    InputError,
    Motion,
    NoFaceFound,
    OutputExists,
    Portrait,
    Speech,
    Style,
    TalkingHead,
    TalkingHeadWarning,
    WeightsMissing,
)
from talkinghead.audio import open_sound
from talkinghead.blendshapes import INDEX
from talkinghead.demo import demo_speech
from talkinghead.face.landmarks import LOWER_LIP, UPPER_LIP
from talkinghead.face.model import face_model
from talkinghead.types import SAMPLE_RATE, Array, Frame
from talkinghead.video import open_video


class Still:
    """An animator for tests: the portrait as it is, at 12 frames a second."""

    fps: float | None = 12.0

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        for _ in landmarks:
            yield portrait.image


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained()


@pytest.fixture(scope="module")
def portrait(head: TalkingHead) -> Portrait:
    return head.portrait(astronaut())


@pytest.fixture(scope="module")
def hello() -> Speech:
    return demo_speech()


class Listener:
    """An encoder and a generator for tests: remembers what it was asked, and moves nothing."""

    rate, size = 50.0, 4

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, heard: Any, **options: Any) -> Any:
        if isinstance(heard, Speech):
            return np.zeros((heard.frames(self.rate), self.size), np.float32)
        self.asked.append(options)
        return Motion.still(-(-len(heard) // 2))


def never(*_: object, **__: object) -> Any:
    """A part that must not run."""
    raise AssertionError("a model ran")


def lip_gap(motion: Motion) -> Array:
    """Centimetres [T] by which `motion` parts the lips of the model's face."""
    basis = face_model().basis
    gap: Array = motion.expression @ (basis[:, UPPER_LIP] - basis[:, LOWER_LIP])[:, 1]
    return gap


def test_speak_gives_a_clip_as_long_as_the_sound_with_the_sound_in_it(
    head: TalkingHead, portrait: Portrait, hello: Speech, tmp_path: Path
) -> None:
    short = Speech.of((SAMPLE_RATE, hello.samples[: SAMPLE_RATE * 2 + 100]))

    clip = head.speak(portrait, short)
    clip.save(tmp_path / "out.mp4")

    assert len(clip) == 51
    video = open_video(tmp_path / "out.mp4")
    assert sum(1 for _ in video.frames()) == 51
    assert video.size == (512, 512)
    heard, _ = open_sound(tmp_path / "out.mp4")
    assert abs(len(heard) / SAMPLE_RATE - short.duration) <= 1 / 25
    overlap = min(len(heard), len(short.samples))
    assert np.corrcoef(heard[:overlap], short.samples[:overlap])[0, 1] > 0.98


def test_the_picture_moves_where_the_mouth_is_and_stays_where_it_is_not(
    head: TalkingHead, portrait: Portrait, hello: Speech
) -> None:
    frames = head.speak(portrait, Speech(hello.samples[: SAMPLE_RATE * 2])).frames

    change = np.abs(frames.astype(np.int16) - portrait.image).max(axis=(0, 3))
    x, y = portrait.landmarks[LOWER_LIP, :2].astype(int)
    assert change[y - 5 : y + 20, x - 10 : x + 10].max() > 30
    assert change[-40:, :40].max() == 0


def test_the_same_seed_gives_the_same_motion_and_another_one_does_not(head: TalkingHead, hello: Speech) -> None:
    first, again, other = (head.motion(hello, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.expression, again.expression)
    np.testing.assert_array_equal(first.rotation, again.rotation)
    assert np.abs(first.rotation - other.rotation).max() > 0.01


def test_the_mouth_moves_with_speech_and_rests_closed_in_silence(head: TalkingHead, hello: Speech) -> None:
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    speech = Speech(np.concatenate([quiet, hello.samples, quiet]))

    gap = lip_gap(head.motion(speech))

    talking = np.percentile(gap[50:-50], 95)
    silent = np.concatenate([gap[5:45], gap[-40:-5]])
    assert talking > 0.6
    assert np.abs(silent).max() < 0.15 * talking


@pytest.mark.filterwarnings("ignore::talkinghead.SilentAudioWarning")
def test_the_face_lives_on_in_silence(head: TalkingHead) -> None:
    motion = head.motion((SAMPLE_RATE, np.zeros(20 * SAMPLE_RATE, np.float32)))

    blinks = motion.expression[:, INDEX["eyeBlinkLeft"]]
    assert blinks.max() > 0.8
    assert motion.rotation.std(0).min() > 0.002


def test_expression_scale_and_head_motion_do_what_they_say(head: TalkingHead, hello: Speech) -> None:
    full = head.motion(hello)
    half = head.motion(hello, expression_scale=0.5, head_motion=0)

    jaw = INDEX["jawOpen"]
    assert half.expression[:, jaw].max() == pytest.approx(full.expression[:, jaw].max() / 2, rel=1e-3)
    assert np.abs(half.rotation).max() == 0
    with pytest.raises(ValueError, match="expression_scale must be a number from 0 to 2, not 3"):
        head.motion(hello, expression_scale=3)
    with pytest.raises(ValueError, match="head_motion"):
        head.motion(hello, head_motion=float("nan"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"style": "loud"},
        {"style": [(0, "shout"), (0, "mumble")]},
        {"articulation": 3},
        {"mood": "odd"},
        {"mood": {"happy": 2}},
        {"blink_rate": 99},
        {"phones": [(0, 1, "QX")]},
        {"phones": [(0, 99, "AA")]},
        {"phones": [], "words": []},
    ],
)
def test_wrong_options_are_refused_before_a_model_runs(hello: Speech, wrong: dict[str, Any]) -> None:
    fragile = TalkingHead(never, never, never, never)  # type: ignore[arg-type]
    for said in (lambda: fragile.motion(hello, **wrong), lambda: fragile.speak(astronaut(), hello, **wrong)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            said()


def test_a_generator_is_told_the_style_of_every_frame_and_only_if_one_is_asked_for() -> None:
    listener = Listener()
    head = TalkingHead(never, listener, listener, never)  # type: ignore[arg-type]
    speech = Speech(np.full(SAMPLE_RATE + 100, 0.1, np.float32))

    head.motion(speech)
    head.motion(speech, style="neutral", articulation=1)
    head.motion(speech, style=Style(1.2, 0.9))
    head.motion(speech, style=[(0.0, "neutral"), (1.0, Style(1.5, 0.5))], articulation=[(0.0, 1.0), (1.0, 1.2)])

    assert listener.asked[:2] == [{}, {}]
    fixed, changing = (asked["style"] for asked in listener.asked[2:])
    assert fixed.dtype == np.float32
    np.testing.assert_allclose(fixed, np.tile(np.float32([1.2, 0.9]), (26, 1)))
    np.testing.assert_allclose(changing[0], 1)
    np.testing.assert_allclose(changing[25], [1.6, 0.6], rtol=1e-6)


def test_known_phones_move_the_lips_without_a_model(hello: Speech) -> None:
    deaf = TalkingHead(never, never, never, never)  # type: ignore[arg-type]
    phones = [(1.0, 1.5, "AA1"), (1.5, 1.65, "B"), (1.65, 2.0, "AA1")]

    motion = deaf.motion(hello, phones=phones)
    shouted = deaf.motion(hello, phones=phones, style="shout")

    gap = lip_gap(motion)
    assert len(motion) == hello.frames(25)
    assert np.abs(gap[:20]).max() < 0.02
    assert gap[28:36].min() > 0.5
    assert np.abs(gap[37:42]).min() < 0.02
    assert np.abs(gap[60:]).max() < 0.02
    assert motion.rotation.std(0).min() > 0.005  # the head moves
    assert lip_gap(shouted)[32] > 1.2 * gap[32]


def test_known_words_move_the_lips_without_a_model(hello: Speech) -> None:
    pytest.importorskip("pocketsphinx")
    deaf = TalkingHead(never, never, never, never)  # type: ignore[arg-type]

    motion = deaf.motion(hello, words=[(0.5, 0.9, "Mama"), (2.0, 2.4, "papa.")])

    gap = lip_gap(motion)
    assert gap[13:24].max() > 0.5
    assert gap[50:61].max() > 0.5
    assert np.abs(gap[30:45]).max() < 0.02
    with pytest.raises(InputError, match="'blorptz' is not in the pronouncing dictionary"):
        deaf.motion(hello, words=[(0, 1, "blorptz")])


def test_a_mood_is_seen_and_leaves_the_lips_to_speech(head: TalkingHead, hello: Speech) -> None:
    plain = head.motion(hello)
    happy = head.motion(hello, mood={"happy": 0.8})
    later = head.motion(hello, mood=[(3.0, None), (4.0, "sad")])

    smile, frown = INDEX["mouthSmileLeft"], INDEX["mouthFrownLeft"]
    assert (happy.expression[:, smile] - plain.expression[:, smile]).mean() > 0.2
    np.testing.assert_allclose(lip_gap(happy), lip_gap(plain), atol=0.01)
    np.testing.assert_array_equal(happy.rotation, plain.rotation)
    np.testing.assert_array_equal(later.expression[:75], plain.expression[:75])
    assert later.expression[110:, frown].mean() > 0.3


def test_the_blink_rate_is_that_of_speak_and_motion(head: TalkingHead, portrait: Portrait, hello: Speech) -> None:
    clip = head.speak(portrait, hello, blink_rate=0, seed=3, mood="angry")

    motion = head.motion(hello, blink_rate=0, seed=3, mood="angry")

    assert clip.motion is not None
    np.testing.assert_array_equal(clip.motion.expression, motion.expression)
    assert motion.expression[:, INDEX["eyeBlinkLeft"]].max() < 0.3
    assert head.motion(hello, blink_rate=60, seed=3).expression[:, INDEX["eyeBlinkLeft"]].max() > 0.8


def test_an_animator_of_another_rate_gets_motion_of_that_rate(portrait: Portrait, hello: Speech) -> None:
    head = TalkingHead.from_pretrained(animator=Still())

    clip = head.speak(portrait, hello)

    assert clip.fps == 12
    assert len(clip) == hello.frames(12) == sum(1 for _ in clip)


def test_animate_takes_motion_a_file_or_a_video_with_its_sound(
    head: TalkingHead, portrait: Portrait, hello: Speech, tmp_path: Path
) -> None:
    short = Speech(hello.samples[:SAMPLE_RATE])
    head.speak(portrait, short).save(tmp_path / "talk.mp4")
    motion = head.motion(short)
    motion.save(tmp_path / "m.npz")

    by_file = head.animate(portrait, tmp_path / "m.npz")
    by_video = head.animate(portrait, tmp_path / "talk.mp4")

    np.testing.assert_allclose(by_file.motion.expression, head.animate(portrait, motion).motion.expression)  # type: ignore[union-attr]
    assert by_file.speech is None
    assert len(by_video) == 25
    assert by_video.speech is not None


def test_bad_input_is_refused_before_a_model_runs(head: TalkingHead, hello: Speech, tmp_path: Path) -> None:
    fragile = TalkingHead(head.face_tracker, never, never, never)  # type: ignore[arg-type]

    with pytest.raises(AudioTooShort):
        fragile.speak(astronaut(), (SAMPLE_RATE, np.ones(10, np.float32)))
    with pytest.raises(ImageUnreadable):
        fragile.speak(tmp_path / "missing.png", hello)
    with pytest.raises(NoFaceFound):
        fragile.speak(np.full((128, 128, 3), 90, np.uint8), hello)


def test_a_film_longer_than_its_sound_keeps_its_picture(
    head: TalkingHead, portrait: Portrait, hello: Speech, tmp_path: Path
) -> None:
    from fractions import Fraction

    from talkinghead.audio import Sound
    from talkinghead.video import write_video

    sound = Sound.of_array(hello.samples[: SAMPLE_RATE // 2], SAMPLE_RATE)
    film = [portrait.image] * 30
    write_video(tmp_path / "f.mp4", film, size=(512, 512), fps=Fraction(25), count=30, sound=sound)

    clip = head.animate(portrait, tmp_path / "f.mp4")

    assert len(clip) == 30
    assert clip.speech is not None


@pytest.mark.parametrize("wrong", [None, 5, {}, b"x"])
def test_things_that_are_no_motion_are_named(head: TalkingHead, portrait: Portrait, wrong: object) -> None:
    with pytest.raises(TypeError, match="motion must be a Motion, an npz file of one, or a video file"):
        head.animate(portrait, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_a_seed_is_a_whole_number(head: TalkingHead, hello: Speech, seed: object) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number"):
        head.motion(hello, seed=seed)  # type: ignore[arg-type]


def test_a_folder_of_the_same_name_does_not_hide_the_shipped_model(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "micro").mkdir()
    monkeypatch.chdir(tmp_path)

    TalkingHead.from_pretrained("micro")

    with pytest.raises(WeightsMissing):
        TalkingHead.from_pretrained("./micro")


def test_sound_given_as_an_array_may_be_changed_afterwards(
    head: TalkingHead, portrait: Portrait, tmp_path: Path
) -> None:
    samples = np.sin(np.arange(SAMPLE_RATE // 2) / 20).astype(np.float32) / 2
    clip = head.speak(portrait, (SAMPLE_RATE, samples))
    samples[:] = 0

    clip.save(tmp_path / "out.mp4")

    assert np.abs(open_sound(tmp_path / "out.mp4")[0]).max() > 0.3


def test_an_output_that_exists_is_kept(head: TalkingHead, portrait: Portrait, hello: Speech, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")

    with pytest.raises(OutputExists):
        head.speak(portrait, hello).save(tmp_path / "out.mp4")

    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_saved_weights_load_again_and_say_the_same(head: TalkingHead, hello: Speech, tmp_path: Path) -> None:
    folder = head.save_pretrained(tmp_path / "mine")

    again = TalkingHead.from_pretrained(folder)

    np.testing.assert_allclose(again.motion(hello).expression, head.motion(hello).expression, atol=1e-3)
    with pytest.raises(OutputExists):
        head.save_pretrained(folder)


def test_unknown_names_say_what_is_known() -> None:
    with pytest.raises(WeightsMissing, match="no-such-model"):
        TalkingHead.from_pretrained("no-such-model")
    with pytest.raises(ValueError, match="animator must be one of mesh"):
        TalkingHead.from_pretrained(animator="cartoon")
    with pytest.raises(ValueError, match="device must be"):
        TalkingHead.from_pretrained(device="tpu9")


def test_a_silent_film_is_played_and_a_useless_sound_is_told_of(
    head: TalkingHead, portrait: Portrait, tmp_path: Path
) -> None:
    from fractions import Fraction

    from talkinghead.audio import Sound
    from talkinghead.video import write_video

    film = [portrait.image] * 3
    options = {"size": (512, 512), "fps": Fraction(25), "count": 3}
    write_video(tmp_path / "silent.mp4", film, sound=None, **options)  # type: ignore[arg-type]
    blip = Sound.of_array(np.full(160, 0.5, np.float32), SAMPLE_RATE)
    write_video(tmp_path / "blip.mp4", film, sound=blip, **options)  # type: ignore[arg-type]

    assert head.animate(portrait, tmp_path / "silent.mp4").speech is None
    with pytest.warns(TalkingHeadWarning, match="the sound is left out"):
        assert len(head.animate(portrait, tmp_path / "blip.mp4")) == 3
