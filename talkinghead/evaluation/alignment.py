"""Which phone is said when: pocketsphinx finds the times of phones that are known from the words.

Times are given by NAME.phones.json beside a recording, else the words are aligned to the sound. Where they are not
known, or cannot be aligned, what pocketsphinx itself recognises is aligned instead: its words are often wrong, its
phones less so.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..errors import InputError, TalkingHeadError
from ..motion.phones import Segment, arpabet, read_segments
from ..motion.spoken import read_phones, read_timed
from ..types import Array
from .words import spell, transcript, words_in

LONGEST_PIECE = 30.0  # seconds that are recognised at once
SHORTEST_PIECE = 15.0
PAUSE = 0.3  # seconds of the quietest moment at which long sound is cut
# Seconds of silence added at both ends. Some sounds fail without, and then mostly not with it.
SILENCE_AROUND = (0.0, 0.2, 0.4)
FIT = -25.0  # score of right words: on 17 recordings they reached -10 to -22, wrong ones -31 to -65
BETTER = 8.0  # by which what is recognised must fit better than words that may be wrong
FRAME = 0.01  # seconds between pocketsphinx's frames

Source = Literal["given", "words", "recognised"]


class Alignment(NamedTuple):
    """The phones of a recording.

    segments: canonical phones; where nothing could be aligned there are none, not even silence
    words:    what was aligned; empty if times were given
    source:   where the phones come from
    score:    how well they fit the sound, per frame in which something is said: about -10 to -22 where words are right
    note:     why it is not from better known words; may be empty
    """

    segments: list[Segment]
    words: str
    source: Source
    score: float = 0.0
    note: str = ""


class Aligned(NamedTuple):
    """Phones with their times, and how well they fit the sound, per frame in which something is said."""

    segments: list[Segment]
    score: float


def import_extra(name: str) -> Any:
    """A package that only evaluation needs. Raises TalkingHeadError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{name} is not installed, which evaluation needs"
        raise TalkingHeadError(message, 'pip install "talkinghead[evaluation]"') from error


def given_times(path: Path) -> Path:
    """Where the phones of a recording may be given with their times."""
    return path.with_suffix(".phones.json")


def align(samples: Array, path: Path, transcripts: Mapping[str, str]) -> Alignment:
    """The phones in the sound `samples` [N] of the recording at `path`.

    Raises InputError if nothing can be aligned, TalkingHeadError if pocketsphinx is needed and not installed.
    """
    if given_times(path).is_file():
        return Alignment(read_times(given_times(path), len(samples) / SAMPLE_RATE), "", "given")
    text = transcript(path, transcripts)
    if text is None:
        return align_recognised(samples, path.name)
    try:
        known = align_words(samples, text)
    except InputError as error:
        return align_recognised(samples, path.name)._replace(note=f"its transcript cannot be used: {error}")
    if known.score < FIT:  # words of something else can mostly be aligned too
        try:
            guessed = align_recognised(samples, path.name)
        except InputError:
            guessed = None
        if guessed is not None and guessed.score > known.score + BETTER:
            return guessed._replace(note="its transcript does not fit its sound")
    return Alignment(known.segments, " ".join(words_in(text)), "words", known.score)


def align_recognised(samples: Array, name: str) -> Alignment:
    """The phones of what pocketsphinx hears, piece by piece; pieces that fail have none. Raises InputError."""
    segments: list[Segment] = []
    recognised: list[str] = []
    scores: list[float] = []
    failure = "no words were recognised"
    for start, end in pieces(samples):
        text = recognise(samples[start:end])
        try:
            found = align_words(samples[start:end], text)
        except InputError as error:
            failure = str(error)
            continue
        late = start / SAMPLE_RATE
        segments += [(late + first, late + last, phone) for first, last, phone in found.segments]
        recognised.append(text)
        scores.append(found.score)
    if not segments:
        raise InputError(f"{name}: its phones cannot be aligned: {failure}")
    return Alignment(segments, " ".join(recognised), "recognised", float(np.mean(scores)))


def align_words(samples: Array, text: str) -> Aligned:
    """Canonical phones of `text` with their times in `samples` [N]. Raises InputError."""
    words = words_in(text)
    if not words:
        raise InputError("there are no words to align")
    failure = ""
    for silence in SILENCE_AROUND:
        around = np.pad(samples, round(silence * SAMPLE_RATE))
        try:
            entries = _entries(words, _pcm(around))
        except RuntimeError as error:
            failure = f" ({error})"
            continue
        # The silence added goes again: what begins or ends in it begins or ends with the sound.
        first, last = round(silence / FRAME), round((silence + len(samples) / SAMPLE_RATE) / FRAME)
        clipped = [(max(entry.start, first), min(entry.start + entry.duration, last), entry) for entry in entries]
        phones = [
            ((start - first) * FRAME, (end - first) * FRAME, _symbol(entry.name))
            for start, end, entry in clipped
            if end > start
        ]
        spoken = [entry for entry in entries if _symbol(entry.name) != "pau"]
        if any(symbol != "pau" for *_, symbol in phones):
            score = sum(entry.score for entry in spoken) / sum(entry.duration for entry in spoken)
            return Aligned(read_segments(phones, arpabet), score)
    raise InputError(f"the words do not fit the sound{failure}")


def _entries(words: list[str], sound: bytes) -> list[Any]:
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


def recognise(samples: Array) -> str:
    """The words that pocketsphinx hears in `samples` [N]; often wrong, may be empty."""
    decoder = _decoder()
    try:
        _decode(decoder, _pcm(samples))
        words = [segment.word for segment in decoder.seg() or ()]
    except RuntimeError:  # nothing was heard
        return ""
    return " ".join(re.sub(r"\(\d+\)", "", word) for word in words if word[0] not in "<[+")


def pieces(samples: Array) -> list[tuple[int, int]]:
    """First and last sample of pieces of 15 to 30 seconds, cut where it is quietest."""
    window = round(PAUSE * SAMPLE_RATE)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    cuts = [0]
    while len(samples) - cuts[-1] > LONGEST_PIECE * SAMPLE_RATE:
        first = cuts[-1] + round(SHORTEST_PIECE * SAMPLE_RATE)
        last = min(cuts[-1] + round(LONGEST_PIECE * SAMPLE_RATE), len(samples) - window)
        sums = power[first + window : last] - power[first : last - window]
        cuts.append(first + int(np.argmin(sums)) + window // 2)
    return list(zip(cuts, [*cuts[1:], len(samples)], strict=True))


def read_times(path: Path, duration: float) -> list[Segment]:
    """Canonical phones of a sound of `duration` seconds from a file as `speak --phones` takes it. Raises InputError."""
    rows = read_timed(path)
    if not rows:
        raise InputError(f"{path.name}: holds no phones", 'give [[start, end, "P"], …] in seconds')
    try:
        return read_phones(rows, duration)
    except InputError as error:
        raise InputError(f"{path.name}: {error}", error.hint) from error


def _symbol(name: str) -> str:
    """A phone of pocketsphinx's in ARPAbet; noises and breaths are pauses."""
    return "pau" if name.startswith("+") or name == "SIL" else name


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
