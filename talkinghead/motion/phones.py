"""One small set of phones for every language and synthesiser: what can be told apart by looking at a mouth.

Voicing, place behind the teeth and tone are not visible, so t and d are one phone here, as are k, g, ng and the
uvulars; p, b and m stay three, because they sound different and an audio model profits from telling them apart.

Synthesisers write phones in their own alphabets. Each reader below turns one symbol of such an alphabet into one
or two canonical phones (diphthongs and affricates give two), or into none when it makes no sound of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

import numpy as np

PHONES: tuple[str, ...] = (
    "sil",
    "aa", "ae", "ah", "ax", "ao", "eh", "er", "ih", "iy", "ow", "uh", "uw", "yy", "oe",
    "p", "b", "m", "f", "v", "th", "t", "n", "l", "s", "sh", "k", "hh", "r", "w", "y",
)  # fmt: skip
PHONE_INDEX: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}
VOWELS = frozenset(PHONES[1:15])
BILABIALS = frozenset(("p", "b", "m"))
LABIODENTALS = frozenset(("f", "v"))

Segment = tuple[float, float, str]  # start and end in seconds, and the phone
Reader = Callable[[str], tuple[str, ...]]

FIRST_VOWEL_SHARE = 0.58  # of a diphthong's time: its first target is held longer than its second
LATE_STOP = 0.042  # seconds by which espeak-ng reports the closure of a voiceless stop too late, at most


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """Read 'canonical: symbol symbol ...; canonical+canonical: ...'."""
    table: dict[str, tuple[str, ...]] = {}
    for entry in text.split(";"):
        phones, symbols = entry.split(":", 1)
        table |= dict.fromkeys(symbols.split(), tuple(phones.split("+")) if phones.strip() != "-" else ())
    return {symbol: tuple(phone.strip() for phone in phones) for symbol, phones in table.items()}


_ARPABET = _table(
    "sil: pau sil h# brth ssil; aa: aa; ae: ae; ah: ah; ax: ax; ao: ao; eh: eh; er: er axr; ih: ih; iy: iy;"
    "ow+uh: ow; uh: uh; uw: uw; aa+uh: aw; aa+iy: ay; eh+iy: ey; ao+iy: oy;"
    "p: p; b: b; m: m em; f: f; v: v; th: th dh; t: t d dx; n: n en nx; l: l el; s: s z; sh: sh zh;"
    "t+sh: ch jh; k: k g ng; hh: hh hv; r: r; w: w; y: y"
)
# Italian, Catalan, Finnish and Czech festival voices; taps and trills move the tongue alone, as n does.
_SAMPA = _table(
    "sil: # ## pau _; aa: a; ae: A; eh: e E; iy: i; ow: o; ao: O; uw: u; yy: y; ax: @ ax; oe: q 7 2;"
    "p: p; b: b B; m: m M; f: f F; v: v; th: D; t: t d t~ d~ dj tj; n: n J JJ n~ n* nf nj r rr R; l: l L LL;"
    "s: s z; sh: S SS Z zh sh r~; t+s: ts dz c; t+sh: tS dZ ch c~; k: k g N x ng G; hh: h; y: j; w: w"
)
# festvox-ru; palatalised consonants are written doubled.
_RUSSIAN = _table(
    "sil: pau #; aa: a aa; ax: ae ay; eh: e ee; iy: i ii; ao: o oo yo; uw: u uu; uh: ur; ih: y yy;"
    "p: p pp; b: b bb; m: m mm; f: f ff; v: v vv; t: t tt d dd; n: n nn r rr; l: l ll; s: s ss z zz;"
    "sh: sh sch zh; t+sh: ch; t+s: c; k: k kk g gg h hh; y: j"
)
_IPA = _table(
    "aa: a ɑ; ao: ɒ ɔ; ah: ɐ ʌ ɤ; ae: æ; ax: ə ɘ; oe: ɵ ɞ ø œ; er: ɜ ɝ ɚ; eh: e ɛ; ih: ɪ ɨ ɯ ᵻ; iy: i; ow: o;"
    "uw: u ʉ; uh: ʊ; yy: y ʏ; p: p; b: b ɓ β; m: m ɱ; f: f ɸ; v: v ʋ; t: t d ʈ ɖ ɗ; n: n ɳ ɲ r ɾ ɽ;"
    "k: ŋ k g ɡ q ɢ x χ ɣ ʁ ʀ c ɟ ç ɠ; y: ʝ j; hh: h ɦ ħ ʕ; -: ʔ; l: l ɫ ɭ ʎ ʟ ɬ ɮ; r: ɹ ɻ;"
    "s: s z; sh: ɕ ʑ ʂ ʐ ʃ ʒ; th: θ ð; w: w ʍ ɥ ɰ"
)


def _look_up(table: dict[str, tuple[str, ...]], alphabet: str, symbol: str) -> tuple[str, ...]:
    try:
        return table[symbol]
    except KeyError:
        raise ValueError(f"{symbol!r} is no {alphabet} phone known here") from None


def arpabet(symbol: str) -> tuple[str, ...]:
    """Canonical phones of an ARPAbet symbol (flite, English festival voices); stress digits are ignored."""
    return _look_up(_ARPABET, "ARPAbet", symbol.lower().rstrip("012"))


def sampa(symbol: str) -> tuple[str, ...]:
    """Canonical phones of a symbol of the Italian, Catalan, Finnish and Czech festival voices."""
    return _look_up(_SAMPA, "SAMPA", symbol.rstrip("1").replace(":", ""))


def russian(symbol: str) -> tuple[str, ...]:
    """Canonical phones of a symbol of the Russian festival voice."""
    return _look_up(_RUSSIAN, "festvox-ru", symbol)


def ipa(symbol: str) -> tuple[str, ...]:
    """Canonical phones of an IPA string as espeak-ng reports it; length, stress, tone and the like are ignored.

    An empty string is a pause. Marks of a change of language, as in '(en)', give nothing.
    """
    if not symbol:
        return ("sil",)
    if symbol.startswith("("):
        return ()
    phones: list[str] = []
    for letter in symbol:
        if letter in _IPA:
            phones += _IPA[letter]
        elif unicodedata.category(letter) in ("Ll", "Lu", "Lo"):
            raise ValueError(f"{symbol!r} is no IPA phone known here")
    return tuple(phones)


def read_segments(segments: Iterable[Segment], reader: Reader) -> list[Segment]:
    """Turn segments in a synthesiser's alphabet into canonical ones: split diphthongs, join pauses.

    A symbol that gives no phone lengthens the phone before it, or is silence at the beginning.
    Raises ValueError for an unknown symbol.
    """
    read: list[Segment] = []
    for start, end, symbol in segments:
        phones = reader(symbol) or (() if read else ("sil",))
        if not phones or (read and phones == ("sil",) and read[-1][2] == "sil"):
            read[-1] = (read[-1][0], end, read[-1][2])
            continue
        diphthong = len(phones) == 2 and phones[0] in VOWELS
        shares = (FIRST_VOWEL_SHARE, 1.0) if diphthong else np.arange(1, len(phones) + 1) / len(phones)
        times = [start, *(start + (end - start) * float(share) for share in shares[:-1]), end]
        read += zip(times[:-1], times[1:], phones, strict=True)
    return read


def correct_late_stops(segments: Iterable[Segment]) -> list[Segment]:
    """Move the starts of espeak-ng's voiceless stops (IPA p t k c q) back, by 42 ms at most.

    espeak-ng reports these when the stop is released, 0 to 35 ms after the lips or tongue have closed (measured on
    330 stops); its other phones are on time. The time is taken from the segment before, at most 60 % of it.
    """
    corrected: list[Segment] = []
    for start, end, symbol in segments:
        if symbol[:1] in tuple("ptkcq") and corrected:
            before, _, previous = corrected[-1]
            start -= min(LATE_STOP, 0.6 * (start - before))
            corrected[-1] = (before, start, previous)
        corrected.append((start, end, symbol))
    return corrected
