"""What evaluation is made of: intervals, areas, transcripts, alignment, figures of phones, blinks and noise."""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talkinghead.blendshapes import INDEX
from talkinghead.errors import InputError, TalkingHeadError
from talkinghead.evaluation import alignment, intervals, words
from talkinghead.evaluation.dynamics import blink_durations, compare_seeds, head_movement
from talkinghead.evaluation.intervals import Interval, area, compared_areas, correlation, mean, ratio
from talkinghead.evaluation.noise import in_noise
from talkinghead.evaluation.phonetic import (
    BILABIALS,
    CONTRASTS,
    STOPS,
    Spoken,
    closed_share,
    contrast_areas,
    covered,
    inside_pauses,
    phone_rows,
)
from talkinghead.evaluation.recordings import Mouth, find_files
from talkinghead.evaluation.tables import Table, plain, text
from talkinghead.motion.idle import add_idle
from talkinghead.types import Motion, Speech

from .shared import SHARED, needs_shared

HELLO = Path(__file__).parents[1] / "examples" / "hello.flac"
LJ = Path(__file__).parent / "ljspeech_transcripts.csv"
SPOKEN = "Hello. I am a portrait, and this is my voice. Everything you see was made on your own computer."


# Figures and intervals


def test_the_area_is_one_for_what_is_apart_and_half_for_what_is_alike() -> None:
    assert area([3, 4, 5], [0, 1, 2]) == 1
    assert area([0, 1, 2], [3, 4, 5]) == 0
    assert area([1, 1, 1], [1, 1]) == 0.5
    assert area([1, 3], [2]) == 0.5
    assert np.isnan(area([], [1]))


def test_areas_are_compared_on_the_same_phones() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.normal(1, 1, 60), rng.normal(0, 1, 80)

    ours, loud, gain = compared_areas((above, below), (above, below))

    assert ours == loud
    assert ours.low < ours.value < ours.high
    assert ours.low < 0.76 < ours.high  # what two normal distributions one standard deviation apart have
    assert gain == Interval(0)


def test_too_few_phones_have_no_area() -> None:
    assert np.isnan(compared_areas((np.ones(2), np.ones(9)), (np.ones(2), np.ones(9)))[0].value)


def test_the_interval_of_a_mean_holds_it_and_narrows_with_more_clips() -> None:
    rng = np.random.default_rng(0)
    few, many = mean(rng.normal(5, 1, 20)), mean(rng.normal(5, 1, 2000))

    assert few.low < 5 < few.high
    assert many.low < 5 < many.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert mean([1, 3, np.nan]).value == 2
    assert np.isnan(mean([7.0]).low)
    assert np.isnan(mean([]).value)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    found = [mean(rng.normal(0, 1, 30), seed=seed) for seed in range(100)]

    assert 86 <= sum(one.low < 0 < one.high for one in found) <= 100


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)

    assert mean(values, seed=1) == mean(values, seed=1) != mean(values, seed=2)


def test_a_ratio_is_that_of_the_sums() -> None:
    assert ratio([1, 5], [2, 2]).value == 1.5
    assert np.isnan(ratio([], []).value)


def test_pooled_correlation_is_that_of_all_frames() -> None:
    rng = np.random.default_rng(0)
    signals = [rng.normal(size=50) for _ in range(6)]
    references = [signal + rng.normal(size=50) for signal in signals]

    found = intervals.pooled_correlation(signals, references)

    assert found.value == pytest.approx(correlation(np.concatenate(signals), np.concatenate(references)))
    assert found.low < found.value < found.high
    assert np.isnan(intervals.pooled_correlation([np.ones(9)], [np.arange(9.0)]).value)


def test_cells_are_short_for_people_and_exact_for_programs() -> None:
    assert [text(cell) for cell in (0.5, 12.34, 250.0, -0.001, float("nan"), 3, "a|b")] == [
        "0.50", "12.3", "250", "0.00", "–", "3", "a\\|b",
    ]  # fmt: skip
    assert text(Interval(0.5, 0.25, 0.75)) == "0.50 [0.25, 0.75]"
    assert plain(Interval(0.5)) == [0.5, None, None]
    assert Table("key", "T", ("a", "b"), [(1, 2.0)]).plain() == [{"a": 1, "b": 2.0}]


# Words


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("grid_bbaf2n", "bin blue at f two now"),
        ("s1_LGWZ_pwizzp", "place white in z zero please"),
        ("sria9s", "set red in a nine soon"),
        ("lgbkZa", "lay green by k zero again"),
    ],
)
def test_a_grid_name_is_its_sentence(name: str, sentence: str) -> None:
    assert words.grid_sentence(name) == sentence


@pytest.mark.parametrize("name", ["bbaf2", "bbaw2n", "bbaf0n", "xbaf2n", "LJ001-0001", "gridbbaf2n", "bbaf2n2"])
def test_other_names_are_no_grid_sentences(name: str) -> None:
    assert words.grid_sentence(name) is None


def test_transcripts_are_taken_beside_then_from_the_table_then_near_then_from_the_name(tmp_path: Path) -> None:
    sound = tmp_path / "bbaf2n.wav"
    assert words.transcript(sound, {}) == "bin blue at f two now"

    (tmp_path / "x_metadata.csv").write_text("bbaf2n|raw|near\nother|only\n\nbroken line\n")
    words.nearby_transcripts.cache_clear()
    assert words.transcript(sound, {}) == "near"
    assert words.transcript(tmp_path / "other.wav", {}) == "only"
    assert words.transcript(sound, {"bbaf2n": "table"}) == "table"

    (tmp_path / "bbaf2n.lab").write_text("lab\n")
    assert words.transcript(sound, {"bbaf2n": "table"}) == "lab"
    (tmp_path / "bbaf2n.txt").write_text("text\n")
    assert words.transcript(sound, {"bbaf2n": "table"}) == "text"


def test_the_table_of_lj_speech_lies_above_its_sounds(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "metadata.csv").write_text("LJ1|5|five\n")

    assert words.transcript(tmp_path / "wavs" / "LJ1.wav", {}) == "five"


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")

    for path in (tmp_path / "t.csv", tmp_path / "missing.csv"):
        with pytest.raises(InputError, match=path.name):
            words.read_transcripts(path)


def test_our_transcripts_can_be_read() -> None:
    table = words.read_transcripts(LJ)

    assert {"LJ001-0001", "LJ001-0016", "jfk"} <= set(table)
    assert table["LJ001-0002"] == "in being comparatively modern."


def test_words_are_parted_at_hyphens_and_not_at_apostrophes() -> None:
    assert words.words_in("“Don’t” — well-known, 'Tis 1455!") == ["don't", "well", "known", "tis", "1455"]


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("wood", "W UH D"),
        ("woodcutters", "W UH D K AH T ER Z"),
        ("shapeliness", "SH EY P L IY N AH S"),
        ("cuts", "K AH T S"),
        ("baked", "B EY K T"),
        ("cutting", "K AH T IH NG"),
        ("wood's", "W UH D Z"),
        ("xyzzy", None),
        ("1455", None),
    ],
)
def test_unknown_words_are_spelled_from_known_ones(word: str, phones: str | None) -> None:
    known = {"wood": "W UH D", "cut": "K AH T", "cutters": "K AH T ER Z", "bake": "B EY K", "shape": "SH EY P"}

    assert words.spell(word, known.get) == phones


# Alignment


def test_given_times_win_in_either_alphabet(tmp_path: Path) -> None:
    sound, times = tmp_path / "bbaf2n.wav", tmp_path / "bbaf2n.phones.json"
    wanted = [(0.0, 0.1, "sil"), (0.1, 0.2, "p"), (0.2, pytest.approx(0.316), "aa"), (pytest.approx(0.316), 0.4, "iy")]
    wanted.append((0.4, 0.5, "sil"))

    times.write_text(json.dumps([[0, 0.1, "SIL"], [0.1, 0.2, "P"], [0.2, 0.4, "AY1"]]))
    arpabet = alignment.align(np.zeros(8000, np.float32), sound, {"bbaf2n": "never read"})
    times.write_text(json.dumps([[0, 0.1, ""], [0.1, 0.2, "p"], [0.2, 0.4, "aɪ"]]))
    ipa = alignment.align(np.zeros(8000, np.float32), sound, {})

    assert arpabet.source == ipa.source == "given"
    assert arpabet.segments == wanted
    assert [phone for *_, phone in ipa.segments] == ["sil", "p", "aa", "ih", "sil"]


@pytest.mark.parametrize(
    "content", ["{}", "[]", "[[1, 2]]", '[[0, 1, "P"], [0.5, 2, "P"]]', '[[0, 1, "Ωx"]]', "no", "[[NaN, 1, 1]]"]
)
def test_wrong_times_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.phones.json").write_text(content)

    with pytest.raises(InputError, match=r"a\.phones\.json"):
        alignment.read_times(tmp_path / "a.phones.json", 3.0)


def test_pocketsphinx_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)

    with pytest.raises(TalkingHeadError, match="pocketsphinx") as error:
        alignment.align_words(np.zeros(16_000, np.float32), "hello")

    assert error.value.hint == 'pip install "talkinghead[evaluation]"'


def test_long_sound_is_cut_where_it_is_quietest() -> None:
    samples = np.ones(70 * 16_000, np.float32)
    samples[20 * 16_000 : 21 * 16_000] = 0

    pieces = alignment.pieces(samples)

    assert 20 < pieces[0][1] / 16_000 < 21
    assert all(end - start <= 30.5 * 16_000 for start, end in pieces)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(samples)
    assert all(one[1] == other[0] for one, other in pairwise(pieces))


def test_hello_is_aligned() -> None:
    pytest.importorskip("pocketsphinx")
    samples = Speech.of(HELLO).samples

    found = alignment.align_words(samples, SPOKEN)
    guessed = alignment.align(samples, HELLO, {"hello": "A quick brown fox jumped over lazy dogs tomorrow morning."})

    starts = [start for start, *_ in found.segments]
    assert starts == sorted(starts)
    assert found.segments[-1][1] <= len(samples) / 16_000 + 0.01
    assert [phone for *_, phone in found.segments if phone != "sil"][2:6] == ["l", "ow", "uh", "aa"]
    assert found.score > alignment.FIT
    assert guessed.source == "recognised"
    assert "portrait" in guessed.words
    assert "transcript" in guessed.note


@needs_shared
def test_real_sentences_are_aligned_by_their_words() -> None:
    pytest.importorskip("pocketsphinx")
    path = SHARED / "data" / "clips" / "grid_sbia1a.mpg"

    found = alignment.align(Speech.of(path).samples, path, {})

    assert (found.source, found.words) == ("words", "set blue in a one again")
    (closed,) = [start for start, _, phone in found.segments if phone == "b"]
    assert closed == pytest.approx(0.81, abs=0.05)


# Phones


def spoken(phones: str, least: float) -> Spoken:
    names = phones.split()
    values = least + 0.001 * np.arange(len(names))
    return Spoken(np.array(names), values, values, values, values, np.ones(len(names), bool))


def test_lips_that_shut_for_a_neighbour_are_told_from_lips_that_shut_by_mistake() -> None:
    mouth = Mouth(np.zeros(75), np.zeros(75), np.zeros(75))
    row = ["ah", "t", "p", "t", "m", "m", "k", "ah", "n", "ah", "d", "sil", "p", "t", "t", "sil"]

    found = Spoken.of([(i / 10, (i + 1) / 10, phone) for i, phone in enumerate(row)], mouth)

    assert len(Spoken.of([], mouth).alone) == 0
    assert list(found.phones[found.alone]) == ["ah", "p", "ah", "n", "ah", "d", "p", "t"]
    opened = replace(found, least=np.where(found.alone, 0.5, 0.0))
    stops = ("t", "k", "n", "d")
    assert closed_share(opened, stops).value == pytest.approx(4 / 7)
    assert closed_share(opened, stops, alone=True).value == 0


def test_figures_are_taken_within_the_phone() -> None:
    times = (np.arange(50) + 0.5) / 25
    gap = np.where((times > 1.0) & (times < 1.1), 0.0, 1.0)
    mouth = Mouth(gap, np.where(gap == 0, 0.8, 0.1), np.where(gap == 0, 0.5, 0.0))

    found = Spoken.of([(0.5, 0.7, "t"), (1.0, 1.1, "p"), (1.2, 1.22, "t"), (1.5, 1.6, "sil"), (1.95, 2.1, "t")], mouth)

    assert list(found.phones) == ["t", "p"]
    assert list(found.least) == [1, 0]
    assert found.rounding[1] > 0.4 > 0.2 > found.rounding[0]
    assert list(found.bite) == [0, 0.5]


def test_a_mouth_that_shows_a_contrast_has_an_area_of_one() -> None:
    shuts = Spoken.joined([spoken("p b m p b m", 0.0), spoken("t n k t n k", 0.5)])
    alike = spoken("p b m p b m t n k t n k", 0.5)

    closed, round_, bite = contrast_areas(shuts, alike, alike)

    assert closed.contrast == CONTRASTS[0].name
    assert closed.counts == (6, 6)
    assert closed.ours == Interval(1)
    assert closed.loudness.value == 1  # it rises through the row
    assert np.isnan(round_.ours.value)
    assert np.isnan(bite.ours.value)


def test_shares_of_shut_lips_are_counted() -> None:
    mouth = Spoken.joined([spoken("p b m", 0.0), spoken("p", 0.5), spoken("t n k", 0.5)])

    assert closed_share(mouth, BILABIALS).value == 0.75
    assert closed_share(mouth, STOPS).value == 0
    assert np.isnan(closed_share(mouth, ["f"]).value)


def test_phones_are_listed_by_their_gap() -> None:
    mouth = Spoken.joined([spoken("aa aa", 0.8), spoken("p", 0.0)])

    rows = phone_rows({"ours": mouth, "loudness": mouth})

    assert [(row.phone, row.said) for row in rows] == [("p", 1), ("aa", 2)]
    assert rows[0].target == 0
    assert np.isnan(rows[0].real)


def test_pauses_are_judged_inside_and_only_long_ones() -> None:
    segments = [(0.0, 1.01, "sil"), (1.01, 1.4, "aa"), (1.4, 1.6, "sil")]

    paused = inside_pauses(segments, 50)

    assert np.flatnonzero(paused).tolist() == list(range(3, 23))
    assert covered(segments, 50).sum() == 40


# Noise, blinks, heads, files


def test_noise_is_as_loud_as_asked_and_the_same_every_time() -> None:
    times = np.arange(32_000) / 16_000
    speech = Speech((0.3 * np.sin(2 * np.pi * 300 * times)).astype(np.float32))
    other = np.sin(2 * np.pi * 700 * times).astype(np.float32) * np.float32(0.01)

    found = in_noise("a", speech, [other], 10.0)

    for kind in ("white", "babble"):
        noise = found[kind].samples - speech.samples
        assert 10 * np.log10(np.mean(speech.samples**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)
        assert np.array_equal(found[kind].samples, in_noise("a", speech, [other], 10.0)[kind].samples)
        assert not np.array_equal(found[kind].samples, in_noise("b", speech, [other], 10.0)[kind].samples)
    assert in_noise("a", speech, [], -40.0)["white"].samples.max() <= 1


def test_a_blink_lasts_from_a_tenth_to_a_tenth() -> None:
    shut = np.zeros(100)
    shut[20:25] = [0.5, 1, 1, 1, 0.5]
    shut[60:63] = 0.3  # a glance down
    shut[98:] = 1  # cut off

    (duration,) = blink_durations(shut, 25.0)

    assert duration == pytest.approx((6 - 2 * 0.2) / 25)


def test_idle_motion_blinks_as_often_as_people_and_leaves_the_lips() -> None:
    motions = [add_idle(Motion.still(25 * 120), seed=seed) for seed in range(4)]

    found = compare_seeds(motions)

    assert found.minutes == 2
    assert 12 < found.blinks.mean() / found.minutes < 25
    assert 0.1 < np.median(found.durations) < 0.3
    assert found.lips < 0.01
    assert abs(found.alike) < 0.2
    assert (found.angles > 0.5).all()


def test_the_same_head_twice_is_alike() -> None:
    motion = add_idle(Motion.still(500), seed=0)

    assert compare_seeds([motion, motion]).alike == pytest.approx(1)
    assert np.isnan(compare_seeds([Motion.still(50)] * 2).alike)


def test_lips_that_change_with_the_seed_are_told() -> None:
    still = Motion.still(50)
    jaws = [np.full(50, 0.4, np.float32), np.full(50, 0.5, np.float32)]
    motions = []
    for jaw in jaws:
        expression = still.expression.copy()
        expression[:, INDEX["jawOpen"]] = jaw
        motions.append(Motion(expression, still.rotation, still.translation))

    assert compare_seeds(motions).lips == pytest.approx(0.25, rel=1e-4)


def test_head_movement_is_in_degrees() -> None:
    rotation = np.zeros((100, 3), np.float32)
    rotation[::2, 1] = np.radians(2)

    angles, speeds = head_movement(rotation, 25.0)

    assert angles == pytest.approx([0, 1, 0], abs=1e-5)
    assert speeds == pytest.approx([0, 50, 0], rel=0.01)


def test_folders_are_searched_and_every_file_has_its_own_name(tmp_path: Path) -> None:
    for name in ("a/one.wav", "a/one.flac", "b/two.mp4", "b/.hidden.wav", "b/notes.txt", "c/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    files, left_out = find_files([tmp_path, tmp_path / "a" / "one.wav", tmp_path / "c", tmp_path / "given.xyz"])

    names = [name for name, _ in files]
    assert len(names) == len(set(names)) == 4
    assert {"two", "given", str(Path("a", "one.wav"))} <= set(names)
    assert [(Path(item.name).name, item.part) for item in left_out] == [("c", "all")]
