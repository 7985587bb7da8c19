"""Sentences for synthesisers to say, composed at random: English words, pseudo-words of other languages, Russian.

They mean nothing. What matters is that every phone meets every other in many orders, at natural word lengths.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from random import Random


def _items(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DICTIONARIES = (Path("/usr/share/dict/american-english"), Path("/usr/share/dict/words"))

FUNCTION_WORDS = _items(
    "the a of and to in is was he for it with as his on be at by had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into "
    "than them can only other new some could time these two may then do first any my now such like our over man me "
    "even most made after also did many before must through back years where much your way well down should because "
    "each just those people how too little state good very make world still own see men work long get here between "
    "both life being under never day same another know while last might us great old year off come since against go "
    "came right used take three"
)

# Used when the machine has no dictionary; chosen so that every English phone occurs in several places of a word.
FEW_WORDS = _items(
    "apple baby beaver beyond bishop blue boat bottom bridge brother bubble button cabbage camera choice church "
    "cloud coffee colour comfort copper could cousin daughter decision deep different dollar drum early earth edge "
    "eighty engine evening example failure farm father feather fifty finger flower follow forget freedom garage "
    "gather giant glove golden ground happen harbour heavy honey hospital house huge imagine island jacket journey "
    "judge jungle kitchen knife ladder language laugh leather leisure lemon letter machine magic market measure "
    "memory middle mirror moment mother mountain mouth music narrow nation nephew noise number ocean office onion "
    "orange outside oyster paper peaceful pepper picture pillow pleasure pocket potato power purple puzzle quarter "
    "question quiet rabbit rather reason river robin rough rubber saddle season seven shadow sheep shoulder simple "
    "smooth sofa spring square station stomach strange summer table tailor teacher thirty thought thousand ticket "
    "tiger together tooth toward treasure trouble twelve uncle under upper useful valley vanish velvet village "
    "visible voice voyage wagon water weather whisper widow window winter woman wonder yellow yesterday young zebra"
)

_CONSONANTS = _items("p b m f v t d n l r s k g")
_VOWELS = _items("a e i o u")
_EXTRA_CONSONANTS = {
    "it": "sc ch z gl gn", "fi": "h j", "cs": "z h j", "ca": "x j", "es": "ch ll j", "fr": "ch j gn", "de": "sch w z",
    "pl": "sz cz w", "tr": "ç ş z y", "hu": "sz cs zs", "sv": "sj h", "pt": "nh lh ch", "ro": "ț ș j", "el": "x z",
    "sw": "ch w z", "id": "ny j w",
}  # fmt: skip
_EXTRA_VOWELS = {
    "fi": "aa ii uu ee oo ä ö y", "fr": "é ou eu an on u", "de": "ü ö ä ei au", "sv": "å ä ö y", "tr": "ı ö ü",
    "hu": "ö ü á é", "pl": "y ą ę", "pt": "ão õ", "cs": "á í ou",
}  # fmt: skip
_RUSSIAN_CONSONANTS = _items("б в г д ж з к л м н п р с т ф х ц ч ш")
_RUSSIAN_VOWELS = _items("а о у э ы и е ё ю я")
_PINYIN_INITIALS = _items("b p m f d t n l g k h j q x zh ch sh r z c s")
_PINYIN_FINALS = {
    "j q x": "i ia ie iao iu ian in iang ing u ue",
    "zh ch sh r z c s": "i a e ai ei ao ou an en ang eng u uo ui un",
    "b p m f": "a o ei an en ang eng u",
    "d t n l g k h": "a e ai ei ao ou an ang eng u uo ui un",
}


@lru_cache(maxsize=1)
def english_words() -> tuple[str, ...]:
    """Plain lower-case words of 3 to 10 letters: those of the machine's dictionary, else a small list of our own."""
    for dictionary in DICTIONARIES:
        if dictionary.is_file():
            lines = dictionary.read_text(encoding="utf-8").split()
            plain = (word for word in lines if word.isascii() and word.isalpha() and word.islower())
            words = tuple(word for word in plain if 3 <= len(word) <= 10)
            if words:
                return words
    return FEW_WORDS


def english(random: Random) -> str:
    """A sentence of 4 to 13 words, somewhat more than half of them function words."""
    words = english_words()
    count = random.randint(4, 13)
    said = []
    for index in range(count):
        word = random.choice(FUNCTION_WORDS) if random.random() < 0.58 else random.choice(words)
        pause = 0 < index < count - 1 and random.random() < 0.07
        said.append(word + "," * pause)
    return " ".join(said).capitalize() + random.choice("........?!")


def _words(random: Random, consonants: tuple[str, ...], vowels: tuple[str, ...], finals: str, most: int) -> str:
    def syllable() -> str:
        closed = random.choice(finals) if random.random() < 0.25 else ""
        return random.choice(consonants) + random.choice(vowels) + closed

    words = ("".join(syllable() for _ in range(random.randint(1, 4))) for _ in range(random.randint(4, most)))
    return " ".join(words).capitalize() + "."


def pseudo_words(random: Random, language: str) -> str:
    """4 to 10 words that could be of `language` (two letters), from open and a few closed syllables."""
    consonants = _CONSONANTS * 2 + _items(_EXTRA_CONSONANTS.get(language, ""))
    vowels = _VOWELS * 2 + _items(_EXTRA_VOWELS.get(language, ""))
    return _words(random, consonants, vowels, "nlrs", 10)


def russian(random: Random) -> str:
    """4 to 9 pseudo-words in Cyrillic letters."""
    return _words(random, _RUSSIAN_CONSONANTS, _RUSSIAN_VOWELS, "нлрсм", 9)


def mandarin(random: Random) -> str:
    """6 to 14 pinyin syllables with tone digits, written as words of two."""
    syllables = []
    for _ in range(2 * random.randint(3, 7)):
        initial = random.choice(_PINYIN_INITIALS)
        finals = next(finals for initials, finals in _PINYIN_FINALS.items() if initial in initials.split())
        syllables.append(f"{initial}{random.choice(finals.split())}{random.randint(1, 4)}")
    return " ".join(a + b for a, b in zip(syllables[::2], syllables[1::2], strict=True)) + "."


def sentence(random: Random, language: str) -> str:
    """A sentence of `language`: an ISO 639-1 code such as 'en', 'it', 'ru'; 'cmn' is Mandarin in pinyin."""
    if language == "en":
        return english(random)
    if language == "ru":
        return russian(random)
    if language == "cmn":
        return mandarin(random)
    return pseudo_words(random, language)
