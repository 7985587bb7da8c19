"""Which phone is said when: pocketsphinx finds the times of phones that are known from the words.

Times are given by NAME.phones.json beside a recording, else the words are aligned to the sound. Where they are not
known, or cannot be aligned, what pocketsphinx itself recognises is aligned instead: its words are often wrong, its
phones less so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..audio import SAMPLE_RATE
from ..errors import InputError
from ..forced_alignment import align_phones, fit, recognise_words
from ..motion.phones import Reader, Segment, arpabet, ipa, read_segments
from ..types import Array
from .words import spell, transcript, words_in

LONGEST_PIECE = 30.0  # seconds that are recognised at once
SHORTEST_PIECE = 15.0
PAUSE = 0.3  # seconds of the quietest moment at which long sound is cut
SILENCES = ("", "sil", "sp", "spn", "pau", "_", "#")
FIT = -25.0  # score of right words: on 17 recordings they reached -10 to -22, wrong ones -31 to -65
BETTER = 8.0  # by which what is recognised must fit better than words that may be wrong

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


def given_times(path: Path) -> Path:
    """Where the phones of a recording may be given with their times."""
    return path.with_suffix(".phones.json")


def align(samples: Array, path: Path, transcripts: Mapping[str, str]) -> Alignment:
    """The phones in the sound `samples` [N] of the recording at `path`.

    Raises InputError if nothing can be aligned, TalkingHeadError if pocketsphinx is needed and not installed.
    """
    if given_times(path).is_file():
        return Alignment(read_times(given_times(path)), "", "given")
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
    phones = align_phones(samples, words, spell)
    return Aligned(
        read_segments(((phone.start, phone.end, phone.name or "pau") for phone in phones), arpabet), fit(phones)
    )


def recognise(samples: Array) -> str:
    """The words that pocketsphinx hears in `samples` [N]; often wrong, may be empty."""
    return " ".join(re.sub(r"\(\d+\)", "", word) for word in recognise_words(samples) if word[0] not in "<[+")


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


def read_times(path: Path) -> list[Segment]:
    """Canonical phones from a JSON list of [start, end, phone], in seconds and in ARPAbet or IPA.

    It is ARPAbet if all its phones may be. Raises InputError.
    """
    hint = 'give [[start, end, "P"], …] in seconds, with ARPAbet or IPA phones'
    try:
        rows = json.loads(path.read_text("utf-8"))
        phones = [(float(start), float(end), str(symbol)) for start, end, symbol in rows]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path.name}: not a list of phones: {error}", hint) from error
    times = np.array([time for start, end, _ in phones for time in (start, end)])
    if not phones or not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) < -1e-3).any():
        raise InputError(f"{path.name}: the times of its phones must rise from 0", hint)
    unknown = ""
    for reader in (arpabet, ipa):
        try:
            return read_segments(phones, partial(_read_symbol, reader))
        except ValueError as error:
            unknown = str(error)
    raise InputError(f"{path.name}: {unknown}", hint)


def _read_symbol(reader: Reader, symbol: str) -> tuple[str, ...]:
    return ("sil",) if symbol.lower() in SILENCES else reader(symbol)
