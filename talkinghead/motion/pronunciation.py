"""How English words are said: their phones from the CMU dictionary, and how a word's time is shared between them.

The dictionary comes with the package pocketsphinx (the extra "evaluation"): ARPAbet without stress, BSD licence. Only
the file is read, nothing is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from ..errors import InputError

DICTIONARY = Path("en-us") / "cmudict-en-us.dict"  # in pocketsphinx's folder of models

# Inherent durations in milliseconds (Klatt, "Synthesis by rule of segmental durations in English sentences", 1979;
# also Allen, Hunnicutt and Klatt, "From Text to Speech: The MITalk System", 1987, chapter 9). AH is as long as
# between his stressed and unstressed one, since the dictionary does not tell them apart.
DURATIONS: dict[str, int] = {
    "AA": 240, "AE": 230, "AH": 120, "AO": 240, "AW": 240, "AY": 250, "EH": 150, "ER": 180, "EY": 180, "IH": 135,
    "IY": 155, "OW": 220, "OY": 280, "UH": 160, "UW": 210,
    "B": 85, "CH": 110, "D": 75, "DH": 50, "F": 100, "G": 80, "HH": 80, "JH": 100, "K": 80, "L": 80, "M": 70, "N": 60,
    "NG": 95, "P": 90, "R": 80, "S": 105, "SH": 105, "T": 75, "TH": 90, "V": 60, "W": 80, "Y": 80, "Z": 75, "ZH": 70,
}  # fmt: skip
VOWELS = frozenset(list(DURATIONS)[:15])
FINAL = 1.4  # clause-final lengthening of the last vowel and what follows it, before a pause (Klatt's rule 2)


def pronounce(text: str) -> list[str]:
    """The ARPAbet phones of one word, as a text-to-speech program gives it; none for punctuation alone.

    Words joined by a hyphen are looked up together, then apart.

    Raises InputError for a word that is not in the dictionary, or if the dictionary is not installed.
    """
    word = re.sub(r"^[^\w']+|[^\w']+$", "", text.lower().replace("’", "'"))
    if not re.search(r"\w", word):
        return []
    words = dictionary()
    phones: list[str] = []
    for part in [word] if word in words else re.split(r"[-–—_\s]+", word):
        # Quotation marks are taken off only where the word is not written with them, as 'em is.
        spelt = next((form for form in (part, part.strip("'")) if form in words), None)
        if spelt is None:
            hint = "spell it with words of the CMU dictionary, or give the times of its phones as phones="
            raise InputError(f"words: {text!r:.40} is not in the pronouncing dictionary", hint)
        phones += words[spelt].split()
    return phones


@lru_cache(maxsize=1)
def dictionary() -> dict[str, str]:
    """The ARPAbet phones of 130 000 English words, the first pronunciation of each. Raises InputError."""
    try:
        folder = import_module("pocketsphinx").get_model_path()
        text = (Path(folder) / DICTIONARY).read_text("utf-8")
    except (ImportError, OSError) as error:
        message = "words: the pronouncing dictionary is not installed: it comes with pocketsphinx"
        raise InputError(message, 'pip install "talkinghead[evaluation]", or give phones=') from error
    entries = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {word: phones for word, phones in entries if not word.endswith(")")}


def spread(phones: Sequence[str], start: float, end: float, *, final: bool) -> list[tuple[float, float, str]]:
    """`phones` of one word from `start` to `end` in proportion to how long they usually are.

    final: the word stands before a pause, where its last vowel and what follows are drawn out
    """
    vowels = [index for index, phone in enumerate(phones) if phone in VOWELS]
    last = vowels[-1] if final and vowels else len(phones)
    lengths = [DURATIONS[phone] * (FINAL if index >= last else 1.0) for index, phone in enumerate(phones)]
    scale = (end - start) / sum(lengths)
    times = [start]
    for length in lengths[:-1]:
        times.append(times[-1] + length * scale)
    return list(zip(times, [*times[1:], end], phones, strict=True))
