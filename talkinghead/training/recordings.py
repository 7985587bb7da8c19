"""Speech that people recorded, with phone times found by forced alignment.

Synthesisers tell when they say what, but do not quite sound like people. Asterisk's telephone prompts do: four voices
of one speaker each, free for any use that names them, with their texts. Debian's packages:
asterisk-core-sounds-{en,es,fr,it} and asterisk-core-sounds-{en,es,fr,it}-g722. espeak-ng tells how a text is
pronounced, and pocketsphinx when; its English phones stand in for those of the other languages.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from ..audio import SAMPLE_RATE
from ..errors import InputError
from ..forced_alignment import PAUSE, AlignedPhone, align_phones, fit
from ..motion.phones import ipa
from ..types import Array
from .synthesisers import Utterance, as_utterance

SOUNDS = Path("/usr/share/asterisk/sounds")
TEXTS = Path("/usr/share/doc")
WORST_FIT = -30.0  # of phones to the sound: below it half of the texts were not what is said
LONGEST = 30.0  # seconds

# The phones of pocketsphinx's English model that sound most like those of the IPA.
_NEAREST = {
    letter: phone
    for phone, letters in {
        "AA": "aɑ", "AE": "æ", "AH": "ɐʌɤəɘ", "AO": "ɒɔ", "EH": "eɛ", "ER": "ɵɞøœɜɝɚ", "IH": "ɪɨɯᵻ", "IY": "iyʏ",
        "OW": "o", "UH": "ʊ", "UW": "uʉ", "P": "p", "B": "bɓβ", "M": "mɱ", "F": "fɸ", "V": "vʋ", "T": "tʈ",
        "D": "dɖɗɾ", "N": "nɳɲ", "NG": "ŋ", "K": "kqc", "G": "gɡɟɢçɠ", "HH": "hɦħʕxχɣʁʀ", "Y": "jʝ", "L": "lɫɭʎʟɬɮ",
        "R": "rɹɻɽ", "S": "s", "Z": "z", "SH": "ɕʂʃ", "ZH": "ʑʐʒ", "TH": "θ", "DH": "ð", "W": "wʍɥɰ",
    }.items()
    for letter in letters
}  # fmt: skip


@dataclass(frozen=True)
class RecordedVoice:
    """A person's recordings and their texts.

    speaker: the folder of Asterisk's sounds
    accent:  espeak-ng's voice that pronounces the texts
    """

    speaker: str
    language: str
    accent: str
    minutes: float
    credit: str

    @property
    def name(self) -> str:
        return f"asterisk_{self.language}"

    @property
    def licence(self) -> str:
        return f"CC-BY-SA-3.0, {self.credit}"

    def installed(self) -> bool:
        """Whether this machine has it, and what aligns it."""
        tools = shutil.which("espeak-ng") is not None and importlib.util.find_spec("pocketsphinx") is not None
        return tools and (SOUNDS / self.speaker).is_dir() and _texts_file(self.language).is_file()

    def speak(self, random: Random, count: int) -> list[Utterance]:
        """`count` recordings drawn at random, or all there are; those whose text is not what is said are left out."""
        texts = _texts(self.language)
        drawn = random.sample(sorted(texts), len(texts))
        said = (self._recording(name, texts[name]) for name in drawn)
        return list(islice((utterance for utterance in said if utterance is not None), count))

    def _recording(self, name: str, text: str) -> Utterance | None:
        path = SOUNDS / self.speaker / f"{name}.g722"
        if not path.is_file():
            return None
        samples = read_g722(path)
        words = pronounce(text, self.accent)
        if not words or not 0 < len(samples) <= LONGEST * SAMPLE_RATE:
            return None
        phones = align_ipa(samples, words)
        if phones is None or fit(phones) < WORST_FIT:
            return None
        letters = iter(letter for word in words for letter in word)
        segments = [(p.start, p.end, "" if p.name == PAUSE else next(letters)) for p in phones]
        return as_utterance(self.name, (samples * 32767).astype(np.int16), SAMPLE_RATE, segments, ipa)


RECORDINGS: tuple[RecordedVoice, ...] = (
    RecordedVoice("en_US_f_Allison", "en", "en-us", 40, "Allison Smith"),
    RecordedVoice("es_MX_f_Allison", "es", "es-419", 16, "Allison Smith"),
    RecordedVoice("fr_CA_f_June", "fr", "roa/fr", 16, "June Wallack"),
    RecordedVoice("it_IT_m_Carlo", "it", "it", 16, "Carlo Flora"),
)


def pronounce(text: str, accent: str) -> list[str]:
    """The words of `text` as IPA letters, one for each sound, by espeak-ng's voice `accent`."""
    command = ["espeak-ng", "-q", "--ipa", "-v", accent, text]
    spoken = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = ("".join(letter for letter in word if letter in _NEAREST) for word in spoken.split() if word[0] != "(")
    return [word for word in words if word]


def align_ipa(samples: Array, words: Sequence[str]) -> list[AlignedPhone] | None:
    """The phones of `words`, in IPA, and the pauses between them in `samples` [N]; None if they do not fit."""
    names = {f"ipa_{word}": " ".join(_NEAREST[letter] for letter in word) for word in words}
    try:
        phones = align_phones(samples, [f"ipa_{word}" for word in words], lambda name, _: names[name])
    except InputError:
        return None
    spoken = sum(phone.name != PAUSE for phone in phones)
    return phones if spoken == sum(map(len, words)) else None


def read_g722(path: Path) -> Array:
    """The samples [N] of a file of bare G.722 frames, which nothing but its name tells."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "g722", "-i", str(path), "-f", "f32le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


def _texts_file(language: str) -> Path:
    return TEXTS / f"asterisk-core-sounds-{language}" / f"core-sounds-{language}.txt.gz"


@lru_cache(maxsize=8)
def _texts(language: str) -> dict[str, str]:
    """What each recording says, by its name; remarks in brackets are not said, nor texts that are remarks."""
    lines = gzip.decompress(_texts_file(language).read_bytes()).decode("utf-8", "replace").splitlines()
    named = (line.partition(":") for line in lines if not line.startswith(";"))
    texts = {name.strip(): re.sub(r"\[.*?\]|\(.*?\)", "", text).strip() for name, _, text in named}
    return {name: text for name, text in texts.items() if name and text}
