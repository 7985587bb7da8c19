"""What speaks how: curves over time, styles, and phones or words whose times are known."""

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talkinghead import InputError, Motion, Speech, Style
from talkinghead.blendshapes import INDEX
from talkinghead.motion import pronunciation, prosody
from talkinghead.motion.articulation import lip_gap
from talkinghead.motion.controls import Controls, Options
from talkinghead.motion.curves import curve
from talkinghead.motion.phones import PHONES
from talkinghead.motion.pronunciation import pronounce, spread
from talkinghead.motion.prosody import Prosody, head_pose
from talkinghead.motion.spoken import known_segments, motion_of_phones, read_phones, read_timed, read_words
from talkinghead.motion.style import STYLES, strengths
from talkinghead.types import SAMPLE_RATE


def hum(seconds: float) -> Speech:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return Speech((0.3 * np.sin(2 * np.pi * 150 * times)).astype(np.float32))


def names(segments: list[tuple[float, float, str]]) -> list[str]:
    return [phone for _, _, phone in segments]


def test_a_number_is_the_same_all_the_time() -> None:
    assert curve("loudness", 0.7, 0, 1).at(np.array([0.0, 5.0])).tolist() == [[0.7], [0.7]]


def test_keyframes_are_joined_by_lines_and_held_outside() -> None:
    values = curve("loudness", [(1.0, 0.0), (3.0, 1.0)], 0, 1).at(np.array([0.0, 1.0, 1.5, 3.0, 9.0]))

    assert values[:, 0].tolist() == [0, 0, 0.25, 1, 1]


def test_keyframes_may_be_an_array() -> None:
    assert curve("loudness", np.array([[0.0, 0.0], [2.0, 1.0]]), 0, 1).at(np.array([1.0])).tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (2, "loudness must be a number from 0 to 1, or keyframes .*, not 2"),
        (float("nan"), "must be a number"),
        (True, "must be a number"),
        ("loud", "must be a number"),
        (None, "must be a number"),
        ([], "must be a number"),
        ([0, 1], "must be a number"),
        ([(0, 0.5), (1, 7)], "must be a number from 0 to 1.*not 7"),
        ([(0, 0.5), (0, 0.6)], "times of keyframes must rise, but 0 follows 0"),
        ([(float("inf"), 0.5)], "time of a keyframe must be in seconds, not inf"),
        ([("0", 0.5)], "time of a keyframe"),
        ([(0, 0.5, 1)], "a keyframe must be"),
        ([(0, 0.5), 1], "a keyframe must be"),
    ],
)
def test_wrong_curves_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curve("loudness", wrong, 0, 1)


def test_neutral_speech_needs_no_style() -> None:
    assert strengths("neutral", 1.0, 100) is None
    assert strengths(Style(), 1, 0) is None


def test_a_style_is_two_strengths_per_frame() -> None:
    shout = strengths("shout", 1.0, 3)

    assert shout is not None
    assert shout.dtype == np.float32
    assert np.allclose(shout, STYLES["shout"])
    assert np.allclose(strengths(Style(1.1, 0.9), 1.0, 2), [[1.1, 0.9]] * 2)  # type: ignore[arg-type]


def test_articulation_multiplies_both_within_what_was_trained() -> None:
    assert np.allclose(strengths("neutral", 1.3, 1), 1.3)  # type: ignore[arg-type]
    assert np.allclose(strengths("mumble", 0.4, 1), 0.4)  # type: ignore[arg-type]
    assert np.allclose(strengths("shout", 1.6, 1), 1.6)  # type: ignore[arg-type]


def test_styles_change_over_time_and_in_pieces() -> None:
    style: list[tuple[float, str | Style]] = [(0.0, "mumble"), (2.0, "shout")]
    whole = strengths(style, [(0.5, 1.0), (1.0, 0.8)], 75)

    assert whole is not None
    assert np.allclose(whole[0], STYLES["mumble"])
    assert np.allclose(whole[60], np.array(STYLES["shout"]) * 0.8)
    assert (np.diff(whole[:12], axis=0) > 0).all()
    pieces = [strengths(style, [(0.5, 1.0), (1.0, 0.8)], b - a, start=a) for a, b in pairwise([0, 5, 31, 75])]
    assert np.array_equal(np.concatenate([piece for piece in pieces if piece is not None]), whole)


@pytest.mark.parametrize("wrong", ["loud", (1,), (2.0, 1.0), (0.1, 1.0), (1.0, float("nan")), None, 3, [(0, "loud")]])
def test_wrong_styles_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"style must be one of neutral, .*, or a Style"):
        strengths(wrong, 1.0, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"style": "loud"},
        {"articulation": 3},
        {"mood": "odd"},
        {"blink_rate": 99},
        {"head_motion": 9},
        {"mouth_scale": 2.1},
        {"lip_open": -1},
        {"eye_open": 1.5},
        {"gaze": "left"},
        {"gaze": (31, 0)},
        {"gaze": (0, float("nan"))},
        {"gaze": [(0, (0, 0)), (1, "viewer")]},
    ],
)
def test_controls_are_checked_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Controls(**wrong)


def test_every_control_is_an_option_of_speak() -> None:
    assert set(Options.__annotations__) == {field.name for field in fields(Controls)}


def test_pieces_are_enlivened_like_the_whole() -> None:
    rng = np.random.default_rng(0)
    spoken = Motion.still(200)
    spoken.expression[20:90, INDEX["jawOpen"]] = 0.3
    spoken.rotation[:, 0] = rng.normal(0, 0.01, 200)
    controls = Controls(seed=4, expression_scale=1.3, head_motion=0.7, mood=[(0, None), (6, "happy")], blink_rate=30)
    controls = replace(controls, lip_open=[(0, 1.0), (4, 1.5)], eye_open=[(0, 1.0), (8, 0.5)], mouth_scale=1.1)
    controls = replace(controls, gaze=[(1, (5, 3)), (2, "camera")])
    whole = controls.enliven(spoken)

    for first, last in pairwise([0, 5, 10, 93, 98, 103, 200]):
        piece = controls.enliven(spoken[first:last], start=first, before=spoken[max(0, first - 25) : first])

        assert np.array_equal(piece.expression, whole.expression[first:last])
        assert np.array_equal(piece.rotation, whole.rotation[first:last])


def test_phones_drive_the_lips() -> None:
    phones = [(0.4, 0.7, "AA1"), (0.7, 0.82, "P"), (0.82, 1.1, "AA0"), (1.5, 1.8, "UW")]

    motion = motion_of_phones(read_phones(phones, 2.5), hum(2.5))

    gap = lip_gap(motion.expression)
    assert len(motion) == 63
    assert motion.fps == 25
    assert np.abs(gap[:6]).max() < 0.02  # silence
    assert gap[12:16].min() > 0.8  # aa
    assert np.abs(gap[18:21]).min() < 0.02  # p
    assert gap[22:26].min() > 0.8
    assert np.abs(gap[54:]).max() < 0.02
    assert motion.expression[38:44, INDEX["mouthPucker"]].min() > 0.3  # oo
    assert motion.expression[12:16, INDEX["mouthPucker"]].max() < 0.1


def test_long_speech_is_heard_in_pieces_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(100 * SAMPLE_RATE) / SAMPLE_RATE
    loudness = np.interp(times, np.arange(0, 100, 0.5), rng.uniform(0.05, 0.4, 200))
    sound = (loudness * np.sin(2 * np.pi * 150 * times)).astype(np.float32)
    segments = read_phones([(second, second + 0.5, "AA") for second in range(100)], 100.0)

    motion = motion_of_phones(segments, Speech(sound))
    pieces = Prosody.of(sound)
    monkeypatch.setattr(prosody, "PIECE", 10**6)
    whole = Prosody.of(sound)

    assert len(motion) == 2500
    assert np.allclose(motion.rotation[:, 0], head_pose(whole)[:, 0].reshape(-1, 2).mean(axis=1), atol=1e-6)
    assert np.allclose([pieces.loudness, pieces.accents, pieces.brows], [whole.loudness, whole.accents, whole.brows])
    assert len(motion_of_phones([], Speech(sound[:0]))) == 0


def test_a_style_moves_jaw_and_lips_of_known_phones() -> None:
    segments = read_phones([(0.4, 1.2, "AA")], 2.0)
    jaw = INDEX["jawOpen"]

    plain = motion_of_phones(segments, hum(2))
    shouted = motion_of_phones(segments, hum(2), strengths("shout", 1.0, 50))
    rising = motion_of_phones(segments, hum(2), strengths("neutral", [(0.4, 0.5), (1.2, 1.5)], 50))

    assert shouted.expression[20, jaw] > 1.3 * plain.expression[20, jaw]
    assert rising.expression[27, jaw] > 1.3 * rising.expression[14, jaw]


def test_arpabet_ipa_and_our_own_names_are_told_apart() -> None:
    times = [(0.0, 0.2), (0.2, 0.3), (0.3, 0.6)]

    def read(*symbols: str) -> list[str]:
        return names(read_phones([(*time, symbol) for time, symbol in zip(times, symbols, strict=True)], 0.6))

    assert read("HH", "AH0", "OW1") == ["hh", "ah", "ow", "uh"]
    assert read("h", "ə", "oʊ") == ["hh", "ax", "ow", "uh"]
    assert read("h", "e", "j") == ["hh", "eh", "y"]
    assert read("hh", "yy", "oe") == ["hh", "yy", "oe"]
    assert read("m", "", "m") == read("M", "pau", "M") == ["m", "sil", "m"]
    for phone in PHONES:
        assert names(read_phones([(0.0, 1.0, phone)], 1.0))[0] == phone


def test_gaps_between_phones_are_silence_and_small_overlaps_are_cut() -> None:
    assert read_phones([(0.5, 1.0, "AA"), (1.01, 1.2, "P"), (1.19, 1.5, "IY")], 2.0) == [
        (0.0, 0.5, "sil"),
        (0.5, 1.01, "aa"),
        (1.01, 1.19, "p"),
        (1.19, 1.5, "iy"),
        (1.5, 2.0, "sil"),
    ]
    assert names(read_phones([(0, 1, "AA"), (1.3, 2, "AA")], 2.0)) == ["aa", "sil", "aa"]
    assert read_phones([], 2.0) == [(0.0, 2.0, "sil")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([(0, 0.3, "HH"), (0.3, 0.4, "QX")], "'QX' is no ARPAbet phone known here"),
        ([(0, 0.3, "ə"), (0.3, 0.4, "ʘ")], "'ʘ' is no IPA phone known here"),
        ([(0.5, 0.3, "AA")], "'AA' must start before it ends"),
        ([(0, 9, "AA")], "within the 2.00 s of the sound, not from 0 to 9 s"),
        ([(-0.6, 1, "AA")], "within the 2.00 s"),
        ([(0, 0.3, "AA"), (0.2, 0.5, "P")], "'P' starts at 0.2 s, but 'AA' lasts from 0 to 0.3 s"),
        ([(0.5, 0.8, "AA"), (0.1, 0.2, "P")], "'P' starts at 0.1 s"),
        ([(0, float("nan"), "AA")], "each must be"),
        ([(0, 1)], "each must be"),
        ([("0", 1, "AA")], "each must be"),
        ([(0, 1, 5)], "each must be"),
        ("AA", "phones must be a list"),
        (5, "phones must be a list"),
    ],
)
def test_wrong_phones_are_named(wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_phones(wrong, 2.0)

    assert "ARPAbet" in caught.value.hint


def test_times_may_lie_half_a_second_beyond_the_sound() -> None:
    assert names(read_phones([(-0.2, 0.5, "AA"), (0.5, 2.4, "IY")], 2.0)) == ["aa", "iy"]


def test_words_become_phones() -> None:
    pytest.importorskip("pocketsphinx")

    segments = read_words([(0.2, 0.6, "Hello,"), (0.65, 1.0, "world!"), (1.5, 1.6, "—"), (1.7, 2.0, "it’s")], 2.5)

    assert names(segments) == [
        "sil", "hh", "ah", "l", "ow", "uh", "w", "er", "l", "t", "sil", "ih", "t", "s", "sil",
    ]  # fmt: skip
    assert segments[1][0] == 0.2
    assert segments[6][0] == 0.65  # words a twentieth of a second apart follow each other
    assert segments[9][1] == 1.0
    assert segments[-1][0] == 2.0


def test_words_with_hyphens_and_quotation_marks_are_found() -> None:
    pytest.importorskip("pocketsphinx")

    assert pronounce("hello-world") == [*pronounce("hello"), *pronounce("world")]
    assert pronounce("'hello'") == pronounce("“Hello…”") == pronounce("hello")
    assert pronounce("'em") == ["AH", "M"]
    assert pronounce("...") == []


def test_a_words_time_is_shared_as_it_usually_is() -> None:
    inside = spread(["P", "AA", "T"], 1.0, 1.4, final=False)
    last = spread(["P", "AA", "T"], 1.0, 1.4, final=True)

    assert inside[0][0] == last[0][0] == 1.0
    assert inside[-1][1] == last[-1][1] == 1.4
    assert all(before[1] == after[0] for before, after in pairwise(inside))
    lengths = [end - start for start, end, _ in inside]
    assert lengths[1] > 2 * max(lengths[0], lengths[2])  # vowels are longer
    assert last[0][1] < inside[0][1]  # before a pause, the vowel and what follows are drawn out


def test_an_unknown_word_is_named_and_another_way_offered() -> None:
    pytest.importorskip("pocketsphinx")

    with pytest.raises(InputError, match="'Zzyzxq' is not in the pronouncing dictionary") as caught:
        read_words([(0, 1, "Zzyzxq")], 1.0)

    assert "phones=" in caught.value.hint


def test_a_missing_dictionary_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    pronunciation.dictionary.cache_clear()
    monkeypatch.setattr(pronunciation, "import_module", missing)

    with pytest.raises(InputError, match="dictionary is not installed") as caught:
        read_words([(0, 1, "hello")], 1.0)

    assert "talkinghead[evaluation]" in caught.value.hint


def test_only_one_of_phones_and_words_is_given() -> None:
    assert known_segments(None, None, hum(1)) is None
    assert known_segments([], None, hum(1)) == [(0.0, 1.0, "sil")]
    with pytest.raises(ValueError, match="not be given both"):
        known_segments([], [], hum(1))


def test_times_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    path.write_text(json.dumps([[0, 0.5, "AA"]]))

    assert read_timed(path) == [(0, 0.5, "AA")]


@pytest.mark.parametrize("content", ["", "no json", "{}", "[1, 2]", "[" * 100_000])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    path.write_text(content)

    with pytest.raises(InputError, match=r"phones\.json"):
        read_timed(path)
    with pytest.raises(InputError, match="cannot be opened"):
        read_timed(tmp_path / "missing.json")
