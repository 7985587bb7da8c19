"""How well a model does what the articulation model would do, on synthesised speech that it was not trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..blendshapes import INDEX
from ..errors import InputError
from ..types import EXPRESSIONS, Array
from .intervals import Interval, Track, pooled_correlation, ratio

SPLITS = ("validation", "held_out")
MOST_CLIPS = 32  # of each voice
BATCH = 16
CHANNELS = ("gap", "width", "jaw", "pucker")


@dataclass(frozen=True)
class VoiceScore:
    """Free-running motion beside its targets, for the clips of one voice.

    ours, loudness, wrong: correlation by CHANNELS, of our motion, of the sound's loudness, of our motion for the next
        clip; frames of all clips together
    speed: standard deviation of the gap's change over the targets'
    """

    voice: str
    split: str
    clips: int
    ours: dict[str, Interval]
    loudness: dict[str, Interval]
    wrong: dict[str, Interval]
    speed: Interval


@dataclass
class _Collected:
    """Tracks of each clip, by channel."""

    split: str
    made: dict[str, list[Track]] = field(default_factory=lambda: {name: [] for name in CHANNELS})
    wanted: dict[str, list[Track]] = field(default_factory=lambda: {name: [] for name in CHANNELS})
    loud: list[Track] = field(default_factory=list)


def synthetic_scores(model_name: str | os.PathLike[str], corpus_folder: str | os.PathLike[str]) -> list[VoiceScore]:
    """Judge the model `model_name` on the splits of a corpus that it was not trained on, free-running from rest.

    The shards hold log-mels, so the networks of the checkpoint are run on them: one encoder window from the beginning
    of each clip, at most MOST_CLIPS of each voice.

    Raises InputError if the folder is no corpus or has no such clips, and the errors of checkpoints.
    """
    import torch

    from ..audio_encoder import WhisperEncoder
    from ..motion.generator import FaceFormerGenerator
    from ..training.batches import DEAF, Example, as_batch, read_corpus, window_of

    encoder, generator = WhisperEncoder.open(model_name), FaceFormerGenerator.open(model_name)
    length, floor = encoder.config.n_ctx, DEAF if encoder.config.floor is None else encoder.config.floor
    clips: dict[tuple[str, str], list[Example]] = {}
    for split in SPLITS:
        for example in read_corpus(corpus_folder, split, required=False):
            clips.setdefault((example.voice, split), []).append(example)
    if not clips:
        raise InputError(f"{corpus_folder}: the corpus has no clips to judge on", f"needed are {' or '.join(SPLITS)}")
    bands = next(iter(clips.values()))[0].mel.shape[1]
    if bands != encoder.config.n_mels:
        raise InputError(f"{corpus_folder}: its {bands} mel bands do not fit {model_name}")
    scores = []
    for (voice, split), examples in sorted(clips.items(), key=lambda item: (SPLITS.index(item[0][1]), item[0])):
        some = examples[:: -(-len(examples) // MOST_CLIPS)]
        collected = _Collected(split)
        for first in range(0, len(some), BATCH):
            here = some[first : first + BATCH]
            batch = as_batch([window_of(example, 0, length, floor) for example in here])
            with torch.inference_mode():
                features = encoder.network(batch.mel).float().numpy()  # [B, A, D]
            for index, example in enumerate(here):
                frames = min(len(example), length) // 2
                style = batch.frame_style[index].numpy() if generator.network.config.styles else None
                made = generator(features[index], style=style).expression[:frames]
                wanted = batch.frames[index, :frames, :EXPRESSIONS].numpy()
                mel = batch.mel[index].numpy().mean(axis=0)  # [2 A]
                _collect(collected, made, wanted, mel[: 4 * frames].reshape(frames, 4).mean(axis=1))
        scores.append(_score(voice, collected))
    return scores


def _collect(collected: _Collected, made: Array, wanted: Array, loud: Array) -> None:
    """Add one clip: expressions [T, 52] made and wanted, and its loudness [T]."""
    for expression, tracks in ((made, collected.made), (wanted, collected.wanted)):
        opening = expression.astype(np.float64) @ _mouth_shape()
        tracks["gap"].append(opening[:, 0])
        tracks["width"].append(opening[:, 1])
        tracks["jaw"].append(expression[:, INDEX["jawOpen"]].astype(np.float64))
        tracks["pucker"].append(expression[:, INDEX["mouthPucker"]].astype(np.float64))
    collected.loud.append(loud.astype(np.float64))


def _score(voice: str, collected: _Collected) -> VoiceScore:
    made, wanted, loud = collected.made, collected.wanted, collected.loud
    moved, target = ([float((np.diff(track) ** 2).sum()) for track in side["gap"]] for side in (made, wanted))
    squared = ratio(moved, target)
    return VoiceScore(
        voice=voice,
        split=collected.split,
        clips=len(loud),
        ours={name: pooled_correlation(made[name], wanted[name]) for name in CHANNELS},
        loudness={name: pooled_correlation(loud, wanted[name]) for name in CHANNELS},
        wrong={name: pooled_correlation(_of_next(made[name]), wanted[name]) for name in CHANNELS},
        speed=Interval(*(float(np.sqrt(value)) for value in (squared.value, squared.low, squared.high))),
    )


def _of_next(tracks: Sequence[Track]) -> list[Track]:
    """For each clip the track of the next one, as long as its own; of a single clip, its second half first."""
    if len(tracks) == 1:
        return [np.roll(tracks[0], len(tracks[0]) // 2)]
    return [np.resize(other, len(track)) for track, other in zip(tracks, [*tracks[1:], tracks[0]], strict=True)]


def _mouth_shape() -> Track:
    """[52, 2]: by how many centimetres each blendshape parts the inner lips, and widens the mouth."""
    from ..training.losses import mouth_shape_of_expression

    return mouth_shape_of_expression().astype(np.float64)
