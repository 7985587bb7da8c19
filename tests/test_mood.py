"""Moods change brows, eyes and the corners of the mouth, never what the lips say."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from talkinghead.blendshapes import INDEX
from talkinghead.motion.articulation import articulate, lip_gap
from talkinghead.motion.mood import MOODS, add_mood, mood_keyframes, parse_mood
from talkinghead.motion.prosody import Prosody
from talkinghead.types import Array, Motion

FELT = [name for name in MOODS if name != "neutral"]


@pytest.fixture(scope="module")
def speech() -> Motion:
    """Two seconds of mama, papa, woo and silence."""
    segments = [(0.0, 0.4, "sil")]
    for phone in ("m", "aa", "m", "ah", "p", "aa", "p", "iy", "w", "uw", "sil", "sil", "sil"):
        segments.append((segments[-1][1], segments[-1][1] + 0.12, phone))
    expression = articulate(segments, 100, Prosody(*np.zeros((3, 100))))
    return Motion(expression, np.zeros((100, 3), np.float32), np.zeros((100, 3), np.float32), 50.0)


def column(motion: Motion, name: str) -> Array:
    return motion.expression[:, INDEX[name]]


@pytest.mark.parametrize("mood", FELT)
def test_lips_stay_as_far_apart_as_speech_has_them(speech: Motion, mood: str) -> None:
    gap = lip_gap(speech.expression)

    moved = lip_gap(add_mood(speech, mood).expression)

    closed = gap < 0.02
    assert 0.3 < closed.mean() < 0.8
    assert np.abs(moved[closed]).max() < 0.02
    assert np.abs(moved - gap).max() < 0.01


@pytest.mark.parametrize("mood", FELT)
def test_a_face_at_rest_shows_its_mood_with_closed_lips(mood: str) -> None:
    felt = add_mood(Motion.still(3), mood)

    assert np.abs(lip_gap(felt.expression)).max() < 1e-6
    assert 0.1 < felt.expression.max() <= 1
    assert felt.expression.min() >= 0
    assert not felt.rotation.any()


@pytest.mark.parametrize(
    ("mood", "shapes"),
    [
        ("happy", ("mouthSmileLeft", "cheekSquintRight")),
        ("sad", ("browInnerUp", "mouthFrownLeft")),
        ("angry", ("browDownLeft", "eyeSquintRight")),
        ("surprised", ("browInnerUp", "browOuterUpLeft", "eyeWideRight")),
        ("fearful", ("browInnerUp", "eyeWideLeft", "mouthStretchRight")),
        ("disgusted", ("noseSneerLeft", "browDownRight")),
    ],
)
def test_moods_are_plain_to_see(mood: str, shapes: tuple[str, ...]) -> None:
    felt = add_mood(Motion.still(1), mood)

    assert min(float(column(felt, shape)[0]) for shape in shapes) > 0.25


@pytest.mark.parametrize("mood", FELT)
def test_weights_stay_in_their_range(mood: str) -> None:
    rng = np.random.default_rng(0)
    rest = np.zeros((200, 3), np.float32)
    wild = Motion(rng.uniform(0, 1, (200, 52)).astype(np.float32), rest, rest)

    felt = add_mood(wild, {name: 1.0 for name in MOODS})

    assert felt.expression.min() >= 0
    assert felt.expression.max() <= 1


def test_a_mood_is_as_strong_as_asked_for() -> None:
    half, full = (add_mood(Motion.still(1), {"happy": strength}) for strength in (0.5, 1.0))

    assert column(half, "mouthSmileLeft")[0] == pytest.approx(column(full, "mouthSmileLeft")[0] / 2)
    assert not add_mood(Motion.still(1), {"happy": 0.0}).expression.any()


def test_moods_mix() -> None:
    mixed = add_mood(Motion.still(1), {"happy": 0.6, "surprised": 0.2})

    assert column(mixed, "mouthSmileLeft")[0] == pytest.approx(0.6 * MOODS["happy"]["mouthSmile"])
    assert column(mixed, "eyeWideLeft")[0] == pytest.approx(0.2 * MOODS["surprised"]["eyeWide"])


@pytest.mark.parametrize("neutral", [None, "neutral", {}, {"neutral": 1.0}, [(0, None), (1, "neutral")]])
def test_neutral_changes_nothing(speech: Motion, neutral: Any) -> None:
    assert add_mood(speech, neutral) is speech


def test_a_smile_leaves_round_lips_round(speech: Motion) -> None:
    felt = add_mood(speech, "happy")
    smile = column(felt, "mouthSmileLeft") - column(speech, "mouthSmileLeft")
    rounded = column(speech, "mouthPucker") > 0.4

    assert rounded.any()
    assert smile[rounded].max() < 0.6 * smile.max()
    assert np.allclose(column(felt, "mouthPucker"), column(speech, "mouthPucker"))


def test_wide_eyes_still_shut() -> None:
    blink = Motion.still(1)
    blink.expression[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1

    assert column(add_mood(blink, "surprised"), "eyeWideLeft")[0] == 0


def test_a_mood_changes_evenly_between_its_keyframes() -> None:
    felt = add_mood(Motion.still(100), [(1.0, None), (3.0, "happy")])
    smile = column(felt, "mouthSmileLeft") / MOODS["happy"]["mouthSmile"]

    assert not smile[:26].any()
    assert smile[50] == pytest.approx(0.5)
    assert np.allclose(smile[75:], 1)


def test_pieces_are_the_whole(speech: Motion) -> None:
    mood: list[tuple[float, Any]] = [(0.2, "sad"), (1.0, {"angry": 0.5}), (1.5, None)]
    whole = add_mood(speech, mood).expression
    edges = [0, 5, 6, 40, 77, 100]

    pieces = [add_mood(speech[first:last], mood, start=first).expression for first, last in pairwise(edges)]

    assert np.array_equal(np.concatenate(pieces), whole)


def test_the_input_is_not_changed(speech: Motion) -> None:
    before = speech.expression.copy()

    add_mood(speech, "angry")

    assert np.array_equal(speech.expression, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("cheerful", "mood must be one of neutral, calm, happy.*not 'cheerful'"),
        ({"happy": 2.0}, "strength of the mood happy must be a number from 0 to 1, not 2"),
        ({"happy": float("nan")}, "strength of the mood happy"),
        ({"happy": "much"}, "strength of the mood happy"),
        ({3: 1.0}, "mood must be"),
        (5, "mood must be"),
        ([(0, "happy"), (0, "sad")], "times of keyframes must rise"),
        ([(0, "happy"), "sad"], "a keyframe must be"),
        ([(0, "cheerful")], "mood must be one of"),
    ],
)
def test_wrong_moods_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mood_keyframes(wrong)


def test_moods_can_be_written() -> None:
    assert parse_mood("happy") == {"happy": 1.0}
    assert parse_mood("happy=0.6, surprised=.2") == {"happy": 0.6, "surprised": 0.2}
    with pytest.raises(ValueError, match=r"written as happy=0\.6"):
        parse_mood("happy=very")
