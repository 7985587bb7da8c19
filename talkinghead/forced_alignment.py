"""Forced alignment: when each phone of known words is said. pocketsphinx finds the times.

samples, words -> phones with their times, pauses among them
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, TalkingHeadError
from .types import SAMPLE_RATE, Array

PAUSE = "pau"  # ARPAbet for a pause, a noise or a breath
# Seconds of silence added at both ends. Some sounds fail without, and then mostly not with it.
SILENCE_AROUND = (0.0, 0.2, 0.4)
FRAME = 0.01  # seconds between pocketsphinx's frames

Lookup = Callable[[str], str | None]
# The sounds of a word, in ARPAbet, or None if they are not known; may ask for those of words in the dictionary.
Spell = Callable[[str, Lookup], str | None]


class AlignedPhone(NamedTuple):
    """A phone of pocketsphinx's (ARPAbet without stress, or PAUSE), its times in seconds, its score in each frame."""

    name: str
    start: float
    end: float
    score: float


def import_extra(name: str) -> Any:
    """A package that only evaluation and training need. Raises TalkingHeadError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{name} is not installed, which evaluation needs"
        raise TalkingHeadError(message, 'pip install "talkinghead[evaluation]"') from error


def align_phones(samples: Array, words: Sequence[str], spell: Spell) -> list[AlignedPhone]:
    """The phones of `words` in `samples` [N] at 16 kHz, and the pauses between.

    spell: the sounds of words that the English dictionary does not have

    Raises InputError if they cannot be found, TalkingHeadError if pocketsphinx is not installed.
    """
    failure = ""
    for silence in SILENCE_AROUND:
        around = np.pad(samples, round(silence * SAMPLE_RATE))
        try:
            entries = _entries(words, spell, _pcm(around))
        except RuntimeError as error:
            failure = f" ({error})"
            continue
        # The silence added goes again: what begins or ends in it begins or ends with the sound.
        first, last = round(silence / FRAME), round((silence + len(samples) / SAMPLE_RATE) / FRAME)
        phones = [_clipped(entry, first, last) for entry in entries]
        phones = [phone for phone in phones if phone.end > phone.start]
        if any(phone.name != PAUSE for phone in phones):
            return phones
    raise InputError(f"the words do not fit the sound{failure}")


def fit(phones: Sequence[AlignedPhone]) -> float:
    """How well phones fit the sound, per frame in which something is said: about -10 to -22 where words are right."""
    spoken = [phone for phone in phones if phone.name != PAUSE]
    seconds = sum(phone.end - phone.start for phone in spoken)
    return sum(phone.score * (phone.end - phone.start) for phone in spoken) / seconds


def recognise_words(samples: Array) -> list[str]:
    """The words that pocketsphinx hears in `samples` [N], and its marks of pauses and noises; may be empty."""
    decoder = _decoder()
    try:
        _decode(decoder, _pcm(samples))
        return [segment.word for segment in decoder.seg() or ()]
    except RuntimeError:  # nothing was heard
        return []


def _entries(words: Sequence[str], spell: Spell, sound: bytes) -> list[Any]:
    """pocketsphinx's phones of `words`: name, start, duration, score. Raises RuntimeError if it fails, InputError."""
    decoder = _decoder(lm=None)
    for word in words:
        if decoder.lookup_word(word) is None:
            spelled = spell(word, decoder.lookup_word)
            if spelled is None:
                raise InputError(f"{word!r:.40} is not in the dictionary")
            decoder.add_word(word, spelled, True)
    decoder.set_align_text(" ".join(words))
    _decode(decoder, sound)  # finds the words; the second pass finds the phones in them
    decoder.set_alignment()
    _decode(decoder, sound)
    return [phone for word in decoder.get_alignment() or () for phone in word]


def _clipped(entry: Any, first: int, last: int) -> AlignedPhone:
    """A phone of pocketsphinx's as far as it lies in the frames `first` to `last`, in seconds from the first."""
    name = PAUSE if entry.name.startswith("+") or entry.name == "SIL" else entry.name
    start, end = max(entry.start, first) - first, min(entry.start + entry.duration, last) - first
    return AlignedPhone(name, start * FRAME, end * FRAME, entry.score / max(1, entry.duration))


def _decoder(**settings: Any) -> Any:
    """A fresh one: a decoder adapts to what it has heard, and files must not depend on their order."""
    return import_extra("pocketsphinx").Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", **settings)


def _decode(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _pcm(samples: Array) -> bytes:
    pcm: NDArray[np.int16] = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return pcm.tobytes()
