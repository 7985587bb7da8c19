"""Pauses of neural voices: they are where nothing sounds, wherever the network's durations put them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from talkinghead.motion.phones import Segment
from talkinghead.training.pauses import SHORT, quiet_spans, settle_pauses

RATE = 16000


def sounding(end: float, *spans: tuple[float, float]) -> NDArray[np.float32]:
    """Noise in `spans` of `end` seconds, and next to nothing outside of them."""
    samples = 1e-4 * np.random.default_rng(0).standard_normal(round(end * RATE))
    for start, stop in spans:
        samples[round(start * RATE) : round(stop * RATE)] *= 1000
    return samples.astype(np.float32)


def settled(segments: list[Segment], end: float, *spans: tuple[float, float]) -> list[Segment]:
    found = settle_pauses(segments, sounding(end, *spans), RATE)
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(end)
    assert [start for start, _, _ in found[1:]] == [stop for _, stop, _ in found[:-1]]
    assert all(stop > start for start, stop, _ in found)
    return [(round(start, 3), round(stop, 3), phone) for start, stop, phone in found]


def test_quiet_spans_are_found_to_a_hundredth():
    found = quiet_spans(sounding(2.0, (0.3, 0.8), (1.1, 1.9)), RATE)
    np.testing.assert_allclose(found, [(0, 0.3), (0.8, 1.1), (1.9, 2.0)], atol=1e-6)


def test_the_phone_before_a_pause_ends_with_its_sound():
    segments = [(0.0, 0.2, ""), (0.2, 0.4, "m"), (0.4, 1.0, "a"), (1.0, 1.2, ""), (1.2, 1.5, "n"), (1.5, 1.7, "")]
    assert settled(segments, 1.7, (0.25, 0.6), (1.25, 1.4)) == [
        (0.0, 0.25, ""), (0.25, 0.4, "m"), (0.4, 0.6, "a"), (0.6, 1.25, ""), (1.25, 1.4, "n"), (1.4, 1.7, ""),
    ]  # fmt: skip


def test_a_stop_closes_before_it_sounds():
    segments = [(0.0, 0.5, "a"), (0.5, 0.8, ""), (0.8, 1.0, "p"), (1.0, 1.5, "a")]
    assert settled(segments, 1.5, (0, 0.5), (0.9, 1.5))[1:3] == [(0.5, 0.84, ""), (0.84, 1.0, "p")]


def test_a_pause_nobody_expects_must_be_long():
    segments = [(0.0, 0.5, "a"), (0.5, 0.7, "t"), (0.7, 1.2, "a")]
    short = SHORT - 0.05
    assert settled(segments, 1.2, (0, 0.5), (0.5 + short, 1.2)) == segments
    assert settled(segments, 1.2, (0, 0.45), (0.45 + SHORT + 0.05, 1.2))[1][2] == ""


def test_a_pause_in_which_something_sounds_is_its_neighbours():
    segments = [(0.0, 0.5, "a"), (0.5, 0.7, ""), (0.7, 1.2, "s")]
    assert settled(segments, 1.2, (0, 1.2)) == [(0.0, 0.6, "a"), (0.6, 1.2, "s")]


def test_a_phone_that_lies_in_a_pause_is_heard_beside_it():
    segments = [(0.0, 0.2, ""), (0.2, 0.24, "w"), (0.24, 0.3, "i"), (0.3, 0.8, "a"), (0.8, 0.9, "")]
    assert settled(segments, 0.9, (0.27, 0.8))[:3] == [(0.0, 0.27, ""), (0.27, 0.32, "w"), (0.32, 0.37, "i")]


def test_the_last_phone_keeps_its_least():
    segments = [(0.0, 0.5, "a"), (0.5, 0.9, "m"), (0.9, 1.0, "")]
    assert settled(segments, 1.0, (0, 0.52))[:2] == [(0.0, 0.47, "a"), (0.47, 0.52, "m")]


def test_more_phones_than_the_sound_has_room_for_share_it():
    segments = [(0.0, 0.1, "a"), (0.1, 0.2, "n"), (0.2, 0.3, "a"), (0.3, 1.0, "")]
    found = settled(segments, 1.0, (0, 0.09))
    assert [phone for _, _, phone in found] == ["a", "n", "a", ""]
    assert found[0][1] == pytest.approx(0.03)


def test_nothing_said_is_nothing():
    assert settle_pauses([(0.0, 1.0, "")], sounding(1.0, (0.2, 0.8)), RATE) == []
