"""A corpus of speech with known mouths: synthesised, degraded, heard as Whisper hears it, articulated.

    OUT/manifest.json       settings, voices with licences, shards with their split
    OUT/<voice>-<k>.npz     clips of 8 to about 20 seconds one after the other:
        mel         [sum 2A, 80] float16, 100 per second, as whisper.log_mel_spectrogram gives it
        expression  [sum A, 52]  float16, ARKit weights, 50 per second
        pose        [sum A, 6]   float16, rotation (pitch, yaw, roll in radians) and translation
        phones      [sum A]      uint8, index in the manifest's `phones`
        style       [sum A, 2]   float16, strength of jaw and lips, constant in a clip
        lengths     [clips]      int32, A of each clip

Splits: `train` is degraded, several copies; `validation` is other speech of the same voices and `held_out` are voices
never trained on, both nearly clean. A shard depends on the seed, its voice and its number alone, so that any number
of processes gives the same corpus and an interrupted one is taken up where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..errors import InputError, OutputExists
from ..motion.articulation import FRAMES_PER_SECOND, articulate, phone_per_frame
from ..motion.phones import PHONES, Segment
from ..motion.prosody import Prosody, head_pose
from ..motion.style import NEUTRAL, Style
from .augment import breathe_in, change_pitch, change_speed, degrade, set_level
from .batches import read_manifest
from .sentences import english_words
from .synthesisers import HELD_OUT, VOICES, Utterance, Voice, speak_for
from .workers import as_finished

VERSION = 3
SHARD_MINUTES = 5.0  # of speech, before copies
VALIDATION = 0.04  # share of each voice's speech
CLIP_SECONDS = 8.0  # a clip ends with the utterance that fills them
SPEEDS = (0.86, 1.17)
SHIFTED, SEMITONES = 0.2, 4.0  # share of utterances in another pitch, and by how much at most
BREATHS = 0.25  # share of pauses with a breath, if they are long enough
PLAIN = 0.4  # share of clips in the neutral style
EFFORT, BALANCE = (0.55, 1.5), 1.25  # strength of the others, and jaw against lips at most
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND

Shard = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One shard to make. seconds: of speech; copies: times it is used, each degraded in another way."""

    voice: str
    number: int
    split: str
    seconds: float
    copies: int
    seed: int

    @property
    def file(self) -> str:
        return f"{self.voice}-{self.number}.npz"


def make_corpus(
    out: str | PathLike[str],
    hours: float,
    seed: int = 0,
    workers: int = 1,
    *,
    copies: int = 2,
    voices: Sequence[str] | None = None,
    without: Sequence[str] = (),
    progress: bool | None = None,
) -> Path:
    """Make a corpus in folder `out`, or finish one that was begun with the same settings.

    hours:    of speech synthesised, shared among the voices; training uses it `copies` times
    voices:   names of the voices to use; None takes all that are installed
    without:  names of voices to leave out of these
    progress: show a bar; None shows it on a terminal

    Returns the path of the manifest. Raises ValueError for settings out of range, InputError for voices
    that are unknown or not installed, OutputExists if `out` holds a corpus of other settings.
    """
    from tqdm import tqdm

    if not (math.isfinite(hours) and hours > 0 and workers >= 1 and copies >= 1):
        raise ValueError(f"hours, workers and copies must be above 0, not {hours!r}, {workers!r}, {copies!r}")
    speakers = _installed(voices, without)
    jobs = plan(speakers, hours, seed, copies)
    folder = Path(out)
    settings = {
        "hours": hours, "seed": seed, "copies": copies, "voices": [voice.name for voice in speakers],
        "english_words": len(english_words()), "version": VERSION,
    }  # fmt: skip
    shards = _begin(folder, settings)
    todo = [job for job in jobs if job.file not in shards or not (folder / job.file).is_file()]
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="shard", disable=_hidden(progress)) as bar:
        for shard in as_finished(partial(make_shard, folder=folder), todo, workers, setup=_one_thread):
            shards[shard["file"]] = shard
            _write_manifest(folder, settings, speakers, [shards[job.file] for job in jobs if job.file in shards])
            bar.update()
    return folder / "manifest.json"


def plan(voices: Sequence[Voice], hours: float, seed: int, copies: int) -> list[Job]:
    """Share `hours` among `voices` by their weights and cut each share into shards, those that judge at the end."""
    total = sum(voice.minutes for voice in voices)
    jobs: list[Job] = []
    for voice in voices:
        seconds = hours * 3600 * voice.minutes / total
        judged = seconds if voice.name in HELD_OUT else VALIDATION * seconds
        count = math.ceil((seconds - judged) / (60 * SHARD_MINUTES))
        for number in range(count):
            jobs.append(Job(voice.name, number, "train", (seconds - judged) / count, copies, seed))
        split = "held_out" if voice.name in HELD_OUT else "validation"
        jobs.append(Job(voice.name, count, split, judged, 1, seed))
    return jobs


def make_shard(job: Job, folder: Path) -> Shard:
    """Synthesise, degrade, hear and articulate one shard, write it, and describe it for the manifest."""
    import torch
    import whisper

    numbers = np.random.SeedSequence([job.seed, zlib.crc32(job.voice.encode()), job.number])
    random = np.random.default_rng(numbers)
    voice = next(voice for voice in VOICES if voice.name == job.voice)
    said = list(speak_for(voice, Random(int(random.integers(2**62))), job.seconds))
    babble = _babble(said, random)
    tracks: dict[str, list[NDArray[Any]]] = {"mel": [], "expression": [], "pose": [], "phones": [], "style": []}
    for clean, segments in clips(said, random, job.copies):
        frames = len(clean) // SAMPLES_PER_FRAME
        prosody = Prosody.of(clean)
        heard = degrade(clean, random, babble) if job.split == "train" else set_level(clean, random)
        mel = whisper.log_mel_spectrogram(torch.from_numpy(heard)).numpy()  # [80, 2A]
        tracks["mel"].append(mel.T[: 2 * frames].astype(np.float16))
        style = random_style(random) if job.split == "train" else NEUTRAL
        tracks["expression"].append(articulate(segments, frames, prosody, style).astype(np.float16))
        tracks["style"].append(np.tile(np.array(style, np.float16), (frames, 1)))
        tracks["pose"].append(head_pose(prosody).astype(np.float16))
        tracks["phones"].append(phone_per_frame(segments, frames))
    lengths = np.array([len(phones) for phones in tracks["phones"]], np.int32)
    part = folder / f".{job.file}.{os.getpid()}.part"
    with open(part, "wb") as file:
        arrays: dict[str, Any] = {name: np.concatenate(pieces) for name, pieces in tracks.items()}
        np.savez(file, **arrays, lengths=lengths)
    part.replace(folder / job.file)
    spoken = sum(utterance.duration for utterance in said)
    return {
        "file": job.file, "voice": job.voice, "split": job.split, "clips": len(lengths), "frames": int(lengths.sum()),
        "speech_seconds": round(spoken, 2), "seconds": int(lengths.sum()) / FRAMES_PER_SECOND,
    }  # fmt: skip


def clips(
    said: Sequence[Utterance], random: Generator, copies: int
) -> Iterator[tuple[NDArray[np.float32], list[Segment]]]:
    """Clips of several utterances with pauses between: (samples [320 A], segments).

    Each utterance is used `copies` times, each time at another speed and in other company; the last clip is filled
    up with utterances used already.
    """
    order = np.concatenate([random.permutation(len(said)) for _ in range(copies)])
    queue = [said[index] for index in order[::-1]]
    while queue:
        samples: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
        segments: list[Segment] = []
        length = 0
        while length < CLIP_SECONDS * SAMPLE_RATE:
            utterance = queue.pop() if queue else said[int(random.integers(len(said)))]
            speed = random.uniform(*SPEEDS)
            pause = _pause(random)
            wave = change_speed(utterance.samples / np.float32(32768), speed) * np.float32(random.uniform(0.6, 1))
            if random.random() < SHIFTED:
                wave = change_pitch(wave, random.uniform(-SEMITONES, SEMITONES))
            begin = (length + len(pause)) / SAMPLE_RATE
            _append(segments, length / SAMPLE_RATE, begin, "sil")
            for start, end, phone in utterance.segments:
                _append(segments, begin + start / speed, begin + end / speed, phone)
            samples += (pause, wave)
            length += len(pause) + len(wave)
        tail = int(random.uniform(0.1, 0.8) * SAMPLE_RATE)
        tail += -(length + tail) % SAMPLES_PER_FRAME
        _append(segments, length / SAMPLE_RATE, (length + tail) / SAMPLE_RATE, "sil")
        yield np.concatenate([*samples, np.zeros(tail, np.float32)]), segments


def random_style(random: Generator) -> Style:
    """The neutral style, or one that is stronger or weaker, with more of the jaw or of the lips."""
    if random.random() < PLAIN:
        return NEUTRAL
    effort = np.exp(random.uniform(*np.log(EFFORT)))
    balance = np.exp(random.uniform(-1, 1) * np.log(BALANCE))
    return Style(float(effort * balance), float(effort / balance))


def _pause(random: Generator) -> NDArray[np.float32]:
    """Samples between utterances: mostly short, sometimes a long silence, as long files have; some with a breath."""
    seconds = float(random.uniform(1.0, 3.5) if random.random() < 0.1 else random.uniform(0, 0.9))
    pause = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    if random.random() < BREATHS:
        breath = breathe_in(random)
        begin = len(pause) - len(breath) - int(random.uniform(0.02, 0.2) * SAMPLE_RATE)
        if begin > 0:
            pause[begin : begin + len(breath)] += breath
    return pause


def _append(segments: list[Segment], start: float, end: float, phone: str) -> None:
    """Add a segment; silence after silence is one silence."""
    if phone == "sil" and segments and segments[-1][2] == "sil":
        segments[-1] = (segments[-1][0], end, "sil")
    else:
        segments.append((start, end, phone))


def _babble(said: Sequence[Utterance], random: Generator) -> NDArray[np.float32]:
    """Half a minute or more of the voice at other speeds, high and low, to speak behind it."""
    order = random.permutation(len(said))
    pieces: list[NDArray[np.float32]] = []
    while sum(map(len, pieces)) < 30 * SAMPLE_RATE:
        utterance = said[order[len(pieces) % len(order)]]
        pieces.append(change_speed(utterance.samples / np.float32(32768), random.uniform(0.75, 1.35)))
    return np.concatenate(pieces)


def _installed(names: Sequence[str] | None, without: Sequence[str]) -> list[Voice]:
    """The voices to use; raises InputError for one that is unknown or not installed, or if there are none."""
    known = [voice.name for voice in VOICES]
    unknown = sorted({*without, *(names or ())} - set(known))
    if unknown:
        raise InputError(f"voices unknown: {', '.join(unknown)}", f"known are {', '.join(known)}")
    installed = [voice for voice in VOICES if voice.name not in without and voice.installed()]
    if names is not None:
        missing = sorted(set(names) - {voice.name for voice in installed})
        if missing:
            raise InputError(f"voices not installed: {', '.join(missing)}", "see talkinghead.training.synthesisers")
        installed = [voice for voice in installed if voice.name in names]
    if not installed:
        raise InputError("no speech synthesiser was found", "install espeak-ng, flite or festival")
    return installed


def _begin(folder: Path, settings: dict[str, Any]) -> dict[str, Shard]:
    """The shards that `folder` holds already, by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    manifest = read_manifest(folder)
    made_with = manifest.get("settings", {})
    if made_with != settings:
        differ = ", ".join(key for key in settings if made_with.get(key) != settings[key])
        raise OutputExists(
            f"{folder}: holds a corpus made with other settings ({differ})", "give another folder, or the same settings"
        )
    return {shard["file"]: shard for shard in manifest["shards"]}


def _one_thread() -> None:
    """The corpus is parallel by shards: more threads in each would only disturb the others."""
    import torch

    torch.set_num_threads(1)


def _write_manifest(folder: Path, settings: dict[str, Any], voices: Sequence[Voice], shards: Sequence[Shard]) -> None:
    def seconds(voice: Voice, key: str) -> float:
        return round(sum(float(shard[key]) for shard in shards if shard["voice"] == voice.name), 2)

    described = {
        voice.name: {
            "language": voice.language,
            "licence": voice.licence,
            "held_out": voice.name in HELD_OUT,
            "speech_seconds": seconds(voice, "speech_seconds"),
            "seconds": seconds(voice, "seconds"),
        }
        for voice in voices
    }
    manifest = {
        "settings": settings, "mel_per_second": 2 * FRAMES_PER_SECOND, "frames_per_second": FRAMES_PER_SECOND,
        "phones": list(PHONES), "voices": described, "shards": list(shards),
    }  # fmt: skip
    part = folder / ".manifest.json.part"
    part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    part.replace(folder / "manifest.json")


def _hidden(progress: bool | None) -> bool | None:
    return None if progress is None else not progress
