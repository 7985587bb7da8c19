"""Speech in noise: steady hiss, or other people talking."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..types import Array, Speech

TALKERS = 6  # in babble
KINDS = ("white", "babble")


def in_noise(name: str, speech: Speech, others: Sequence[Array], decibels: float, seed: int = 0) -> dict[str, Speech]:
    """`speech` with white noise and with babble, each `decibels` below it on average; the louder sum is scaled down.

    name:   of the speech: the noise depends on it and `seed`, not on the order of files
    others: sounds that the babble is made of; of the speech itself, if there are none
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    samples = speech.samples.astype(np.float64)
    hiss = rng.standard_normal(len(samples))
    noises = {"white": hiss, "babble": babble(others or [speech.samples], len(samples), rng)}
    power = float(np.mean(samples**2))
    noisy = {}
    for kind, noise in noises.items():
        level = np.sqrt(power / max(float(np.mean(noise**2)), 1e-20) / 10 ** (decibels / 10))
        mixed = samples + level * noise
        noisy[kind] = Speech((mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32))
    return noisy


def babble(sounds: Sequence[Array], length: int, rng: Generator) -> NDArray[np.float64]:
    """TALKERS voices at once [length], each as loud as the others, half of them backwards, so that none says this."""
    total = np.zeros(length)
    for talker in range(TALKERS):
        sound = sounds[rng.integers(len(sounds))].astype(np.float64)
        voice = np.roll(sound, rng.integers(len(sound)))
        voice = np.resize(voice[::-1] if talker % 2 else voice, length)
        total += voice / max(float(np.sqrt(np.mean(voice**2))), 1e-9)
    return total
