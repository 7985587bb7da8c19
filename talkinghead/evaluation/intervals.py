"""Figures, and how far chance could have moved them: bootstrap intervals, areas under ROC curves, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Track = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 50  # resamples drawn at once; bounds memory
FEWEST = 3  # of either kind that an area is worth telling for
NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % bootstrap interval; `low` and `high` are NaN where too little could be resampled."""

    value: float
    low: float = NAN
    high: float = NAN


def interval(value: float, resampled: Track) -> Interval:
    """`value` with the middle 95 % of what it was on the resamples [B]."""
    known = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(known) < RESAMPLES / 2 or np.ptp(known) < 1e-9:
        return Interval(float(value))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def mean(values: ArrayLike, seed: int = 0) -> Interval:
    """The mean over clips, clips resampled; NaN is left out."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return Interval(NAN)
    chosen = np.random.default_rng(seed).integers(len(known), size=(RESAMPLES, len(known)))
    return interval(float(known.mean()), known[chosen].mean(axis=1))


def ratio(amounts: ArrayLike, totals: ArrayLike, seed: int = 0) -> Interval:
    """The sum of `amounts` over the sum of `totals`, one of each per clip, clips resampled."""
    top, bottom = np.asarray(amounts, np.float64), np.asarray(totals, np.float64)
    if not bottom.sum():
        return Interval(NAN)
    chosen = np.random.default_rng(seed).integers(len(top), size=(RESAMPLES, len(top)))
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1)
    return interval(float(top.sum() / bottom.sum()), resampled)


def area(above: ArrayLike, below: ArrayLike) -> float:
    """Area under the ROC curve: the chance that one of `above` is higher than one of `below`; ties count half."""
    return float(_areas(np.asarray(above, np.float64)[None], np.asarray(below, np.float64)[None])[0])


def areas(above: Track, below: Track, seed: int = 0) -> Track:
    """The area on each of RESAMPLES resamples [B] of both; the same seed and sizes draw the same members."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(RESAMPLES // BLOCK):
        one, other = (rng.integers(len(side), size=(BLOCK, len(side))) for side in (above, below))
        blocks.append(_areas(above[one], below[other]))
    return np.concatenate(blocks)


def _areas(above: Track, below: Track) -> Track:
    """Areas [B] of rows [B, n] against rows [B, m], by the rank sum; NaN where one is empty or not finite."""
    from scipy.stats import rankdata

    count, against = above.shape[1], below.shape[1]
    if not count or not against:
        return np.full(len(above), NAN)
    both = np.concatenate([above, below], axis=1)
    ranks = rankdata(both, axis=1)[:, :count].sum(axis=1)
    found = (ranks - count * (count + 1) / 2) / (count * against)
    return np.where(np.isfinite(both).all(axis=1), found, NAN)


def compared_areas(
    ours: tuple[Track, Track], baseline: tuple[Track, Track], seed: int = 0
) -> tuple[Interval, Interval, Interval]:
    """Areas of two signals on the same phones, (above, below) each, and by how much ours is larger."""
    if min(len(part) for part in ours) < FEWEST:
        return Interval(NAN), Interval(NAN), Interval(NAN)
    first, second = areas(*ours, seed=seed), areas(*baseline, seed=seed)
    one, other = area(*ours), area(*baseline)
    return interval(one, first), interval(other, second), interval(one - other, first - second)


def correlation(signal: Track, reference: Track, lag: int = 0) -> float:
    """Pearson correlation, -1 to 1, of `signal` from `lag` frames on with `reference`; NaN if one is constant."""
    length = min(len(signal), len(reference))
    first, last = max(0, -lag), min(length, length - lag)
    if last - first < 3:
        return NAN
    a, b = signal[first + lag : last + lag], reference[first:last]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return NAN
    return float(np.corrcoef(a, b)[0, 1])


def pooled_correlation(signals: Sequence[Track], references: Sequence[Track], seed: int = 0) -> Interval:
    """Pearson correlation over the frames of all clips together, clips resampled."""
    sums = np.array([
        [len(a), a.sum(), b.sum(), a @ a, b @ b, a @ b] for a, b in zip(signals, references, strict=True)
    ])  # fmt: skip
    chosen = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    return interval(float(_pearson(sums.sum(axis=0)[None])[0]), _pearson(sums[chosen].sum(axis=1)))


def _pearson(sums: Track) -> Track:
    """Correlations [B] from rows [B, 6] of count, sums, sums of squares and of products; NaN if one is constant."""
    count, a, b, aa, bb, ab = sums.T
    spread = (count * aa - a**2) * (count * bb - b**2)
    known = spread > 1e-18 * (count * aa + 1e-30) * (count * bb + 1e-30)
    return np.where(known, (count * ab - a * b) / np.sqrt(np.where(known, spread, 1)), NAN)


def reference_scaled(signal: Track, like: Track) -> Track:
    """`signal` as a mouth: 0 at its lowest, and as wide as `like` at the 95th percentile."""
    above = signal - signal.min(initial=np.inf)
    top = float(np.percentile(above, 95)) if len(above) else 0.0
    return np.asarray(above * (float(np.percentile(like, 95)) / top if top > 0 else 0.0))
