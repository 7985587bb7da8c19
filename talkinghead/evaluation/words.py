"""What is said in a recording: from a text beside it, a table of transcripts, or a GRID file name.

And how a word is said that the dictionary does not know: as two words that it knows, or as one with an ending.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from ..errors import InputError

LONGEST_TEXT = 100_000  # bytes of a text beside a recording; longer ones are no transcripts of it

_GRID = re.compile(r"(?:.*[_-])?([blps])([bgrw])([abiw])([a-vx-z])([z1-9])([anps])")
_COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
_COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
_PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
_DIGITS = {
    "z": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven",
    "8": "eight", "9": "nine",
}  # fmt: skip
_ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}

_VOICELESS = frozenset(("P", "T", "K", "F", "TH"))
_HISSING = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
# Endings and their sounds. The plural's and the past's depend on the sound before them.
_ENDINGS = {
    "'s": "", "s": "", "es": "", "ed": "", "ing": "IH NG", "er": "ER", "ers": "ER Z", "est": "AH S T", "ly": "L IY",
    "ness": "N AH S", "less": "L AH S", "ful": "F AH L", "ment": "M AH N T", "able": "AH B AH L", "ship": "SH IH P",
}  # fmt: skip

Lookup = Callable[[str], str | None]


def transcript(path: Path, table: Mapping[str, str]) -> str | None:
    """The words of the recording at `path`, or None: beside it, in `table`, in a table beside it, in its name."""
    for suffix in (".txt", ".lab"):
        beside = path.with_suffix(suffix)
        if beside.is_file() and 0 < beside.stat().st_size <= LONGEST_TEXT and (text := _read(beside)):
            return text
    name = path.stem
    return table.get(name) or nearby_transcripts(path.parent).get(name) or grid_sentence(name)


def grid_sentence(name: str) -> str | None:
    """The sentence that a GRID file name stands for, as in "bbaf2n" or "grid_bbaf2n"; None for other names."""
    found = _GRID.fullmatch(name.lower())
    if found is None:
        return None
    command, colour, preposition, letter, digit, adverb = found.groups()
    words = _COMMANDS[command], _COLOURS[colour], _PREPOSITIONS[preposition], letter, _DIGITS[digit], _ADVERBS[adverb]
    return " ".join(words)


def read_transcripts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Transcripts by the name of the recording, from lines `id|text|normalised text` as LJ Speech has them.

    Raises InputError if the file cannot be read or has no such line.
    """
    hint = "give a text file of lines id|text or id|text|normalised"
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}", hint) from error
    rows = [[field.strip() for field in line.split("|")] for line in lines]
    table = {row[0].rsplit("/", 1)[-1]: [field for field in row[1:3] if field] for row in rows if len(row) > 1}
    found = {name: fields[-1] for name, fields in table.items() if name and fields}
    if not found:
        raise InputError(f"{path}: holds no transcripts", hint)
    return found


@lru_cache(maxsize=64)
def nearby_transcripts(folder: Path) -> dict[str, str]:
    """The transcripts in `folder`, and in the metadata.csv of the folder above, where LJ Speech has it."""
    found: dict[str, str] = {}
    for path in [folder.parent / "metadata.csv", *sorted(folder.glob("*_metadata.csv")), folder / "metadata.csv"]:
        if path.is_file():
            try:
                found |= read_transcripts(path)
            except InputError:  # a table of something else
                continue
    return found


def words_in(text: str) -> list[str]:
    """The words of `text`, in small letters; hyphens part them, apostrophes do not."""
    plain = text.lower().replace("’", "'")
    return [word for word in (found.strip("'") for found in re.findall(r"[\w']+", plain)) if word]


def spell(word: str, look_up: Lookup, depth: int = 2) -> str | None:
    """The ARPAbet phones of `word`, from the dictionary or by parts that are in it; None if that fails.

    look_up: the phones of a word in the dictionary, or None
    depth:   how many endings may be taken off
    """
    if phones := look_up(word):
        return phones
    places = sorted(range(3, len(word) - 2), key=lambda place: abs(place - len(word) / 2))
    for place in places:
        first, second = look_up(word[:place]), look_up(word[place:])
        if first and second:
            return f"{first} {second}"
    for ending in sorted(_ENDINGS, key=len, reverse=True) if depth else ():
        for stem in _stems(word, ending):
            if phones := spell(stem, look_up, depth - 1):
                return f"{phones} {_ENDINGS[ending] or _inflection(ending, phones.split()[-1])}"
    return None


def _stems(word: str, ending: str) -> list[str]:
    """What `word` may be without its `ending`: shapeliness is shapely, baked is bake, cutters is cut."""
    stem = word.removesuffix(ending)
    if stem == word or len(stem) < 2:
        return []
    stems = [stem]
    if stem.endswith("i"):
        stems.append(stem[:-1] + "y")
    if ending[0] in "ei" or ending == "able":
        stems.append(stem + "e")
        if stem[-1] == stem[-2]:
            stems.append(stem[:-1])
    return stems


def _inflection(ending: str, last: str) -> str:
    """The sound of a plural or a past after the phone `last`."""
    if ending == "ed":
        return "IH D" if last in ("T", "D") else "T" if last in _VOICELESS or last in ("S", "SH", "CH") else "D"
    return "IH Z" if last in _HISSING else "S" if last in _VOICELESS else "Z"


def _read(path: Path) -> str:
    """The text of a file; "" if it is none."""
    try:
        return path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return ""
