"""Motion for sound that comes in pieces: that of the whole, a fifth of a second later."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from .audio import SAMPLE_RATE
from .motion.controls import Controls
from .motion.idle import LOOK_BACK
from .types import Array, Motion, check_array

FEATURES_PER_FRAME = 2


class PieceEncoder(Protocol):
    """An audio encoder that hears a sound in pieces, as WhisperEncoder does."""

    @property
    def size(self) -> int:
        """How wide a feature is."""
        ...

    def hear(self, samples: Array, after: Any = ..., *, last: bool = False) -> tuple[Array, Any]:
        """The features that are certain now, and what to go on from."""
        ...


class PieceGenerator(Protocol):
    """A motion generator that goes on from its last motion, as FaceFormerGenerator does."""

    @property
    def look_ahead(self) -> int:
        """How many features beyond its own two a frame hears."""
        ...

    def __call__(
        self, features: Array, *, style: Array | None = ..., after: Motion | None = ..., ahead: Array | None = ...
    ) -> Motion: ...


def stream_motion(
    encoder: PieceEncoder, generator: PieceGenerator, chunks: Iterable[Array], controls: Controls
) -> Iterator[Motion]:
    """The motion of each of `chunks` [N] of speech at 16 kHz, as far as it is certain: one for each, maybe empty.

    Together they are the motion of the whole speech, to rounding: the last frames follow when the chunks end. A frame
    waits for what encoder and generator hear beyond it (micro: 0.17 s). Memory does not grow.

    Raises ValueError for parts that cannot hear pieces, TypeError and ValueError for chunks of another kind.
    """
    waiting = np.zeros((0, encoder.size), np.float32)  # features of frames that are not certain yet
    state: tuple[Any, ...] = ()
    motion: Motion | None = None
    recent, start = Motion.still(0), 0  # what was made last, and the number of the next frame
    for samples, last in _with_last(chunks):
        features, hearing = encoder.hear(samples, *state, last=last)
        state, waiting = (hearing,), np.concatenate([waiting, features])
        certain = max(0, len(waiting) - generator.look_ahead) // FEATURES_PER_FRAME * FEATURES_PER_FRAME
        count = len(waiting) if last else certain
        style = controls.strengths(-(-count // FEATURES_PER_FRAME), start=start)
        ahead = waiting[count:][: generator.look_ahead]
        motion = generator(waiting[:count], style=style, after=motion, ahead=ahead if len(ahead) else None)
        waiting = waiting[count:]
        yield controls.enliven(motion, start=start, before=recent)
        recent, start = _last_second(recent, motion), start + len(motion)


def _last_second(before: Motion, motion: Motion) -> Motion:
    """The end of two motions, one after the other: what decides about the frames that follow them."""
    kept = -math.ceil(LOOK_BACK * motion.fps)

    def end(name: str) -> Array:
        track: Array = np.concatenate([getattr(before, name), getattr(motion, name)])
        return track[kept:]

    return Motion(end("expression"), end("rotation"), end("translation"), motion.fps)


def resampled(chunks: Iterable[Any], sample_rate: int) -> Iterator[Array]:
    """Mono `chunks` [N] of float32 at `sample_rate`, brought to 16 kHz without seams; an empty one may come last."""
    import soxr

    stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32") if sample_rate != SAMPLE_RATE else None
    for chunk in chunks:
        check_array("chunk", chunk, np.float32, None)
        yield chunk if stream is None else np.asarray(stream.resample_chunk(chunk), np.float32)
    if stream is not None:
        yield np.asarray(stream.resample_chunk(np.zeros(0, np.float32), last=True), np.float32)


def _with_last(chunks: Iterable[Array]) -> Iterator[tuple[Array, bool]]:
    """Each chunk as it comes, and at their end an empty one that is the last."""
    for chunk in chunks:
        yield chunk, False
    yield np.zeros(0, np.float32), True
