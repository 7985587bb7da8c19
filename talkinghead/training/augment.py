"""Speech as microphones, rooms and files make it: what training adds to clean synthetic speech.

All functions take mono samples [N] float at 16 kHz and draw from the generator they are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE

Samples = NDArray[np.floating[Any]]
Wave = NDArray[np.float64]

CLEAN = 0.15  # share of clips left as they are, but for the level
LEVEL = (0.1, 0.95)  # loudest sample of the result


def degrade(samples: Samples, random: Generator, babble: Samples) -> NDArray[np.float32]:
    """A worse recording of `samples`: each of the changes below has a chance, the level comes last.

    Tone, room, music, one other voice, noise, band, codec, clipping.

    babble: speech of others to draw from, longer than `samples`
    """
    wave = samples.astype(np.float64)
    if random.random() >= CLEAN:
        if random.random() < 0.8:
            wave = equalise(wave, random)
        if random.random() < 0.45:
            wave = reverberate(wave, random)
        if random.random() < 0.08:
            wave = _mix(wave, music(len(wave), random), random.uniform(5, 25))
        if random.random() < 0.05:
            start = random.integers(0, len(babble) - len(wave) + 1)
            wave = _mix(wave, np.asarray(babble[start : start + len(wave)], np.float64), random.uniform(8, 25))
        if random.random() < 0.75:
            wave = _mix(wave, noise(len(wave), random, babble), random.uniform(3, 35))
        if random.random() < 0.2:
            wave = limit_band(wave, random)
        if random.random() < 0.12:
            wave = encode(wave, random)
        if random.random() < 0.1:
            wave = np.tanh(wave / _loudest(wave) * random.uniform(1.5, 4))
    return set_level(wave, random)


def set_level(wave: Samples, random: Generator) -> NDArray[np.float32]:
    """The same at a random level, above a faint noise floor such as any recording has."""
    floor = random.standard_normal(len(wave)) * 10 ** random.uniform(-4.5, -3.2)
    level = random.uniform(*LEVEL)
    return np.asarray(wave / _loudest(wave) * level + floor * level, np.float32)


def change_speed(samples: Samples, speed: float) -> NDArray[np.float32]:
    """Played faster and higher (`speed` above 1) or slower and lower."""
    import soxr

    return np.asarray(soxr.resample(samples.astype(np.float32), SAMPLE_RATE * speed, SAMPLE_RATE), np.float32)


def change_pitch(samples: Samples, semitones: float) -> NDArray[np.float32]:
    """Higher or lower voice and vocal tract at the same speed."""
    from librosa.effects import pitch_shift

    shifted = pitch_shift(samples.astype(np.float32), sr=SAMPLE_RATE, n_steps=semitones, n_fft=512)
    return np.asarray(shifted, np.float32)


def breathe_in(random: Generator) -> NDArray[np.float32]:
    """A breath of 0.2 to 0.5 s: noise around 1 to 2 kHz that swells and fades, softer than speech."""
    from scipy.signal import butter, sosfilt

    length = int(SAMPLE_RATE * random.uniform(0.2, 0.5))
    middle = random.uniform(900, 2200)
    band = butter(2, (0.6 * middle, 1.7 * middle), "band", fs=SAMPLE_RATE, output="sos")
    swell = np.sin(np.pi * np.arange(length) / length) ** random.uniform(0.7, 2)
    breath = sosfilt(band, random.standard_normal(length)) * swell
    return np.asarray(breath / _loudest(breath) * 10 ** random.uniform(-2.0, -0.9), np.float32)


def encode(wave: Wave, random: Generator) -> Wave:
    """What a telephone's codec (mu-law or GSM, 8 kHz) or a low-quality Vorbis file leaves; none of them delays."""
    import io

    import soundfile
    import soxr

    scale = 1.1 * _loudest(wave)
    container, subtype = (("WAV", "ULAW"), ("WAV", "GSM610"), ("OGG", "VORBIS"))[random.integers(3)]
    rate = SAMPLE_RATE if subtype == "VORBIS" else SAMPLE_RATE // 2
    sent = wave / scale if rate == SAMPLE_RATE else soxr.resample(wave / scale, SAMPLE_RATE, rate)
    options = {"compression_level": float(random.uniform(0.7, 1.0))} if subtype == "VORBIS" else {}
    with io.BytesIO() as file:
        soundfile.write(file, sent, rate, format=container, subtype=subtype, **options)
        file.seek(0)
        received = soundfile.read(file)[0]
    if rate != SAMPLE_RATE:
        received = soxr.resample(received, rate, SAMPLE_RATE)
    received = np.pad(received, (0, max(0, len(wave) - len(received))))[: len(wave)]
    return np.asarray(received * scale)


def equalise(wave: Wave, random: Generator) -> Wave:
    """A smooth random tone curve of seven points, -9 to 9 decibels."""
    spectrum = np.fft.rfft(wave)
    points = random.uniform(-9, 9, 7)
    places = np.sqrt(np.linspace(0, 1, len(spectrum)))  # closer together at low frequencies
    curve = np.interp(places, np.linspace(0, 1, 7), points - points.mean())
    return np.asarray(np.fft.irfft(spectrum * 10 ** (curve / 20), len(wave)))


def reverberate(wave: Wave, random: Generator) -> Wave:
    """A room of 0.08 to 0.6 s: the direct sound, and decaying noise of less to about equal energy after it."""
    from scipy.signal import fftconvolve

    decay = random.uniform(0.08, 0.6)  # seconds to -60 decibels
    length = int(SAMPLE_RATE * min(decay, 0.5))
    response = random.standard_normal(length) * np.exp(-6.9 * np.arange(length) / (SAMPLE_RATE * decay))
    response *= 1.6 / random.uniform(0.5, 6) / np.sqrt((response**2).sum())
    response[0] = 1
    return np.asarray(fftconvolve(wave, response)[: len(wave)])


def limit_band(wave: Wave, random: Generator) -> Wave:
    """Low and high frequencies cut off, as by a telephone or a small microphone."""
    from scipy.signal import butter, sosfilt

    edges = (random.uniform(80, 300), random.uniform(3000, 6500))
    return np.asarray(sosfilt(butter(4, edges, "band", fs=SAMPLE_RATE, output="sos"), wave))


def noise(length: int, random: Generator, babble: Samples) -> Wave:
    """White, pink or brown noise, or babble: four stretches of `babble` at once."""
    kind = random.integers(4)
    if kind == 3:
        starts = random.integers(0, len(babble) - length + 1, 4)
        return np.asarray(sum(np.asarray(babble[start : start + length], np.float64) for start in starts))
    spectrum = np.fft.rfft(random.standard_normal(length))
    slope = (0.0, 0.5, 1.0)[kind]
    return np.asarray(np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 20.0) ** slope, length))


def music(length: int, random: Generator) -> Wave:
    """Chords of plucked tones with overtones, a new one every third to one second."""
    wave = np.zeros(length)
    begin = 0
    while begin < length:
        count = int(SAMPLE_RATE * random.uniform(0.3, 1.0))
        seconds = np.arange(min(count, length - begin)) / SAMPLE_RATE
        root = 110 * 2 ** (random.integers(0, 25) / 12)
        for interval in random.choice([0, 3, 4, 7, 9, 12], 3, replace=False):
            for overtone in range(1, 6):
                phase = 2 * np.pi * root * 2 ** (interval / 12) * overtone * seconds
                wave[begin : begin + len(seconds)] += np.sin(phase) * np.exp(-3 * seconds) / overtone**1.5
        begin += count
    return wave


def _mix(wave: Wave, other: Wave, decibels: float) -> Wave:
    """`other` under `wave`, by `decibels` of mean power."""
    scale = np.sqrt((wave**2).mean() + 1e-12) / np.sqrt((other**2).mean() + 1e-12) * 10 ** (-decibels / 20)
    return np.asarray(wave + other * scale)


def _loudest(wave: Samples) -> float:
    return float(np.abs(wave).max()) + 1e-9
