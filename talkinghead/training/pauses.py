"""Where a voice pauses: by its sound, since a network's durations count much of a pause to the phone before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..motion.phones import Segment

STEP = 0.01  # seconds
QUIET = -40.0  # dB, against the loudest 5 % of the speech
SHORT = 0.2  # seconds; less than this is a pause only where one is expected: stops and rests of speech are shorter
CLOSURE = 0.06  # seconds at the end of a pause in which the lips or tongue close for a stop
LEAST = 0.05  # seconds that a phone beside a pause keeps, if it had them; its neighbour gives them
STOPS = frozenset("pbtdkgɡcɟʈɖq")  # first letters, in IPA

Span = tuple[float, float]


def settle_pauses(segments: Sequence[Segment], samples: NDArray[np.float32], rate: int) -> list[Segment]:
    """Move the pauses of `segments` (start, end, IPA; "" is a pause) to where nothing sounds in `samples` [N].

    A pause expected where something sounds is shared between its neighbours.
    """
    end = segments[-1][1]
    expected = [(start, stop) for start, stop, phone in segments if not phone]
    pauses = [span for span in quiet_spans(samples, rate) if _is_pause(span, expected, end)]
    edges = [0.0, *(edge for pause in pauses for edge in pause), end]
    sounds = [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop - start > STEP / 2]
    settled: list[Segment] = []
    last = 0.0
    for (start, stop), phones in zip(sounds, _share(_phones(segments), sounds), strict=True):
        if not phones:
            continue
        if phones[0][2][0] in STOPS:
            start = max(last, start - CLOSURE)
        if start > last:
            settled.append((last, start, ""))
        settled += _fit(phones, start, stop)
        last = stop
    return [*settled, (last, end, "")] if settled and last < end else settled


def quiet_spans(samples: NDArray[np.float32], rate: int) -> list[Span]:
    """Where nothing sounds, (start, end) in seconds."""
    window = round(STEP * rate)
    power = np.square(samples[: len(samples) // window * window].reshape(-1, window)).mean(axis=1)
    quiet = power < np.percentile(power, 95) * 10 ** (QUIET / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]))) * STEP
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _is_pause(span: Span, expected: Sequence[Span], end: float) -> bool:
    start, stop = span
    at_an_end = start == 0 or stop > end - 2 * STEP
    return stop - start >= SHORT or at_an_end or any(start < last and stop > first for first, last in expected)


def _phones(segments: Sequence[Segment]) -> list[Segment]:
    """The phones alone, without gaps: each pause is shared between its neighbours, or is that of the only one."""
    phones = [segment for segment in segments if segment[2]]
    if not phones:
        return []
    cuts = [(before[1] + after[0]) / 2 for before, after in pairwise(phones)]
    starts, ends = [segments[0][0], *cuts], [*cuts, segments[-1][1]]
    return [(start, end, phone[2]) for start, end, phone in zip(starts, ends, phones, strict=True)]


def _share(phones: Sequence[Segment], sounds: Sequence[Span]) -> list[list[Segment]]:
    """Each phone to the sound that holds most of it, or else to the nearest; none comes before one it follows."""
    shares: list[list[Segment]] = [[] for _ in sounds]
    earliest = 0
    for start, stop, phone in phones:
        overlaps = [min(stop, last) - max(start, first) for first, last in sounds[earliest:]]  # below 0: a distance
        if overlaps:
            earliest += int(np.argmax(overlaps))
            shares[earliest].append((start, stop, phone))
    return shares


def _fit(phones: Sequence[Segment], start: float, end: float) -> list[Segment]:
    """The phones, from start to end: those at the edges are cut, but each keeps LEAST, or what it had, if it fits."""
    least = np.array([min(LEAST, last - first) for first, last, _ in phones])
    least *= min(1.0, (end - start) / least.sum())
    starts = np.array([first for first, _, _ in phones])
    before, after = np.cumsum(least) - least, np.cumsum(least[::-1])[::-1]
    starts = np.maximum.accumulate(np.maximum(starts - before, start)) + before
    starts = np.minimum.accumulate(np.minimum(starts + after, end)[::-1])[::-1] - after
    cuts = [start, *starts[1:].tolist(), end]
    return [(first, last, phone) for (first, last), (_, _, phone) in zip(pairwise(cuts), phones, strict=True)]
