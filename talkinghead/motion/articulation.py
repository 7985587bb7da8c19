"""Phones with their times become what the face does: ARKit weights, 50 times a second.

Each phone has a viseme (the shape it wants) and a dominance per group of articulators (how strongly it wants it):
jaw, lips, and the gap between the lips. Shapes blend by dominance over time, as in Cohen and Massaro, "Modeling
coarticulation in synthetic visual speech" (1993), here with compact support; a shape is reached at the phone's
start and held for 75 % of it, as in Edwards et al., "JALI" (2016). Rounding spreads ahead, t d n l leave the lips
to their neighbours, p b m shut them whatever the neighbours want.

The gap is the distance of landmarks 13 and 14 (inner lips) beyond the neutral face's. Every blend is solved so that
the face model shows exactly the gap that is wanted: too wide, and `mouthClose` shuts it; too narrow, and the lips
part, then the jaw opens. How far lips stay apart on each phone is measured on talking people (26 clips, median per
phone, as a share of the clip's 95th percentile); the other shapes are drawn by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import INDEX, NAMES
from ..face.landmarks import LOWER_LIP, UPPER_LIP
from ..face.model import face_model
from ..types import Array
from .phones import BILABIALS, LABIODENTALS, PHONE_INDEX, PHONES, VOWELS, Segment
from .prosody import Prosody
from .style import NEUTRAL, Style

FRAMES_PER_SECOND = 50  # one per audio feature
# The gap of a `gap` of 1 in the table below. With 1.5 cm the speech of this model has a median gap of 0.78 cm and a
# standard deviation of 0.37; four tracked speakers of the GRID corpus have 0.57 to 1.46 cm and 0.35 to 0.72.
GAP_CM = 1.5

Strengths = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Coarticulation:
    """The few free parameters of the blend. `talkinghead fit-articulation` fits them to tracked lips.

    The defaults were chosen by hand, between values drawn by eye and a first fit to four clips of the GRID corpus.

    reach:     scale of the times a phone reaches ahead and behind: lower is crisper
    delay:     seconds by which the mouth follows the phones as aligners and synthesisers time them
    rounded:   scale of the lips' gap on rounded vowels and w
    liquid:    the same on r
    alveolar:  the same on t, n, l, th
    yielding:  scale of the say that t, n, l, k have about the gap
    louder_opens: share of a vowel's size per decibel above the voice's mean
    shortest:  share of its size that a vowel of no duration keeps
    held:      share of a phone for which its shape is held
    """

    reach: float = 0.85
    delay: float = 0.01
    rounded: float = 0.6
    liquid: float = 0.5
    alveolar: float = 0.85
    yielding: float = 0.7
    louder_opens: float = 0.05
    shortest: float = 0.6
    held: float = 0.75


FITTED = Coarticulation()


class Viseme(NamedTuple):
    """The shape a phone wants: ARKit weights, and the gap as a share of GAP_CM."""

    jaw: float
    gap: float
    funnel: float = 0.0
    pucker: float = 0.0
    stretch: float = 0.0
    smile: float = 0.0
    press: float = 0.0
    roll_lower: float = 0.0
    roll_upper: float = 0.0
    lower_down: float = 0.0
    upper_up: float = 0.0
    tongue: float = 0.0
    puff: float = 0.0


SHAPES: dict[str, tuple[str, ...]] = {
    "jaw": ("jawOpen",),
    "funnel": ("mouthFunnel",),
    "pucker": ("mouthPucker",),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "press": ("mouthPressLeft", "mouthPressRight"),
    "roll_lower": ("mouthRollLower",),
    "roll_upper": ("mouthRollUpper",),
    "lower_down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "upper_up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "tongue": ("tongueOut",),
    "puff": ("cheekPuff",),
}

VISEMES: dict[str, Viseme] = {
    "sil": Viseme(0.00, 0.00),
    "aa": Viseme(0.28, 0.80, stretch=0.07, lower_down=0.16, upper_up=0.08),
    "ae": Viseme(0.24, 0.75, stretch=0.20, smile=0.10, lower_down=0.22, upper_up=0.14),
    "ah": Viseme(0.17, 0.55, stretch=0.07, lower_down=0.12, upper_up=0.06),
    "ax": Viseme(0.12, 0.45, stretch=0.06, lower_down=0.10, upper_up=0.05),
    "ao": Viseme(0.18, 0.62, funnel=0.20, pucker=0.20, lower_down=0.06, upper_up=0.03),
    "eh": Viseme(0.18, 0.74, stretch=0.19, smile=0.08, lower_down=0.20, upper_up=0.10),
    "er": Viseme(0.10, 0.42, funnel=0.14, pucker=0.15, lower_down=0.06, upper_up=0.04),
    "ih": Viseme(0.11, 0.59, stretch=0.20, smile=0.08, lower_down=0.15, upper_up=0.08),
    "iy": Viseme(0.08, 0.62, stretch=0.30, smile=0.15, lower_down=0.16, upper_up=0.09),
    "ow": Viseme(0.14, 0.51, funnel=0.18, pucker=0.35),
    "uh": Viseme(0.10, 0.37, funnel=0.12, pucker=0.32),
    "uw": Viseme(0.06, 0.22, funnel=0.10, pucker=0.58),
    "yy": Viseme(0.06, 0.22, funnel=0.12, pucker=0.55),
    "oe": Viseme(0.11, 0.42, funnel=0.18, pucker=0.38),
    "p": Viseme(0.03, 0.00, press=0.16, roll_lower=0.12, roll_upper=0.12, puff=0.05),
    "b": Viseme(0.03, 0.00, press=0.13, roll_lower=0.12, roll_upper=0.12, puff=0.03),
    "m": Viseme(0.03, 0.00, press=0.11, roll_lower=0.10, roll_upper=0.10),
    "f": Viseme(0.05, 0.15, stretch=0.07, roll_lower=0.32, upper_up=0.15),
    "v": Viseme(0.05, 0.15, stretch=0.07, roll_lower=0.28, upper_up=0.13),
    "th": Viseme(0.07, 0.51, stretch=0.07, lower_down=0.14, upper_up=0.07, tongue=0.25),
    "t": Viseme(0.06, 0.57, stretch=0.08, smile=0.03, lower_down=0.12, upper_up=0.06, tongue=0.03),
    "n": Viseme(0.07, 0.51, stretch=0.08, smile=0.03, lower_down=0.12, upper_up=0.06, tongue=0.03),
    "l": Viseme(0.10, 0.56, stretch=0.07, smile=0.03, lower_down=0.14, upper_up=0.07, tongue=0.10),
    "s": Viseme(0.03, 0.53, stretch=0.20, smile=0.09, lower_down=0.26, upper_up=0.14),
    "sh": Viseme(0.05, 0.57, funnel=0.32, pucker=0.25, lower_down=0.10, upper_up=0.10),
    "k": Viseme(0.12, 0.65, stretch=0.07, lower_down=0.12, upper_up=0.06),
    "hh": Viseme(0.14, 0.65, stretch=0.07, lower_down=0.12, upper_up=0.06),
    "r": Viseme(0.08, 0.42, funnel=0.16, pucker=0.24, lower_down=0.06, upper_up=0.04),
    "w": Viseme(0.04, 0.20, funnel=0.08, pucker=0.66),
    "y": Viseme(0.07, 0.60, stretch=0.27, smile=0.12, lower_down=0.15, upper_up=0.08),
}


class Dominance(NamedTuple):
    """How strongly a phone holds each articulator, and how long before and after itself, in seconds."""

    jaw: float = 1.0
    lips: float = 1.0
    gap: float = 1.0
    lead: float = 0.09
    lag: float = 0.09


DOMINANCES: dict[str, Dominance] = {
    **dict.fromkeys(PHONES, Dominance()),
    "sil": Dominance(0.45, 0.45, 0.45, 0.10, 0.12),
    "ax": Dominance(0.55, 0.45, 0.55, 0.08, 0.08),
    **dict.fromkeys(("uw", "ow", "uh", "yy", "oe"), Dominance(1.0, 1.4, 1.1, 0.14, 0.12)),
    **dict.fromkeys(BILABIALS, Dominance(1.6, 1.1, 6.0, 0.075, 0.07)),
    **dict.fromkeys(LABIODENTALS, Dominance(1.3, 1.3, 4.0, 0.08, 0.075)),
    "th": Dominance(0.7, 0.4, 0.7, 0.08, 0.08),
    **dict.fromkeys(("t", "n"), Dominance(0.6, 0.12, 0.45, 0.07, 0.07)),
    "l": Dominance(0.5, 0.12, 0.4, 0.07, 0.07),
    "s": Dominance(1.4, 0.45, 1.0, 0.09, 0.08),
    "sh": Dominance(1.2, 1.3, 1.0, 0.13, 0.11),
    "k": Dominance(0.22, 0.08, 0.22, 0.07, 0.07),
    "hh": Dominance(0.06, 0.05, 0.06, 0.06, 0.06),
    "r": Dominance(0.6, 0.6, 0.5, 0.10, 0.10),
    "w": Dominance(1.2, 1.6, 1.6, 0.15, 0.10),
    "y": Dominance(0.6, 0.7, 0.6, 0.08, 0.08),
}

ROUNDED = ("uw", "uh", "yy", "oe", "ow", "w")
ALVEOLARS = ("t", "n", "l", "th")
ROUNDING = ("funnel", "pucker")
REST_SAYS = 0.1  # dominance of lips at rest over rounding, wherever it is told from phones that are not sure
LOUDNESS_RANGE = (0.5, 1.3)  # of a vowel's size
FULL_VOWEL = 0.16  # seconds: a vowel of d seconds reaches `shortest` + d / 0.16 of its size, at most all of it
PARTING = {"lower_down": 0.20, "upper_up": 0.12}  # how far lips may part more than visemes say, before the jaw opens
LONG_SILENCE = 0.25  # seconds of silence in which the mouth shuts, not only relaxes
SHUT_AFTER, OPEN_BEFORE = 0.12, 0.06  # seconds from the ends of such a silence to the shut mouth
BREATH = 0.08  # seconds before speech for which lips part to breathe in, unless its first phone shuts them
BROWS_PER_ACCENT = 0.22  # browInnerUp at an accent of 1

_CHANNELS = Viseme._fields
_COLUMN = {name: column for column, name in enumerate(_CHANNELS)}
_GROUP = {"jaw": "jaw", "gap": "gap"}
_LIPS = [_COLUMN[name] for name in ("funnel", "pucker", "stretch", "smile", "lower_down", "upper_up")]


class _Table(NamedTuple):
    """Visemes and dominances of all phones under a Coarticulation: both [phones, channels]."""

    targets: NDArray[np.float64]
    strengths: NDArray[np.float64]


@lru_cache(maxsize=64)
def _table(coarticulation: Coarticulation) -> _Table:
    targets = np.array([VISEMES[phone] for phone in PHONES])
    strengths = np.array([
        [getattr(DOMINANCES[phone], _GROUP.get(channel, "lips")) for channel in _CHANNELS] for phone in PHONES
    ])  # fmt: skip
    gap = _COLUMN["gap"]
    for phones, scale in ((ROUNDED, coarticulation.rounded), (("r",), coarticulation.liquid),
                          (ALVEOLARS, coarticulation.alveolar)):  # fmt: skip
        targets[[PHONE_INDEX[phone] for phone in phones], gap] *= scale
    strengths[[PHONE_INDEX[phone] for phone in ("t", "n", "l", "k")], gap] *= coarticulation.yielding
    return _Table(targets, strengths)


@dataclass(frozen=True)
class Articulation:
    """What the mouth does, [A] frames.

    weights: [A, channels of Viseme] blended shapes, `gap` in centimetres
    sealed:  [A] 0 to 1, where the lips must be shut
    bitten:  [A] 0 to 1, where the lower lip lies at the upper teeth
    """

    weights: NDArray[np.float64]
    sealed: NDArray[np.float64]
    bitten: NDArray[np.float64]


@lru_cache(maxsize=1)
def gap_per_weight() -> NDArray[np.float64]:
    """How many centimetres each of the 52 weights opens the inner lips of the face model."""
    basis = face_model().basis.astype(np.float64)  # [52, 478, 3], y up
    return np.asarray(basis[:, UPPER_LIP, 1] - basis[:, LOWER_LIP, 1])


def lip_gap(expression: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Gap between the inner lips in centimetres beyond the neutral face's, [A], for weights [A, 52]."""
    return np.asarray(expression.astype(np.float64) @ gap_per_weight())


def close_lips(expression: Array, sealed: NDArray[np.floating[Any]]) -> Array:
    """`expression` [T, 52] with the lips shut as far as `sealed` [T] says: 0 leaves them, 1 leaves no gap."""
    closed = expression.copy()
    for channel in PARTING:
        for name in SHAPES[channel]:
            closed[:, INDEX[name]] *= 1 - sealed
    gap = np.maximum(lip_gap(expression), 0) * (1 - sealed)
    lack = np.maximum(lip_gap(closed) - gap, 0) * (sealed > 0)
    closed[:, INDEX["mouthClose"]] += lack / -gap_per_weight()[INDEX["mouthClose"]]
    return np.asarray(np.clip(closed, 0, 1), np.float32)


def rounding(heard: Array) -> Array:
    """mouthFunnel and mouthPucker [A, 2] at phones heard with the probabilities [A, phones].

    Visemes blend by dominance, as they do in time; where no phone has much to say, the lips are not rounded.
    """
    table, columns = _table(FITTED), [_COLUMN[channel] for channel in ROUNDING]
    say = heard * table.strengths[:, columns[0]]
    return np.asarray(say @ table.targets[:, columns] / (say.sum(axis=1, keepdims=True) + REST_SAYS), np.float32)


def articulate(
    segments: Sequence[Segment],
    frames: int,
    prosody: Prosody,
    style: Style | Strengths = NEUTRAL,
    coarticulation: Coarticulation = FITTED,
) -> Array:
    """Weights [frames, 52] that say `segments`; frame i is at (i + 0.5) / 50 seconds.

    style: strength of jaw and lips, 1 as fitted; or both of each frame, [frames, 2]
    """
    return solve_gap(blend(segments, frames, prosody, style, coarticulation), prosody)


def blend(
    segments: Sequence[Segment],
    frames: int,
    prosody: Prosody,
    style: Style | Strengths = NEUTRAL,
    coarticulation: Coarticulation = FITTED,
) -> Articulation:
    """Blend the visemes of `segments` by their dominance, vowels scaled by loudness and duration."""
    times = (np.arange(frames) + 0.5) / FRAMES_PER_SECOND - coarticulation.delay
    shape_sum = np.zeros((frames, len(_CHANNELS)))
    strength_sum = np.full((frames, len(_CHANNELS)), 1e-3)
    sealed, bitten = np.zeros(frames), np.zeros(frames)
    table = _table(coarticulation)
    for start, end, phone in breathing(segments):
        reach = DOMINANCES[phone]
        near = slice(*np.searchsorted(times, (start - reach.lead - 0.1, end + reach.lag + 0.1)))
        if near.start == near.stop or end <= start:
            continue
        strengths = _presence(times[near], start, end, phone, coarticulation)[:, None]
        strengths = strengths * table.strengths[PHONE_INDEX[phone]]
        loudness = prosody.loudness_at((start + end) / 2)
        shape_sum[near] += strengths * _shape(phone, end - start, loudness, coarticulation)
        strength_sum[near] += strengths
        if phone in BILABIALS or (phone == "sil" and end - start >= LONG_SILENCE):
            sealed[near] = np.maximum(sealed[near], _seal(times[near], start, end, phone))
        elif phone in LABIODENTALS:
            bitten[near] = np.maximum(bitten[near], _trapezoid(times[near], start + 0.01, end - 0.02, 0.06, 0.06))
    return Articulation(_constrain(_styled(shape_sum / strength_sum, style), sealed, bitten), sealed, bitten)


def breathing(segments: Sequence[Segment]) -> list[Segment]:
    """`segments`, in which lips that are not shut by the first phone part a moment before speech, to breathe in."""
    breathed: list[Segment] = []
    for (start, end, phone), (_, _, following) in pairwise([*segments, (0.0, 0.0, "sil")]):
        if phone == "sil" and following not in BILABIALS | {"sil"} and end - start >= LONG_SILENCE:
            breathed += [(start, end - BREATH, "sil"), (end - BREATH, end, "hh")]
        else:
            breathed.append((start, end, phone))
    return breathed


def _styled(weights: NDArray[np.float64], style: Style | Strengths) -> NDArray[np.float64]:
    """Blended shapes [A, channels] with jaw and lips made stronger or weaker, as in JALI; the gap follows both."""
    jaw, lips = np.asarray(style, np.float64).reshape(-1, 2).T
    weights[:, _COLUMN["jaw"]] *= jaw
    weights[:, _LIPS] *= lips[:, None]
    weights[:, _COLUMN["gap"]] *= (jaw + lips) / 2
    return weights


def solve_gap(articulation: Articulation, prosody: Prosody) -> Array:
    """Weights [A, 52] whose gap in the face model is the wanted one."""
    weights = articulation.weights.copy()
    per_weight = gap_per_weight()
    opens = {
        channel: sum(per_weight[INDEX[name]] for name in names)  # centimetres per weight of 1
        for channel, names in SHAPES.items()
    }
    natural = sum(weights[:, _COLUMN[channel]] * cm for channel, cm in opens.items())
    excess = natural - weights[:, _COLUMN["gap"]]
    lack = np.maximum(-excess, 0)
    most = sum(share * opens[channel] for channel, share in PARTING.items())
    parted = np.minimum(lack, most) * (1 - np.maximum(articulation.sealed, articulation.bitten))
    for channel, share in PARTING.items():
        weights[:, _COLUMN[channel]] += share * parted / most
    weights[:, _COLUMN["jaw"]] += (lack - parted) / opens["jaw"]

    expression = np.zeros((len(weights), len(NAMES)), np.float32)
    for channel, names in SHAPES.items():
        for name in names:
            expression[:, INDEX[name]] = weights[:, _COLUMN[channel]]
    expression[:, INDEX["mouthClose"]] = np.maximum(excess, 0) / -per_weight[INDEX["mouthClose"]]
    accents = prosody.brows[: len(weights)]
    expression[:, INDEX["browInnerUp"]] = BROWS_PER_ACCENT * accents
    for name in ("browOuterUpLeft", "browOuterUpRight"):
        expression[:, INDEX[name]] = 0.4 * BROWS_PER_ACCENT * accents
    return np.asarray(np.clip(expression, 0, 1))


def phone_per_frame(segments: Sequence[Segment], frames: int) -> NDArray[np.uint8]:
    """Index in PHONES of the phone heard in the middle of each frame, [frames]; silence where none is."""
    times = (np.arange(frames) + 0.5) / FRAMES_PER_SECOND
    phones = np.full(frames, PHONE_INDEX["sil"], np.uint8)
    for start, end, phone in segments:
        phones[slice(*np.searchsorted(times, (start, end)))] = PHONE_INDEX[phone]
    return phones


def _shape(phone: str, duration: float, loudness: float, coarticulation: Coarticulation) -> NDArray[np.float64]:
    """The viseme of `phone`, a vowel scaled by loudness and duration; its rounding less so."""
    shape = _table(coarticulation).targets[PHONE_INDEX[phone]].copy()
    if phone in VOWELS:
        size = float(np.clip(1 + coarticulation.louder_opens * loudness, *LOUDNESS_RANGE))
        size *= min(1.0, coarticulation.shortest + duration / FULL_VOWEL)
        rounding = [_COLUMN[name] for name in ROUNDING]
        rounded = shape[rounding] * min(1.0, 0.6 + 0.4 * size)
        shape *= size
        shape[rounding] = rounded
    return np.asarray(shape)


def _presence(
    times: NDArray[np.float64], start: float, end: float, phone: str, coarticulation: Coarticulation
) -> NDArray[np.float64]:
    """How present `phone` is at `times`, 0 to 1: fully from its start while it is held, none beyond lead and lag."""
    lead, lag = (coarticulation.reach * seconds for seconds in DOMINANCES[phone][-2:])
    held = start + coarticulation.held * (end - start)
    if phone == "sil":  # relaxes into silence, gets ready before its end
        start, held = min(start + 0.06, end), max(end - 0.06, start)
    return _trapezoid(times, start, held, lead, max(lag, end + lag - held))


def _seal(times: NDArray[np.float64], start: float, end: float, phone: str) -> NDArray[np.float64]:
    """How far the lips are shut at `times` by a bilabial or a long silence, 0 to 1."""
    if phone == "sil":
        return _trapezoid(times, start + SHUT_AFTER, end - OPEN_BEFORE, 0.10, 0.08)
    released = max(end - (0.015 if phone == "m" else 0.02), start + 0.03)
    return _trapezoid(times, start + 0.01, released, 0.06, 0.05)


def _trapezoid(times: NDArray[np.float64], start: float, end: float, rise: float, fall: float) -> NDArray[np.float64]:
    """1 from `start` to `end`, 0 from `rise` before and `fall` after, smooth between (smoothstep)."""
    ramp = np.clip(np.minimum((times - (start - rise)) / rise, (end + fall - times) / fall), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _constrain(
    weights: NDArray[np.float64], sealed: NDArray[np.float64], bitten: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shut the lips where they must be shut, bring the lip to the teeth where it must be; gap becomes centimetres."""
    gap = weights[:, _COLUMN["gap"]] * (1 - sealed)
    touch = VISEMES["f"].gap
    weights[:, _COLUMN["gap"]] = GAP_CM * (gap * (1 - bitten) + np.minimum(gap, touch) * bitten)
    for channel in PARTING:
        weights[:, _COLUMN[channel]] *= 1 - sealed
    weights[:, _COLUMN["lower_down"]] *= 1 - bitten
    return weights
