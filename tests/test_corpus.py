"""The training corpus: phones, articulation, prosody, augmentation, and the making of shards."""

import json
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from talkinghead.blendshapes import INDEX, NAMES
from talkinghead.errors import OutputExists
from talkinghead.motion.articulation import (
    DOMINANCES,
    FRAMES_PER_SECOND,
    VISEMES,
    articulate,
    gap_per_weight,
    lip_gap,
    phone_per_frame,
)
from talkinghead.motion.phones import (
    BILABIALS,
    PHONES,
    arpabet,
    correct_late_stops,
    ipa,
    read_segments,
    russian,
    sampa,
)
from talkinghead.motion.prosody import Prosody, head_pose
from talkinghead.training import synthesisers
from talkinghead.training.augment import change_speed, degrade, music, noise, reverberate
from talkinghead.training.corpus import clips, make_corpus, plan
from talkinghead.training.sentences import FEW_WORDS, sentence
from talkinghead.training.synthesisers import HELD_OUT, VOICES, EspeakVoices, FliteVoice, Utterance, Voice, speak_for

RATE = 16_000


def plain_prosody(frames: int) -> Prosody:
    return Prosody(np.zeros(frames), np.zeros(frames), np.zeros(frames))


def said(*phones: str, each: float = 0.12, silence: float = 0.6) -> tuple[list[tuple[float, float, str]], int]:
    """Segments of `phones` between two silences, and the frames they fill."""
    durations = [silence, *[each] * len(phones), silence]
    ends = np.cumsum(durations)
    names = ("sil", *phones, "sil")
    segments = [
        (float(end - length), float(end), name) for end, length, name in zip(ends, durations, names, strict=True)
    ]
    return segments, int(ends[-1] * FRAMES_PER_SECOND)


def mouth(*phones: str, each: float = 0.12) -> tuple[np.ndarray, np.ndarray]:
    """What the face does and the phone of each frame."""
    segments, frames = said(*phones, each=each)
    return articulate(segments, frames, plain_prosody(frames)), phone_per_frame(segments, frames)


def voice_or_skip(name: str) -> Voice:
    voice = next(voice for voice in VOICES if voice.name == name)
    if not voice.installed():
        pytest.skip(f"{name} is not installed here")
    return voice


# phones


def test_there_is_a_viseme_and_a_dominance_for_every_phone():
    assert set(VISEMES) == set(DOMINANCES) == set(PHONES)
    assert len(PHONES) == len(set(PHONES)) == 31
    assert PHONES[0] == "sil"


@pytest.mark.parametrize(
    ("reader", "symbol", "phones"),
    [
        (arpabet, "AA1", ("aa",)),
        (arpabet, "jh", ("t", "sh")),
        (arpabet, "ay", ("aa", "iy")),
        (arpabet, "pau", ("sil",)),
        (sampa, "a1", ("aa",)),
        (sampa, "a:", ("aa",)),
        (sampa, "tS", ("t", "sh")),
        (russian, "mm", ("m",)),
        (russian, "yy", ("ih",)),
        (ipa, "əʊ", ("ax", "uh")),
        (ipa, "pʰ", ("p",)),
        (ipa, "t͡ʃ", ("t", "sh")),
        (ipa, "ɔ̃", ("ao",)),
        (ipa, "iː", ("iy",)),
        (ipa, "(fr)", ()),
        (ipa, "ʔ", ()),
        (ipa, "", ("sil",)),
    ],
)
def test_symbols_of_every_alphabet_are_read(reader, symbol, phones):
    assert reader(symbol) == phones


def test_every_symbol_of_every_table_gives_known_phones():
    from talkinghead.motion.phones import _ARPABET, _IPA, _RUSSIAN, _SAMPA

    for table in (_ARPABET, _SAMPA, _RUSSIAN, _IPA):
        assert {phone for phones in table.values() for phone in phones} <= set(PHONES)


@pytest.mark.parametrize(("reader", "symbol"), [(arpabet, "qq"), (sampa, "%"), (russian, "kh"), (ipa, "ж")])
def test_an_unknown_symbol_is_refused_by_name(reader, symbol):
    with pytest.raises(ValueError, match=symbol):
        reader(symbol)


def test_a_diphthong_holds_its_first_vowel_longer():
    assert read_segments([(0.0, 1.0, "ay")], arpabet) == [(0.0, 0.58, "aa"), (0.58, 1.0, "iy")]


def test_an_affricate_is_halved():
    assert read_segments([(0.0, 1.0, "ch")], arpabet) == [(0.0, 0.5, "t"), (0.5, 1.0, "sh")]


def test_pauses_are_joined_and_soundless_symbols_lengthen_the_phone_before():
    read = read_segments([(0.0, 0.1, "ʔ"), (0.1, 0.2, ""), (0.2, 0.4, "a"), (0.4, 0.5, "ʔ"), (0.5, 0.6, "p")], ipa)
    assert read == [(0.0, 0.2, "sil"), (0.2, 0.5, "aa"), (0.5, 0.6, "p")]


def test_espeaks_late_voiceless_stops_begin_earlier_at_the_cost_of_the_phone_before():
    late = [(0.0, 0.2, "a"), (0.2, 0.25, "pʰ"), (0.25, 0.40, "a"), (0.40, 0.5, "b")]
    assert correct_late_stops(late) == [
        (0.0, pytest.approx(0.158), "a"),
        (pytest.approx(0.158), 0.25, "pʰ"),
        (0.25, 0.40, "a"),
        (0.40, 0.5, "b"),  # voiced: on time already
    ]


def test_the_stop_correction_leaves_something_of_a_short_phone():
    corrected = correct_late_stops([(0.0, 0.02, "ə"), (0.02, 0.1, "t")])
    assert corrected == [(0.0, pytest.approx(0.008), "ə"), (pytest.approx(0.008), 0.1, "t")]


def test_without_the_correction_lips_close_late_on_espeaks_p(monkeypatch):
    """On espeak-ng's own sound: the closure of p lies before the reported time, after correction in the phone."""
    voice_or_skip("espeak")
    corrected = quiet_share_of_p()
    monkeypatch.setattr(synthesisers, "correct_late_stops", lambda segments: segments)

    assert corrected > 0.6 > 0.5 > quiet_share_of_p()


def quiet_share_of_p() -> float:
    """Share of the quiet moments around p in espeak-ng's sound that lie within p as it is told."""
    voice = EspeakVoices(1)
    request = {"text": "a pa upper copper happy paper", "voice": "en-us", "rate": 150, "pitch": 50, "range": 50}
    utterance = speak_requests(voice, [request])[0]
    power = np.convolve(utterance.samples.astype(float) ** 2, np.ones(160) / 160, "same")
    stops = [(start, end) for start, end, phone in utterance.segments if phone == "p"]
    assert len(stops) >= 5
    shares = []
    for start, end in stops:
        near = slice(int((start - 0.06) * RATE), int((end + 0.06) * RATE))
        closed = np.flatnonzero(power[near] < 0.01 * power.max()) + near.start
        shares.append(np.mean((closed > start * RATE) & (closed < end * RATE)))
    return float(np.mean(shares))


def speak_requests(voice: EspeakVoices, requests: list[dict]) -> list[Utterance]:
    """Let espeak-ng say exactly these."""

    class Fixed(EspeakVoices):
        def _request(self, random: Random) -> dict:
            return requests[random.randrange(len(requests))]

    return Fixed(voice.minutes).speak(Random(0), len(requests))


# articulation


@pytest.mark.parametrize("phone", sorted(BILABIALS))
@pytest.mark.parametrize("vowel", ["aa", "iy", "uw"])
def test_bilabials_close_the_lips_of_the_face_model_between_any_vowels(phone, vowel):
    expression, phones = mouth(vowel, phone, vowel)
    gap = lip_gap(expression)
    open_gap = lip_gap(mouth("aa", "aa", "aa")[0]).max()
    assert open_gap > 0.8  # cm
    assert np.abs(gap[phones == PHONES.index(phone)]).min() <= 0.05 * open_gap
    assert np.abs(np.median(gap[phones == PHONES.index(phone)])) <= 0.05 * open_gap


def test_bilabials_close_even_when_they_are_as_short_as_in_fast_speech():
    expression, phones = mouth("aa", "b", "aa", each=0.05)
    assert lip_gap(expression)[phones == PHONES.index("b")].min() < 0.05


def test_other_stops_leave_the_lips_apart():
    for phone in ("t", "k", "n", "s"):
        expression, phones = mouth("aa", phone, "aa")
        assert lip_gap(expression)[phones == PHONES.index(phone)].min() > 0.5  # cm


def test_labiodentals_bring_the_lip_to_the_teeth_without_closing():
    expression, phones = mouth("aa", "f", "aa")
    gap = np.median(lip_gap(expression)[phones == PHONES.index("f")])
    assert 0.1 < gap < 0.25
    assert expression[phones == PHONES.index("f"), INDEX["mouthRollLower"]].max() > 0.2


def test_the_mouth_rests_in_silence():
    segments, frames = said("aa", "t", "iy", silence=1.0)
    expression = articulate(segments, frames, plain_prosody(frames))
    assert np.abs(expression[: int(0.85 * FRAMES_PER_SECOND)]).max() == 0
    assert np.abs(expression[int(-0.85 * FRAMES_PER_SECOND) :]).max() == 0


def test_rounding_spreads_ahead_of_a_rounded_vowel():
    pucker = INDEX["mouthPucker"]
    rounded, phones = mouth("s", "t", "uw")
    spread, _ = mouth("s", "t", "iy")
    before = phones == PHONES.index("t")
    assert rounded[before, pucker].max() > 0.3
    assert spread[before, pucker].max() < 0.01


def test_loud_vowels_open_further_and_short_ones_less():
    segments, frames = said("aa")
    quiet = plain_prosody(frames)
    loud = replace(quiet, loudness=np.full(frames, 6.0))
    normal = lip_gap(articulate(segments, frames, quiet)).max()
    assert lip_gap(articulate(segments, frames, loud)).max() > 1.1 * normal
    assert lip_gap(mouth("aa", each=0.04)[0]).max() < 0.9 * normal


def test_weights_are_symmetric_in_range_and_never_close_a_mouth_that_is_not_open():
    random = Random(4)
    expression, _ = mouth(*random.choices(PHONES[1:], k=200), each=0.08)
    for name in NAMES:
        if name.endswith("Left"):
            np.testing.assert_array_equal(expression[:, INDEX[name]], expression[:, INDEX[name[:-4] + "Right"]])
    assert expression.min() >= 0
    assert expression.max() <= 1
    assert expression[:, INDEX["jawOpen"]].max() < 0.45
    opened = np.delete(expression, INDEX["mouthClose"], axis=1) @ np.delete(gap_per_weight(), INDEX["mouthClose"])
    closed = -expression[:, INDEX["mouthClose"]] * gap_per_weight()[INDEX["mouthClose"]]
    assert (closed <= np.maximum(opened, 0) + 1e-4).all()
    assert lip_gap(expression).min() > -1e-3
    assert np.abs(np.diff(expression, axis=0)).max() < 0.45  # no shape jumps in 20 ms


# prosody


def test_the_head_nods_on_loud_syllables_and_is_at_rest_on_average():
    seconds = np.arange(4 * RATE) / RATE
    loudness = np.where(np.floor(seconds / 0.4) % 5 == 2, 0.8, 0.15) * (np.sin(2 * np.pi * 2.5 * seconds) ** 2)
    samples = (loudness * np.sin(2 * np.pi * 150 * seconds)).astype(np.float32)
    prosody = Prosody.of(samples)
    pose = head_pose(prosody)
    assert pose.shape == (200, 6)
    assert pose[:, 0].mean() == pytest.approx(0, abs=1e-6)
    stressed = np.floor((np.arange(200) + 0.5) / 50 / 0.4) % 5 == 2
    assert pose[stressed, 0].mean() > pose[~stressed, 0].mean() + np.radians(0.3)
    assert np.abs(pose[:, 0]).max() < np.radians(4)
    assert not pose[:, 1:].any()


def test_brows_follow_a_rise_of_pitch():
    seconds = np.arange(3 * RATE) / RATE
    hertz = 120 * 2 ** (0.2 * np.exp(-(((seconds - 1.5) / 0.2) ** 2)))
    samples = (0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)).astype(np.float32)
    brows = Prosody.of(samples).brows
    assert 70 < brows.argmax() < 80
    assert brows.max() > 0.4
    assert brows[:40].max() < 0.1


def test_silence_has_no_accents():
    prosody = Prosody.of(np.zeros(RATE, np.float32))
    assert not prosody.accents.any()
    assert not prosody.brows.any()
    assert np.isfinite(prosody.loudness).all()


# augmentation


def test_degraded_sound_keeps_length_and_stays_in_range_and_is_the_same_for_a_seed():
    tone = np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE).astype(np.float32)
    babble = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32)
    for seed in range(12):
        first = degrade(tone, np.random.default_rng(seed), babble)
        again = degrade(tone, np.random.default_rng(seed), babble)
        assert first.shape == tone.shape
        assert first.dtype == np.float32
        assert np.abs(first).max() <= 1
        np.testing.assert_array_equal(first, again)


def test_reverberation_adds_a_tail_after_the_direct_sound():
    click = np.zeros(RATE)
    click[100] = 1
    heard = reverberate(click, np.random.default_rng(0))
    assert heard[100] == pytest.approx(1)
    assert np.abs(heard[:100]).max() < 1e-9
    assert np.abs(heard[101:3000]).max() > 0.005


def test_noise_and_music_fill_the_whole_length():
    random = np.random.default_rng(0)
    babble = random.standard_normal(3 * RATE)
    for wave in [noise(2 * RATE, random, babble) for _ in range(8)] + [music(2 * RATE, random)]:
        assert wave.shape == (2 * RATE,)
        assert np.isfinite(wave).all()
        assert (wave.reshape(8, -1).std(axis=1) > 0).all()


def test_faster_speech_is_shorter_and_higher():
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    faster = change_speed(tone, 1.1)
    assert len(faster) == pytest.approx(RATE / 1.1, abs=1)
    assert np.abs(np.fft.rfft(faster, RATE)).argmax() == pytest.approx(220, abs=1)


# sentences and voices


@pytest.mark.parametrize("language", ["en", "it", "fr", "ru", "cmn"])
def test_sentences_are_composed_in_each_language_and_repeat_with_the_seed(language):
    assert sentence(Random(5), language) == sentence(Random(5), language)
    assert len({sentence(Random(seed), language) for seed in range(20)}) == 20
    for seed in range(20):
        assert '"' not in sentence(Random(seed), language)  # it is put in quotes for festival


def test_the_small_word_list_holds_plain_words():
    assert len(set(FEW_WORDS)) == len(FEW_WORDS) > 150
    assert all(word.isalpha() and word.islower() for word in FEW_WORDS)


@pytest.mark.parametrize("name", [voice.name for voice in VOICES])
def test_every_voice_gives_phones_that_cover_its_sound(name):
    voice = voice_or_skip(name)
    utterances = list(speak_for(voice, Random(1), 8))
    assert sum(utterance.duration for utterance in utterances) >= 8
    for utterance in utterances:
        starts, ends, phones = zip(*utterance.segments, strict=True)
        assert starts == (0.0, *ends[:-1])
        assert ends[-1] == pytest.approx(utterance.duration, abs=0.16)
        assert set(phones) <= set(PHONES)
        assert np.abs(utterance.samples).max() > 10_000


def test_voices_say_the_same_for_the_same_seed():
    for name in ("espeak", "flite_slt"):
        voice = voice_or_skip(name)
        first, again = (voice.speak(Random(3), 3) for _ in range(2))
        assert [utterance.segments for utterance in first] == [utterance.segments for utterance in again]
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)


def test_a_synthesiser_that_is_not_there_is_not_installed(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    from talkinghead.training import synthesisers

    synthesisers._flite_voices.cache_clear()
    try:
        assert not FliteVoice("slt", 1).installed()
    finally:
        synthesisers._flite_voices.cache_clear()


# corpus


def test_every_voice_has_its_share_and_held_out_voices_are_never_trained_on():
    jobs = plan(VOICES, hours=3.5, seed=0, copies=2)
    assert sum(job.seconds for job in jobs) == pytest.approx(3.5 * 3600)
    assert len({job.file for job in jobs}) == len(jobs)
    assert {job.voice for job in jobs if job.split == "held_out"} == HELD_OUT
    assert not {job.voice for job in jobs if job.split in ("train", "validation")} & HELD_OUT


def test_clips_keep_sound_and_segments_together():
    beep = (np.sin(np.arange(RATE)) * 20_000).astype(np.int16)
    utterance = Utterance(beep, ((0.0, 1.0, "aa"),), "a voice")
    made = list(clips([utterance] * 20, np.random.default_rng(0), copies=2))
    assert len(made) >= 3
    for samples, segments in made:
        assert len(samples) % 320 == 0
        assert len(samples) >= 8 * RATE
        assert segments[-1][1] == pytest.approx(len(samples) / RATE)
        for (_, end, phone), (start, _, following) in pairwise(segments):
            assert end == pytest.approx(start, abs=1 / RATE)
            assert {phone, following} != {"sil"}
        for start, end, phone in segments:
            middle = samples[int((start + 0.01) * RATE) : int((end - 0.01) * RATE)]
            if end - start > 0.03:
                assert (np.abs(middle).max() > 0.1) == (phone == "aa")


@pytest.fixture(scope="module")
def tiny_corpus(tmp_path_factory):
    voice_or_skip("flite_kal16")
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, hours=20 / 3600, seed=1, voices=["flite_kal16"], progress=False)
    return folder


def test_a_corpus_holds_mels_motion_and_phones_of_equal_length(tiny_corpus):
    manifest = json.loads((tiny_corpus / "manifest.json").read_text())
    assert [shard["split"] for shard in manifest["shards"]] == ["train", "validation"]
    assert manifest["voices"]["flite_kal16"]["licence"]
    assert manifest["voices"]["flite_kal16"]["speech_seconds"] >= 20
    for shard in manifest["shards"]:
        with np.load(tiny_corpus / shard["file"]) as arrays:
            frames = int(arrays["lengths"].sum())
            assert frames == shard["frames"]
            assert arrays["mel"].shape == (2 * frames, 80)
            assert arrays["expression"].shape == (frames, 52)
            assert arrays["pose"].shape == (frames, 6)
            assert arrays["phones"].shape == (frames,)
            assert (arrays["lengths"] >= 8 * FRAMES_PER_SECOND).all()
            assert arrays["mel"].dtype == arrays["expression"].dtype == np.float16
            loud = arrays["mel"].astype(np.float32).reshape(frames, -1).mean(axis=1)
            speaking = arrays["phones"] != PHONES.index("sil")
            assert loud[speaking].mean() > loud[~speaking].mean() + 0.1


def test_a_corpus_is_the_same_for_the_same_seed_and_any_number_of_processes(tiny_corpus, tmp_path):
    make_corpus(tmp_path, hours=20 / 3600, seed=1, workers=2, voices=["flite_kal16"], progress=False)
    for path in tiny_corpus.glob("*.npz"):
        with np.load(path) as first, np.load(tmp_path / path.name) as again:
            for name in first.files:
                np.testing.assert_array_equal(first[name], again[name])


def test_an_interrupted_corpus_is_finished_without_making_what_is_there(tiny_corpus):
    kept, lost = tiny_corpus / "flite_kal16-0.npz", tiny_corpus / "flite_kal16-1.npz"
    before, bytes_lost = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    make_corpus(tiny_corpus, hours=20 / 3600, seed=1, voices=["flite_kal16"], progress=False)
    assert kept.stat().st_mtime_ns == before
    assert len(lost.read_bytes()) == len(bytes_lost)
    assert sorted(path.name for path in tiny_corpus.iterdir()) == [kept.name, lost.name, "manifest.json"]


def test_other_settings_do_not_mix_into_a_corpus(tiny_corpus):
    with pytest.raises(OutputExists, match="seed"):
        make_corpus(tiny_corpus, hours=20 / 3600, seed=2, voices=["flite_kal16"], progress=False)


def test_a_voice_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="voices unknown: nobody"):
        make_corpus(tmp_path / "out", hours=1, voices=["nobody"])
    with pytest.raises(ValueError, match="voices unknown: nobody"):
        make_corpus(tmp_path / "out", hours=1, without=["kokoro", "nobody"])
    with pytest.raises(ValueError, match="voices not installed: flite_slt"):
        make_corpus(tmp_path / "out", hours=1, voices=["flite_slt"], without=["flite_slt"])
    assert not (tmp_path / "out").exists()
