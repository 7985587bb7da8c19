"""What our mouth does at each phone: are p b m shut, are w and oo round, is the lip at the teeth for f and v?

That a mouth opens for vowels and shuts for p is no test: one that follows the loudness does so too. So bilabials are
told from other stops, which are as quiet, and round vowels from spread ones, which are as loud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import INDEX
from ..motion.articulation import GAP_CM, VISEMES, articulate, lip_gap
from ..motion.phones import PHONES, Segment
from ..motion.prosody import HOP, Prosody
from ..types import Speech
from .intervals import FEWEST, Interval, Track, compared_areas, correlation, mean, reference_scaled
from .lipsync import FPS, Closure, Filmed, closure, loudness_envelope
from .recordings import Mouth, Recording

BEFORE, AFTER = 0.02, 0.01  # seconds around a phone in which its shape may be reached
SHORTEST = 0.03  # seconds of a phone that is judged
STEP = 0.005  # seconds between looks
SHUT = 0.05  # share of the widest gap, below which lips are closed
PAUSE = 0.25  # seconds of silence in which lips shut
SHUT_AFTER, OPEN_BEFORE = 0.12, 0.10  # seconds from its ends in which they move
NEARLY_SHUT = 0.15  # the same of lips that look nearly closed; a tracker may miss the last bit


class Contrast(NamedTuple):
    """Two kinds of phones that a mouth shows differently, and the one of Spoken's figures that tells them apart."""

    name: str
    one: tuple[str, ...]
    other: tuple[str, ...]
    figure: str
    sign: int  # 1 if the figure is higher for `one`, -1 if lower


BILABIALS, STOPS = ("p", "b", "m"), ("t", "n", "k")
ROUND, SPREAD = ("uw", "ow", "w", "sh", "uh", "ao"), ("iy", "ih", "eh", "s", "ae", "t")
CONTRASTS = (
    Contrast("closed: p b m / t d n k g ng", BILABIALS, STOPS, "least", -1),
    Contrast("round: uw ow w sh uh ao / iy ih eh s ae t", ROUND, SPREAD, "rounding", 1),
    Contrast("lip at teeth: f v / s t th sh n k", ("f", "v"), ("s", "t", "th", "sh", "n", "k"), "bite", 1),
)


@dataclass(frozen=True, eq=False)
class Spoken:
    """A mouth at phones.

    phones:   [P] names
    least:    [P] the smallest gap
    gap:      [P] the mean gap
    rounding: [P] the mean
    bite:     [P] the largest
    alone:    [P] no p, b or m comes right before or after
    """

    phones: NDArray[np.str_]
    least: Track
    gap: Track
    rounding: Track
    bite: Track
    alone: NDArray[np.bool_]

    @classmethod
    def of(cls, segments: Sequence[Segment], mouth: Mouth) -> Spoken:
        """`mouth` at the phones in `segments` that are long enough and within it."""
        times = (np.arange(len(mouth.gap)) + 0.5) / FPS
        inside = len(mouth.gap) / FPS
        lips = np.array([False, *(phone in BILABIALS for _, _, phone in segments), False])
        beside = lips[:-2] | lips[2:]
        rows = []
        for (start, end, phone), near in zip(segments, beside, strict=True):
            if phone == "sil" or end - start < SHORTEST - 1e-9 or end > inside:
                continue
            looks = np.arange(start - BEFORE, end + AFTER + STEP / 2, STEP)
            gap, rounding, bite = (np.interp(looks, times, track) for track in mouth)
            during = (looks >= start) & (looks <= end)
            rows.append((phone, gap.min(), gap[during].mean(), rounding.mean(), bite.max(), not near))
        columns = list(zip(*rows, strict=True)) or [()] * 6
        least, mean_gap, rounded, bitten = (np.array(column, np.float64) for column in columns[1:5])
        return cls(np.array(columns[0], str), least, mean_gap, rounded, bitten, np.array(columns[5], bool))

    @classmethod
    def joined(cls, parts: Sequence[Spoken]) -> Spoken:
        """Those of several recordings."""
        fields = ("phones", "least", "gap", "rounding", "bite", "alone")
        return cls(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))

    def among(self, phones: Sequence[str]) -> NDArray[np.bool_]:
        """Which [P] are one of `phones`."""
        return np.isin(self.phones, phones)

    def sides(self, contrast: Contrast) -> tuple[Track, Track]:
        """The figures of a contrast's two kinds of phones, higher for the first if the mouth shows them."""
        figures = contrast.sign * getattr(self, contrast.figure)
        return figures[self.among(contrast.one)], figures[self.among(contrast.other)]


class Area(NamedTuple):
    """How well a contrast can be seen: areas under ROC curves, how many phones of each kind, and gain over loudness."""

    contrast: str
    counts: tuple[int, int]
    ours: Interval
    loudness: Interval
    wrong: Interval
    gain: Interval


def contrast_areas(ours: Spoken, loudness: Spoken, wrong: Spoken, seed: int = 0) -> list[Area]:
    """Each contrast for our mouth, one that follows the loudness, and ours for another sound, at the same phones."""
    found = []
    for contrast in CONTRASTS:
        here, loud, other = (mouth.sides(contrast) for mouth in (ours, loudness, wrong))
        area, baseline, gain = compared_areas(here, loud, seed)
        counts = len(here[0]), len(here[1])
        found.append(Area(contrast.name, counts, area, baseline, compared_areas(other, loud, seed)[0], gain))
    return found


def closed_share(spoken: Spoken, phones: Sequence[str], below: float = SHUT, *, alone: bool = False) -> Interval:
    """The share of `phones` at which the lips shut, phones resampled; of those `alone`, without p b m beside them."""
    least = spoken.least[spoken.among(phones) & (spoken.alone | (not alone))]
    return mean(least < below) if len(least) >= FEWEST else Interval(float("nan"))


@dataclass(frozen=True, eq=False)
class Voiced:
    """One recording whose phones are known, and the mouths that were judged at them.

    mouths:  Spoken of "ours", "loudness", "wrong sound", of "real" if it was filmed; in noise, of ours by the kind of
        noise ("white"), and of one that follows its loudness ("white loudness")
    targets: correlation with the articulation of its phones, by channel and mouth
    pauses:  closure in its pauses, by mouth
    """

    name: str
    source: str
    mouths: dict[str, Spoken]
    targets: dict[str, dict[str, float]]
    pauses: dict[str, Closure]
    paused: float


def judge_phones(
    recording: Recording,
    source: str,
    segments: Sequence[Segment],
    wrong: Mouth,
    noisy: Mapping[str, tuple[Speech, Mouth]],
    filmed: Filmed | None,
) -> Voiced:
    """Our mouth, and those beside it, at the phones of a recording.

    wrong: our mouth for another sound
    noisy: this sound in kinds of noise, and our mouth for it
    """
    mouth = recording.mouth
    length = len(mouth.gap)
    tracks = {"ours": mouth, "loudness": follower(recording.speech, mouth), "wrong sound": wrong.fitted(length)}
    for kind, (speech, other) in noisy.items():
        tracks |= {kind: other.fitted(length), f"{kind} loudness": follower(speech, mouth)}
    if filmed is not None:
        wide = max(float(np.percentile(filmed.real.aperture, 95)), 1e-9)
        unseen = np.full(len(filmed.real.width), np.nan)
        tracks["real"] = Mouth(filmed.real.aperture / wide, -filmed.real.width, unseen)
    gaps = {who: tracks[who].gap for who in ("ours", "loudness", "wrong sound")}
    gaps["frozen"] = np.full(length, mouth.gap.mean())
    paused = inside_pauses(segments, length)
    return Voiced(
        name=recording.name,
        source=source,
        mouths={name: Spoken.of(segments, track) for name, track in tracks.items()},
        targets=target_correlations(recording, segments, tracks["loudness"].gap, tracks["wrong sound"]),
        pauses={who: closure(gap, paused, mouth.gap) for who, gap in gaps.items()},
        paused=float(paused.sum() / FPS),
    )


def follower(speech: Speech, like: Mouth) -> Mouth:
    """A mouth that follows the loudness of `speech` with all it does, as wide open as `like`."""
    gap = reference_scaled(loudness_envelope(speech, len(like.gap)), like.gap)
    return Mouth(gap, gap, gap)


def articulated(segments: Sequence[Segment], speech: Speech, frames: int) -> dict[str, Track]:
    """What the articulation model would do for these phones, [frames] at 25 a second: gap, jaw and pucker."""
    prosody = Prosody.of(speech.samples)
    tokens = len(speech.samples) // HOP
    expression = articulate(segments, tokens, prosody)
    expression = np.pad(expression, ((0, max(0, 2 * frames - tokens)), (0, 0)), mode="edge")[: 2 * frames]
    pairs = expression.reshape(frames, 2, -1).mean(axis=1)
    return {
        "gap": lip_gap(pairs) / GAP_CM,
        "jaw": pairs[:, INDEX["jawOpen"]].astype(np.float64),
        "pucker": pairs[:, INDEX["mouthPucker"]].astype(np.float64),
    }


def target_correlations(
    recording: Recording, segments: Sequence[Segment], loud: Track, wrong: Mouth
) -> dict[str, dict[str, float]]:
    """Correlations of our gap, jaw and pucker with those of the articulation model, where phones are known.

    Of another sound there is only the gap and the rounding, which stands for the pucker.
    """
    expression = recording.motion.expression.astype(np.float64)
    frames = len(expression)
    targets = articulated(segments, recording.speech, frames)
    ours = {"gap": recording.mouth.gap, "jaw": expression[:, INDEX["jawOpen"]]}
    ours["pucker"] = expression[:, INDEX["mouthPucker"]]
    others = {"gap": wrong.gap, "jaw": wrong.gap, "pucker": wrong.rounding}
    known = covered(segments, frames)
    return {
        channel: {
            "ours": correlation(ours[channel][known], target[known]),
            "loudness": correlation(loud[known], target[known]),
            "wrong sound": correlation(others[channel][known], target[known]),
        }
        for channel, target in targets.items()
    }


def covered(segments: Sequence[Segment], frames: int) -> NDArray[np.bool_]:
    """Frames [frames] in whose middle a phone or a pause is known."""
    return _between([(start, end) for start, end, _ in segments], frames)


def inside_pauses(segments: Sequence[Segment], frames: int) -> NDArray[np.bool_]:
    """Frames [frames] of long pauses, where the mouth has had time to shut and does not yet get ready."""
    pauses = [(start, end) for start, end, phone in segments if phone == "sil" and end - start >= PAUSE]
    return _between([(start + SHUT_AFTER, end - OPEN_BEFORE) for start, end in pauses], frames)


def _between(spans: Sequence[tuple[float, float]], frames: int) -> NDArray[np.bool_]:
    times = (np.arange(frames) + 0.5) / FPS
    inside = np.zeros(frames, bool)
    for start, end in spans:
        inside |= (times >= start) & (times < end)
    return inside


class PhoneRow(NamedTuple):
    """A phone in the mean over all that were said: medians of gaps as shares of the widest."""

    phone: str
    said: int
    least: float
    gap: float
    low: float
    high: float
    loudness: float
    target: float
    real: float


def phone_rows(mouths: Mapping[str, Spoken]) -> list[PhoneRow]:
    """For each phone that was said: median of its least and of its mean gap, the quartiles of the latter, and others'.

    target: the viseme of the articulation model; real: the mean gap of filmed lips as a share of their widest
    """
    ours, loud, real = mouths["ours"], mouths["loudness"], mouths.get("real")
    rows = []
    for phone in PHONES[1:]:
        here = ours.among([phone])
        if not here.any():
            continue
        low, middle, high = np.quantile(ours.gap[here], [0.25, 0.5, 0.75])
        filmed = real.gap[real.among([phone])] if real is not None else np.zeros(0)
        rows.append(
            PhoneRow(
                phone, int(here.sum()), float(np.median(ours.least[here])), float(middle), float(low), float(high),
                float(np.median(loud.gap[here])), VISEMES[phone].gap,
                float(np.median(filmed)) if len(filmed) else float("nan"),
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: row.gap)
