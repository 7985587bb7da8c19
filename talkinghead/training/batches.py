"""Training examples: windows cut from the corpus, heard through ever different ears."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..files import check_unpacked, open_regular
from ..types import EXPRESSIONS

MELS_PER_TOKEN = 2  # 100 log-mels and 50 tokens a second
SILENCE = 0  # index of the phone "sil"
UNKNOWN = 255  # index where no phones are known, as in speech that people recorded
_HINT = "make one: talkinghead corpus FOLDER"
DEAF = -1.5  # log-mel value of digital silence, in Whisper's units
MUSIC = 0.4  # share of windows without speech in which music plays
MOST_SHARD = 4 << 30  # bytes unpacked: 54 hours in one shard are less
MAX_LEAD = 50  # tokens of silence before a sound: what the first window of "micro" brings with it

HalfArray = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Example:
    """A clip of the corpus, 50 tokens a second.

    mel:        [2 A, 80] log-mel in Whisper's units
    expression: [A, 52] and pose: [A, 6] what the face does
    phones:     [A] index of the phone that sounds, or UNKNOWN
    style:      [A, 2] strength of jaw and lips
    """

    voice: str
    mel: HalfArray
    expression: HalfArray
    pose: HalfArray
    phones: NDArray[np.uint8]
    style: HalfArray

    def __len__(self) -> int:
        return len(self.phones)


class Window(NamedTuple):
    """A piece of a clip: mel [2 A, 80], motion [A, 58], phones [A], style [A, 2], and the motion before it [58]."""

    mel: NDArray[np.float32]
    motion: NDArray[np.float32]
    phones: NDArray[np.uint8]
    before: NDArray[np.float32]
    style: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Windows of the same length, as tensors.

    mel:    [B, 80, 2 A]
    motion: [B, A, 58] expression and pose
    phones: [B, A]
    before: [B, 58] motion just before the window
    style:  [B, A, 2] strength of jaw and lips
    """

    mel: Tensor
    motion: Tensor
    phones: Tensor
    before: Tensor
    style: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        tensors = (self.mel, self.motion, self.phones, self.before, self.style)
        return Batch(*(tensor.to(device) for tensor in tensors))

    @property
    def frames(self) -> Tensor:
        """Motion [B, A / 2, 58] at 25 a second: the mean of each pair of tokens."""
        batch, tokens, channels = self.motion.shape
        return self.motion.view(batch, tokens // 2, 2, channels).mean(dim=2)

    @property
    def frame_style(self) -> Tensor:
        """Style [B, A / 2, 2] at 25 a second."""
        return self.style[:, ::2]


@dataclass(frozen=True)
class Hearing:
    """How much the sound of a training window is changed.

    level:    lowest and highest change of loudness, in units of 40 dB
    tone:     largest change of the tone balance, in units of 40 dB
    warp:     lowest and highest stretch of the mel axis: other lengths of the vocal tract
    mask:     chance of hiding a band of up to `mask_bands` mels, and likewise of up to `mask_mels` moments
    masks:    how often each is tried: more of them teach to hear from less (Park et al., SpecAugment, 2019)
    silent:   share of windows in which nobody speaks
    """

    level: tuple[float, float] = (-0.3, 0.12)
    tone: float = 0.12
    warp: tuple[float, float] = (0.88, 1.13)
    mask: float = 0.4
    masks: int = 1
    mask_bands: int = 10
    mask_mels: int = 12
    silent: float = 0.05

    def __post_init__(self) -> None:
        if not (self.level[0] <= self.level[1] and 0 < self.warp[0] <= self.warp[1]):
            raise ValueError("level and warp must go from low to high, and warp be above 0")
        if not (2 <= self.mask_bands < 80 and self.mask_mels >= 2):
            raise ValueError("mask_bands must be 2 to 79, and mask_mels at least 2")
        if not (0 <= self.masks <= 20 and 0 <= self.mask <= 1 and 0 <= self.silent <= 1 and self.tone >= 0):
            raise ValueError("mask and silent must be 0 to 1, masks 0 to 20, and tone 0 or more")

    def change(self, mel: NDArray[np.float32], floor: float, rng: Generator) -> NDArray[np.float32]:
        """`mel` [2 A, 80] as another microphone, room and throat would give it."""
        mels, bands = mel.shape
        at = np.clip(np.arange(bands) * rng.uniform(*self.warp), 0, bands - 1.001)
        low = at.astype(int)
        share = (at - low).astype(np.float32)
        mel = mel[:, low] * (1 - share) + mel[:, low + 1] * share
        knots = rng.uniform(-self.tone, self.tone, 5)
        tone = np.interp(np.arange(bands), np.linspace(0, bands - 1, len(knots)), knots - knots.mean())
        mel = np.maximum(mel + tone + rng.uniform(*self.level), floor).astype(np.float32)
        for _ in range(self.masks):
            if rng.random() < self.mask:
                first = rng.integers(bands - self.mask_bands)
                mel[:, first : first + rng.integers(1, self.mask_bands)] = floor
            if rng.random() < self.mask:
                first = rng.integers(mels - self.mask_mels)
                mel[first : first + rng.integers(1, self.mask_mels)] = floor
        return np.asarray(mel)

    def silence(self, like: Window, floor: float, rng: Generator) -> Window:
        """A window as long as `like` in which nobody speaks: noise of any tone, inaudible to loud, or music over it."""
        bands = like.mel.shape[1]
        knots = rng.uniform(floor - 1.0, floor + 0.9) + rng.normal(0, 0.15, 5)
        level = np.interp(np.arange(bands), np.linspace(0, bands - 1, len(knots)), knots)
        # A band's power in one moment of noise spreads about its mean like an exponential distribution.
        spread = np.log10(rng.exponential(size=like.mel.shape) + 0.05) / 4
        heard = level + spread
        if rng.random() < MUSIC:
            heard = np.maximum(heard, rng.uniform(floor, 1.2) + chords(len(heard), bands, rng))
        mel = np.maximum(heard, floor).astype(np.float32)
        rest = np.zeros_like(like.motion)
        return like._replace(mel=mel, motion=rest, phones=np.full_like(like.phones, SILENCE), before=rest[0])


def chords(mels: int, bands: int, rng: Generator) -> NDArray[np.float64]:
    """Log-mels [mels, bands] of plucked or held tones with overtones, 0 at the loudest, a new chord now and then."""
    level = np.full((mels, bands), -4.0)
    begin = 0
    while begin < mels:
        length = min(int(rng.integers(20, 110)), mels - begin)
        seconds = np.arange(length)[:, None] / 100
        fading = rng.uniform(0, 26) * seconds / 40  # decibels a second, in units of 40 dB
        for root in 110 * 2 ** (rng.integers(0, 30, rng.integers(1, 5)) / 12):
            for overtone in range(1, 9):
                away = np.abs(np.arange(bands) - (hertz_to_mel(root * overtone) / MEL_TOP * (bands + 1) - 1))
                tone = -0.75 * np.log10(overtone) - 0.35 * np.maximum(away - 0.7, 0) ** 2
                level[begin : begin + length] = np.maximum(level[begin : begin + length], tone - fading)
        begin += length
    return level


def hertz_to_mel(hertz: float) -> float:
    """Slaney's mel scale, that of Whisper's filters: linear to 1000 Hz, logarithmic above."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


MEL_TOP = hertz_to_mel(8000)


def read_manifest(folder: str | PathLike[str]) -> dict[str, Any]:
    """What a corpus written by `talkinghead corpus` is made of. Raises InputError."""
    try:
        manifest = json.loads((Path(folder) / "manifest.json").read_text("utf-8"))
        if not isinstance(manifest, dict) or not isinstance(manifest.get("shards"), list):
            raise ValueError("its manifest lists no shards")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a speech corpus: {error}", _HINT) from error
    return manifest


def read_corpus(folder: str | PathLike[str], split: str, *, required: bool = True) -> list[Example]:
    """All clips of one split of a corpus written by `talkinghead corpus`. Raises InputError.

    required: whether having none is an error
    """
    try:
        shards = [shard for shard in read_manifest(folder)["shards"] if shard["split"] == split]
        examples = [e for shard in shards for e in _read_shard(Path(folder) / shard["file"], shard["voice"])]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: not a speech corpus: {error}", _HINT) from error
    if required and not examples:
        raise InputError(f"{folder}: the corpus has no clips in its split {split!r}", _HINT)
    return examples


def _read_shard(path: Path, voice: str) -> list[Example]:
    with open_regular(path, InputError) as file:
        check_unpacked(file, MOST_SHARD)
        with np.load(file, allow_pickle=False) as shard:
            lengths = shard["lengths"].astype(int)
            cuts = np.cumsum(lengths)[:-1]
            columns = [
                np.split(shard["mel"], cuts * MELS_PER_TOKEN),
                np.split(shard["expression"], cuts),
                np.split(shard["pose"], cuts),
                np.split(shard["phones"], cuts),
                np.split(shard["style"], cuts),
            ]
    return [Example(voice, *clip) for clip in zip(*columns, strict=True)]


def batch_of(
    examples: Sequence[Example],
    shares: NDArray[np.float64],
    size: int,
    length: int,
    floor: float,
    hearing: Hearing | None,
    rng: Generator,
) -> Batch:
    """`size` random windows of `length` tokens, clips drawn by their `shares`, reaching into silence around a clip.

    hearing: how to change the sound; None leaves it
    """
    windows = []
    for index in rng.choice(len(examples), size, p=shares):
        example = examples[index]
        # Mostly the silence that serving puts before a sound; sometimes so much that little of the clip is left.
        around = MAX_LEAD if rng.random() < 0.85 else length - MAX_LEAD // 2
        start = int(rng.integers(-around, max(1, len(example) - length + around)))
        windows.append(window_of(example, start, length, floor))
    if hearing is not None:
        windows = [window._replace(mel=hearing.change(window.mel, floor, rng)) for window in windows]
        for index in np.flatnonzero(rng.random(size) < hearing.silent):
            windows[index] = hearing.silence(windows[index], floor, rng)
    return as_batch(windows)


def as_batch(windows: Sequence[Window]) -> Batch:
    """Windows of the same length, side by side."""
    mels, motions, phones, before, styles = zip(*windows, strict=True)
    return Batch(
        torch.from_numpy(np.stack(mels)).transpose(1, 2),
        torch.from_numpy(np.stack(motions)),
        torch.from_numpy(np.stack(phones).astype(np.int64)),
        torch.from_numpy(np.stack(before)),
        torch.from_numpy(np.stack(styles)),
    )


def window_of(example: Example, start: int, length: int, floor: float) -> Window:
    """The window of `length` tokens of `example` from token `start` on; silence and rest outside the clip."""
    first = min(max(0, start), len(example))
    last = max(first, min(len(example), start + length))
    place = slice(first - start, last - start)
    mel = np.full((length * MELS_PER_TOKEN, example.mel.shape[1]), floor, np.float32)
    heard = example.mel[first * MELS_PER_TOKEN : last * MELS_PER_TOKEN]
    mel[place.start * MELS_PER_TOKEN : place.stop * MELS_PER_TOKEN] = np.maximum(heard, floor)
    motion = np.zeros((length, EXPRESSIONS + example.pose.shape[1]), np.float32)
    motion[place, :EXPRESSIONS] = example.expression[first:last]
    motion[place, EXPRESSIONS:] = example.pose[first:last]
    phones = np.full(length, SILENCE, np.uint8)
    phones[place] = example.phones[first:last]
    before = np.zeros(motion.shape[1], np.float32)
    if start > 0:
        before = np.concatenate([example.expression[start - 1], example.pose[start - 1]]).astype(np.float32)
    style = np.ones((length, example.style.shape[1]), np.float32)
    style[:] = example.style[min(max(0, start), len(example) - 1)]  # of the nearest moment, around the clip too
    style[place] = example.style[first:last]
    return Window(mel, motion, phones, before, style)
