"""Speech with exact phone times, from the speech synthesisers found on this machine.

Tools for training only, run as programs of their own: nothing of them is shipped. Each voice is optional. Debian's
packages: espeak-ng, flite, festival with festvox-{kallpc16k,kdlpc16k,us-slt-hts,italp16k,itapc16k,czech-ph,
czech-dita,czech-machac,czech-krb,suopuhe-lj,suopuhe-mv,ca-ona-hts,ru}; licences are those of
/usr/share/doc/*/copyright. Packages of Python: those of kokoro.py.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..motion.phones import Reader, Segment, arpabet, correct_late_stops, ipa, read_segments, russian, sampa
from . import espeak, kokoro
from .pauses import settle_pauses
from .sentences import sentence

BATCH = 20  # sentences per start of a program
PEAK = 0.7  # every utterance is scaled to it
LONGEST_DISAGREEMENT = 0.15  # seconds between the end of the last phone and of the sound; more is a broken list


@dataclass(frozen=True, eq=False)
class Utterance:
    """One thing said.

    samples:  [N] int16 at 16 kHz
    segments: (start, end, phone) in seconds, canonical phones without gaps
    voice:    the name of the Voice that said it
    """

    samples: NDArray[np.int16]
    segments: tuple[Segment, ...]
    voice: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE


class Voice(Protocol):
    """A voice that can be asked to say random sentences."""

    @property
    def name(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def minutes(self) -> float: ...

    def installed(self) -> bool:
        """Whether this machine has it."""
        ...

    def speak(self, random: Random, count: int) -> list[Utterance]:
        """Say `count` sentences; those whose phone times are broken are left out."""
        ...


@dataclass(frozen=True)
class FliteVoice:
    """A voice of CMU flite; `minutes` weighs it against the others in a corpus."""

    voice: str
    minutes: float
    language: str = "en"
    licence: str = "CMU (BSD-like)"

    @property
    def name(self) -> str:
        return f"flite_{self.voice}"

    def installed(self) -> bool:
        return self.voice in _flite_voices()

    def speak(self, random: Random, count: int) -> list[Utterance]:
        with tempfile.TemporaryDirectory() as folder:
            said = (self._say(random, Path(folder) / "said.wav") for _ in range(count))
            return [utterance for utterance in said if utterance]

    def _say(self, random: Random, wav: Path) -> Utterance | None:
        text = " ".join(sentence(random, self.language) for _ in range(random.choice((1, 1, 2))))
        stretch = f"duration_stretch={random.uniform(0.78, 1.25):.2f}"
        command = ["flite", "-voice", self.voice, "--setf", stretch, "-psdur", "-t", text, "-o", str(wav)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return _utterance(self.name, *_read_wav(wav), _from_ends(_flite_ends(listed)), arpabet)


@dataclass(frozen=True)
class FestivalVoice:
    """A voice of festival."""

    voice: str
    minutes: float
    language: str
    licence: str
    reader: Reader

    @property
    def name(self) -> str:
        return f"festival_{self.voice}"

    def installed(self) -> bool:
        return self.voice in _festival_voices()

    def speak(self, random: Random, count: int) -> list[Utterance]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            script = [f"(voice_{self.voice})"]
            for index in range(count):
                script += [
                    f"(Parameter.set 'Duration_Stretch {random.uniform(0.8, 1.2):.2f})",
                    f'(set! said (SynthText "{sentence(random, self.language)}"))',
                    f'(utt.save.wave said "{folder}/{index}.wav")',
                    f'(utt.save.segs said "{folder}/{index}.segs")',
                ]
            program = folder / "say.scm"
            program.write_text("\n".join(script), encoding="utf-8")
            subprocess.run(["festival", "-b", str(program)], capture_output=True, check=False)
            said = (self._read(folder / f"{index}.wav", folder / f"{index}.segs") for index in range(count))
            return [utterance for utterance in said if utterance]

    def _read(self, wav: Path, segs: Path) -> Utterance | None:
        """One sentence of a batch; festival stops at the first that its voice cannot say, the rest is missing."""
        if not (wav.is_file() and segs.is_file()):
            return None
        rows = [line.split() for line in segs.read_text(encoding="utf-8", errors="replace").splitlines()]
        ends = [(float(row[0]), row[2]) for row in rows if len(row) == 3]
        return _utterance(self.name, *_read_wav(wav), _from_ends(ends), self.reader)


@dataclass(frozen=True)
class EspeakVoices:
    """All of espeak-ng: many languages, times voices, rates, pitches and liveliness, drawn at random."""

    minutes: float
    name: str = "espeak"
    language: str = "en and 18 others"
    licence: str = "GPL-3.0-or-later"

    ACCENTS: ClassVar[tuple[str, ...]] = (
        *("en-us",) * 5, *("gmw/en",) * 3, "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029",
    )  # fmt: skip
    LANGUAGES: ClassVar[tuple[tuple[str, str], ...]] = (  # espeak-ng's voice, and the language of its sentences
        ("de", "de"), ("es", "es"), ("es-419", "es"), ("it", "it"), ("roa/fr", "fr"), ("roa/fr", "fr"), ("pl", "pl"),
        ("pt-br", "pt"), ("sv", "sv"), ("nl", "nl"), ("ro", "ro"), ("tr", "tr"), ("fi", "fi"), ("hu", "hu"),
        ("cs", "cs"), ("el", "el"), ("sw", "sw"), ("id", "id"), ("ca", "ca"), ("sit/cmn-Latn-pinyin", "cmn"),
        ("sit/cmn-Latn-pinyin", "cmn"),
    )  # fmt: skip
    VARIANTS: ClassVar[tuple[str, ...]] = (
        "f2", "f3", "f4", "f5", "m2", "m3", "m4", "m6", "m7", "klatt2", "klatt4", "anika", "grandma", "grandpa",
        "Alicia", "Andy", "Michael", "belinda", "max", "steph", "zac", "whisperf",
    )  # fmt: skip

    def installed(self) -> bool:
        try:
            ctypes.CDLL(espeak.LIBRARY)
        except OSError:
            return False
        return True

    def speak(self, random: Random, count: int) -> list[Utterance]:
        requests = [self._request(random) for _ in range(count)]
        with tempfile.TemporaryDirectory() as name:
            asked, answered = Path(name) / "requests.json", Path(name) / "out.npz"
            asked.write_text(json.dumps(requests), encoding="utf-8")
            command = [sys.executable, "-m", "talkinghead.training.espeak", str(asked), str(answered)]
            subprocess.run(command, check=True, capture_output=True)
            with np.load(answered) as arrays:
                said = [self._read(dict(arrays), index) for index in range(count) if f"samples{index}" in arrays]
        return [utterance for utterance in said if utterance]

    def _request(self, random: Random) -> dict[str, str | int]:
        english = random.random() < 0.5
        voice, code = (random.choice(self.ACCENTS), "en") if english else random.choice(self.LANGUAGES)
        if code not in ("en", "cmn") and random.random() < 0.4:
            code = "en"  # English words read by the rules of another language: other words than pseudo-words give
        variant = random.choice(("", *(f"+{name}" for name in self.VARIANTS)))
        return {
            "text": sentence(random, code),
            "voice": voice + variant,
            "rate": random.randint(125, 230),
            "pitch": random.randint(20, 80),
            "range": random.randint(20, 90),
        }

    def _read(self, arrays: dict[str, NDArray[np.int16]], index: int) -> Utterance | None:
        samples, rate = arrays[f"samples{index}"], int(arrays["rate"])
        events = json.loads(str(arrays[f"events{index}"]))
        if len(samples) < rate / 2 or not events:
            return None
        starts = [start for start, _ in events]
        ends = [*starts[1:], len(samples) / rate]
        segments = [(s, e, symbol) for (s, symbol), e in zip(events, ends, strict=True) if e > s]
        if starts[0] > 0:
            segments.insert(0, (0.0, starts[0], ""))
        return _utterance(self.name, samples, rate, correct_late_stops(segments), ipa)


@dataclass(frozen=True)
class _NeuralVoice:
    minutes: float
    licence: str = "Apache-2.0"

    def installed(self) -> bool:
        return kokoro.installed()

    def speak(self, random: Random, count: int) -> list[Utterance]:
        said = (self._say(random) for _ in range(count))
        return [utterance for utterance in said if utterance]

    def _say(self, random: Random) -> Utterance | None:
        raise NotImplementedError


@dataclass(frozen=True)
class HibariVoice(_NeuralVoice):
    """hibari's American voice; see kokoro.py."""

    name: str = "hibari"
    language: str = "en"

    def _say(self, random: Random) -> Utterance | None:
        voice = kokoro.hibari()
        phonemes = voice.phonemes(sentence(random, self.language))
        return _spoken(self.name, voice(phonemes, random.uniform(0.8, 1.25), random.getrandbits(32)))


@dataclass(frozen=True)
class KokoroVoices(_NeuralVoice):
    """Kokoro-82M: five voices and random mixtures of them, in five languages; see kokoro.py."""

    name: str = "kokoro"
    language: str = "en, es, fr, it, pt"

    ENGLISH: ClassVar[float] = 0.7  # share of sentences
    LANGUAGES: ClassVar[tuple[tuple[str, str], ...]] = (("es", "es"), ("fr-fr", "fr"), ("it", "it"), ("pt-br", "pt"))

    def installed(self) -> bool:
        return super().installed() and shutil.which("espeak-ng") is not None

    def _say(self, random: Random) -> Utterance | None:
        if random.random() < self.ENGLISH:
            phonemes = kokoro.hibari().phonemes(sentence(random, "en"))
        else:
            rules, code = random.choice(self.LANGUAGES)
            phonemes = kokoro.espeak_phonemes(sentence(random, code), rules)
        voice = kokoro.kokoro()
        return _spoken(self.name, voice(phonemes, voice.style(random), random.uniform(0.8, 1.25)))


_CMU, _LGPL2 = "CMU/CSTR (BSD-like)", "LGPL-2.0-or-later"
_GPL2, _GPL3 = "GPL-2.0-or-later", "GPL-3.0-or-later"

VOICES: tuple[Voice, ...] = (
    EspeakVoices(45),
    KokoroVoices(60),
    HibariVoice(26),
    FliteVoice("slt", 26),
    FliteVoice("rms", 26),
    FliteVoice("awb", 26),
    FliteVoice("kal16", 6),
    FestivalVoice("kal_diphone", 8, "en", _CMU, arpabet),
    FestivalVoice("cmu_us_slt_arctic_hts", 16, "en", _CMU, arpabet),
    FestivalVoice("lp_diphone", 9, "it", _GPL2, sampa),
    FestivalVoice("pc_diphone", 9, "it", _GPL2, sampa),
    FestivalVoice("suo_fi_lj_diphone", 7, "fi", _LGPL2, sampa),
    FestivalVoice("hy_fi_mv_diphone", 7, "fi", _LGPL2, sampa),
    FestivalVoice("czech_ph", 6, "cs", _GPL2, sampa),
    FestivalVoice("czech_dita", 5, "cs", _GPL3, sampa),
    FestivalVoice("czech_machac", 5, "cs", _GPL3, sampa),
    FestivalVoice("czech_krb", 4, "cs", _GPL3, sampa),
    FestivalVoice("upc_ca_ona_hts", 12, "ca", "LGPL-2.1-or-later", sampa),
    FestivalVoice("ked_diphone", 7, "en", _CMU, arpabet),
    FestivalVoice("msu_ru_nsh_clunits", 9, "ru", "BSD-like", russian),
)
HELD_OUT = frozenset(("festival_ked_diphone", "festival_msu_ru_nsh_clunits"))  # never trained on: they judge


def speak_for(voice: Voice, random: Random, seconds: float) -> Iterator[Utterance]:
    """Let `voice` speak until `seconds` are full. Raises RuntimeError if it says nothing that can be used."""
    total = 0.0
    while total < seconds:
        said = voice.speak(random, max(2, min(BATCH, int((seconds - total) / 4) + 1)))
        if not said:
            raise RuntimeError(f"{voice.name} said nothing that can be used")
        for utterance in said:
            if total < seconds:
                total += utterance.duration
                yield utterance


def _from_ends(ends: list[tuple[float, str]]) -> list[Segment]:
    starts = [0.0, *(end for end, _ in ends[:-1])]
    return [(start, end, symbol) for start, (end, symbol) in zip(starts, ends, strict=True)]


def _flite_ends(listed: str) -> list[tuple[float, str]]:
    """Read flite's 'phone:end phone:end ...'; its clock starts again with each sentence of a text."""
    ends: list[tuple[float, str]] = []
    begin = last = 0.0
    for item in listed.split():
        symbol, _, time = item.rpartition(":")
        if float(time) < last:
            begin += last
        last = float(time)
        ends.append((begin + last, symbol))
    return ends


def _utterance(
    voice: str, samples: NDArray[np.int16], rate: int, segments: list[Segment], reader: Reader
) -> Utterance | None:
    """Bring a synthesiser's answer to 16 kHz and canonical phones; None if its phone times cannot be right."""
    import soxr

    if not segments or abs(segments[-1][1] - len(samples) / rate) > LONGEST_DISAGREEMENT:
        return None
    wave = samples.astype(np.float32)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    loudest = np.abs(wave).max()
    if loudest == 0:
        return None
    scaled = (wave * (PEAK * 32767 / loudest)).astype(np.int16)
    return Utterance(scaled, tuple(read_segments(segments, reader)), voice)


def _spoken(voice: str, said: kokoro.Spoken) -> Utterance | None:
    samples = (said.samples * (PEAK * 32767 / max(float(np.abs(said.samples).max()), 1e-6))).astype(np.int16)
    return _utterance(voice, samples, kokoro.RATE, settle_pauses(said.segments, said.samples, kokoro.RATE), ipa)


def _read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    import soundfile

    return soundfile.read(path, dtype="int16")  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _flite_voices() -> frozenset[str]:
    if shutil.which("flite") is None:
        return frozenset()
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=True).stdout
    return frozenset(listed.partition(":")[2].split())


@lru_cache(maxsize=1)
def _festival_voices() -> frozenset[str]:
    if shutil.which("festival") is None:
        return frozenset()
    command = ["festival", "-b", "(print (voice.list))"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return frozenset(listed.replace("(", " ").replace(")", " ").split())
