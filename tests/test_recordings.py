"""Speech that people recorded: its texts, its alignment, and its place in a corpus."""

import gzip
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random

import imageio_ffmpeg
import numpy as np
import pytest

from talkinghead.evaluation.alignment import align_words
from talkinghead.forced_alignment import PAUSE
from talkinghead.motion.phones import PHONES
from talkinghead.training import recordings
from talkinghead.training.corpus import SPEAKERS, plan
from talkinghead.training.recordings import RECORDINGS, RecordedVoice, align_ipa, pronounce, read_g722
from talkinghead.types import SAMPLE_RATE, Speech

HELLO = Path(__file__).parents[1] / "examples" / "hello.flac"
TEXT = "Hello. I am a portrait, and this is my voice. Everything you see was made on your own computer."
_IPA = "həloʊ aɪ æm ə pɔɹtɹət ænd ðɪs ɪz maɪ vɔɪs ɛvɹiθɪŋ ju si wʌz meɪd ɔn jɔɹ oʊn kəmpjutɚ"
WORDS = _IPA.split()
VOICE = RecordedVoice("en_US_f_Nobody", "en", "en-us", 1, "Nobody")


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of prompts as Debian's packages install them: one that says its text, one that does not, one missing."""
    folder = tmp_path / "sounds" / VOICE.speaker
    folder.mkdir(parents=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(HELLO), "-ar", "16000", "-f", "g722"]
    for name in ("hello", "other"):
        subprocess.run([*command, str(folder / f"{name}.g722")], check=True)
    lines = (f"hello: {TEXT} [a remark]", "; a comment: no", "other: telephone", "gone: gone", "beep: [a tone]")
    text = tmp_path / "doc" / "asterisk-core-sounds-en" / "core-sounds-en.txt.gz"
    text.parent.mkdir(parents=True)
    text.write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setattr(recordings, "SOUNDS", tmp_path / "sounds")
    monkeypatch.setattr(recordings, "TEXTS", tmp_path / "doc")
    said = {TEXT: WORDS, "telephone": ["tɛləfoʊn"], "gone": ["ɡɔn"]}
    monkeypatch.setattr(recordings, "pronounce", lambda text, _: said[text])
    recordings._texts.cache_clear()
    yield folder
    recordings._texts.cache_clear()


def test_a_prompt_that_says_its_text_is_spoken_and_others_are_left_out(prompts: Path) -> None:
    pytest.importorskip("pocketsphinx")

    (said,) = VOICE.speak(Random(0), 10)

    assert said.voice == "asterisk_en"
    assert said.duration == pytest.approx(len(Speech.of(HELLO).samples) / SAMPLE_RATE, abs=0.01)
    assert np.abs(said.samples).max() > 20_000  # as loud as those of synthesisers
    times = [time for start, end, _ in said.segments for time in (start, end)]
    assert times == sorted(times)
    assert {phone for *_, phone in said.segments} <= set(PHONES)
    assert [phone for *_, phone in said.segments if phone != "sil"][:8] == [
        "hh",
        "ax",
        "l",
        "ow",
        "uh",
        "aa",
        "ih",
        "ae",
    ]


def test_ipa_is_aligned_as_the_dictionary_is() -> None:
    pytest.importorskip("pocketsphinx")
    samples = Speech.of(HELLO).samples

    found = align_ipa(samples, WORDS)
    known = align_words(samples, TEXT).segments

    assert found is not None
    lips = [phone.start for phone in found if phone.name in ("P", "B", "M", "F", "V")]
    truly = [start for start, _, phone in known if phone in ("p", "b", "m", "f", "v")]
    assert lips == pytest.approx(truly, abs=0.05)
    assert sum(phone.name != PAUSE for phone in found) == sum(map(len, WORDS))


def test_g722_is_read_as_it_was_written(prompts: Path) -> None:
    read, written = read_g722(prompts / "hello.g722"), Speech.of(HELLO).samples
    late = 22  # samples that the codec's filters take
    length = min(len(read) - late, len(written))
    assert np.corrcoef(read[late : late + length], written[:length])[0, 1] > 0.95


def test_words_are_pronounced_in_ipa_letters_that_are_known() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    assert pronounce("Hello, voice 2!", "en-us") == ["həloʊ", "vɔɪs", "tu"]
    assert pronounce("", "en-us") == []
    assert all(
        set(word) <= set(recordings._NEAREST) for word in pronounce("Un bon vin blanc, s'il vous plaît.", "roa/fr")
    )


def test_without_its_folder_a_voice_is_not_installed(prompts: Path) -> None:
    assert not replace(VOICE, speaker="somebody_else").installed()
    assert not replace(VOICE, language="fr").installed()


def test_recordings_train_and_never_judge() -> None:
    jobs = [job for job in plan(SPEAKERS, hours=8, seed=0, copies=2) if job.voice.startswith("asterisk_")]
    assert {job.voice for job in jobs} == {voice.name for voice in RECORDINGS}
    assert {job.split for job in jobs} == {"train"}
    seconds = sum(job.seconds for job in jobs if job.voice == "asterisk_en")
    assert seconds == pytest.approx(8 * 3600 * 40 / sum(voice.minutes for voice in SPEAKERS))
