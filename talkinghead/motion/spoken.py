"""Speech whose phones or words are known with their times: the face follows them, no network listens.

Text-to-speech programs know when they say what: phones, or at least words. From those the articulation model makes
exactly the shapes that the motion network only estimates from the sound.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..files import local_path, open_regular
from ..types import Array, Motion, Speech
from .articulation import FRAMES_PER_SECOND, articulate
from .phones import PHONE_INDEX, Reader, Segment, arpabet, ipa, read_segments
from .pronunciation import pronounce, spread
from .prosody import HOP, Prosody, head_pose
from .style import NEUTRAL

FPS = 25.0
OVERLAP = 0.02  # seconds by which a phone or word may begin before the one before it ends
BEYOND = 0.5  # seconds by which times may lie outside the sound
JOINED_PHONES = 0.02  # seconds between two phones that are no silence
JOINED_WORDS = 0.1  # the same between two words
LARGEST_FILE = 50_000_000  # bytes
SILENCES = ("", "sil", "sp", "spn", "pau", "_", "#")

Timed = Sequence[tuple[float, float, str]]  # start and end in seconds, and a phone or a word

_PHONES_HINT = "give [(start, end, symbol), …] in seconds, all in ARPAbet (HH AH0 L OW1) or all in IPA (h ə l oʊ)"
_WORDS_HINT = 'give [(start, end, "word"), …] in seconds'


class _Kind(NamedTuple):
    """What a list of times holds: how to call it, what to do about mistakes, and gaps that are no silence."""

    name: str
    hint: str
    joined: float


_PHONES = _Kind("phones", _PHONES_HINT, JOINED_PHONES)
_WORDS = _Kind("words", _WORDS_HINT, JOINED_WORDS)


def known_segments(phones: Timed | None, words: Timed | None, speech: Speech) -> list[Segment] | None:
    """The canonical phones of `speech`, silences included, or None if neither phones nor words are given.

    Raises InputError as `read_phones` and `read_words`, ValueError if both are given.
    """
    if phones is not None and words is not None:
        raise ValueError("phones and words must not be given both")
    if phones is not None:
        return read_phones(phones, speech.duration)
    return None if words is None else read_words(words, speech.duration)


def read_phones(phones: Timed, duration: float) -> list[Segment]:
    """Canonical phones of a sound of `duration` seconds from phones with their times; gaps are silence.

    Symbols are ARPAbet with or without stress digits, the names of `motion.phones.PHONES`, or IPA: ASCII is read as
    ARPAbet where that is possible, all else as IPA. "", sil, sp, pau and the like are silence.

    Raises InputError for times that are not finite, do not rise, overlap by more than 20 ms or lie more than 0.5 s
    outside the sound, and for unknown symbols.
    """
    rows = _timed(_PHONES, phones, duration)
    read = _reader({symbol for _, _, symbol in rows})
    try:
        return read_segments(_with_silence(rows, duration), read)
    except ValueError as error:
        raise InputError(f"phones: {error}", _PHONES_HINT) from error


def read_words(words: Timed, duration: float) -> list[Segment]:
    """Canonical phones of a sound of `duration` seconds from English words with their times; gaps are silence.

    A word's phones come from the CMU dictionary and share its time as they usually do; words less than 0.1 s apart
    follow each other without a pause.

    Raises InputError for times as `read_phones`, for words that the dictionary does not know, and if it is missing.
    """
    rows = _timed(_WORDS, words, duration)
    said = [(start, end, phones) for start, end, word in rows if (phones := pronounce(word))]
    starts = [*(start for start, _, _ in said[1:]), math.inf]
    segments: list[Segment] = []
    for (start, end, phones), following in zip(said, starts, strict=True):
        segments += spread(phones, start, end, final=following > end)
    return read_segments(_with_silence(segments, duration), _silent_or(arpabet))


def read_timed(path: str | os.PathLike[str]) -> list[tuple[float, float, str]]:
    """Phones or words from a JSON file of [[start, end, "HH"], …]. Raises InputError."""
    hint = 'give a JSON file of [[start, end, "text"], …] in seconds'
    file_path = local_path(path, InputError)
    with open_regular(file_path, InputError) as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError(f"{file_path.name}: is larger than {LARGEST_FILE:,} bytes", hint)
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file_path.name}: is not JSON: {error}", hint) from error
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError(f"{file_path.name}: is not a list of [start, end, text]", hint)
    timed: list[Any] = [tuple(row) for row in rows]
    return timed


def motion_of_phones(segments: Sequence[Segment], speech: Speech, style: Array | None = None) -> Motion:
    """The motion, 25 frames a second, of a face that says canonical phones; loud vowels open wider, accents nod.

    style: strengths of jaw and lips in each frame, [T, 2]; None is neutral
    """
    frames = speech.frames(FPS)
    if not frames:
        return Motion.still(0, FPS)
    steps = round(FRAMES_PER_SECOND / FPS)  # of the articulation in a frame
    samples = np.zeros(frames * steps * HOP, np.float32)
    heard = min(len(samples), len(speech.samples))
    samples[:heard] = speech.samples[:heard]
    prosody = Prosody.of(samples)
    strengths = NEUTRAL if style is None else np.repeat(style, steps, axis=0)
    said = np.concatenate([articulate(segments, frames * steps, prosody, strengths), head_pose(prosody)], axis=1)
    motion: Array = said.reshape(frames, steps, -1).mean(axis=1).astype(np.float32)  # [T, 58]
    return Motion(motion[:, :-6], motion[:, -6:-3], motion[:, -3:], FPS)


def _timed(kind: _Kind, rows: Any, duration: float) -> list[Segment]:
    """`rows` checked, without overlaps and without gaps that are no silence."""
    name, hint, joined = kind
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise InputError(f"{name} must be a list of (start, end, text), not {rows!r:.40}", hint)
    checked: list[Segment] = []
    for row in rows:
        start, end, text = _row(kind, row)
        if not -BEYOND <= start < end <= duration + BEYOND:
            wanted = f"must start before it ends, within the {duration:.2f} s of the sound"
            raise InputError(f"{name}: {text!r:.20} {wanted}, not from {start:g} to {end:g} s", hint)
        if checked:
            before, until, previous = checked[-1]
            if start <= before or start < until - OVERLAP:
                found = f"{text!r:.20} starts at {start:g} s, but {previous!r:.20} lasts from {before:g} to {until:g} s"
                raise InputError(f"{name}: {found}", hint)
            if start < until + joined:
                checked[-1] = (before, start, previous)
        checked.append((start, end, text))
    return checked


def _row(kind: _Kind, row: Any) -> Segment:
    """A start, an end and a text. Raises InputError."""
    try:
        start, end, text = row
    except (TypeError, ValueError):
        start = end = text = None
    numbers = all(isinstance(time, Real) and math.isfinite(time) for time in (start, end))
    if not numbers or not isinstance(text, str):
        raise InputError(
            f"{kind.name}: each must be (start, end, text) with times in seconds, not {row!r:.60}", kind.hint
        )
    return float(start), float(end), text


def _with_silence(rows: Sequence[Segment], duration: float) -> list[Segment]:
    """`rows` with silence before, between and after them."""
    filled: list[Segment] = []
    last = min(0.0, rows[0][0]) if rows else 0.0
    for start, end, symbol in rows:
        if start > last:
            filled.append((last, start, ""))
        filled.append((start, end, symbol))
        last = end
    return [*filled, (last, duration, "")] if last < duration else filled


def _reader(symbols: set[str]) -> Reader:
    """What reads `symbols`: ARPAbet and our own names, if they are all of these or one is a longer name of these."""
    spoken = {symbol for symbol in symbols if symbol.lower() not in SILENCES}
    named = {symbol for symbol in spoken if _is_name(symbol)}
    ascii_only = all(symbol.isascii() for symbol in spoken)
    longer = any(len(symbol.rstrip("012")) > 1 for symbol in named)
    return _silent_or(_name if ascii_only and (named == spoken or longer) else ipa)


def _silent_or(read: Reader) -> Reader:
    """A reader that knows the signs of silence too."""
    return lambda symbol: ("sil",) if symbol.lower() in SILENCES else read(symbol)


def _name(symbol: str) -> tuple[str, ...]:
    """Canonical phones of an ARPAbet symbol, or the canonical phone of this name."""
    try:
        return arpabet(symbol)
    except ValueError:
        if symbol in PHONE_INDEX:
            return (symbol,)
        raise ValueError(f"{symbol!r} is no ARPAbet phone known here") from None


def _is_name(symbol: str) -> bool:
    try:
        return bool(_name(symbol))
    except ValueError:
        return False
