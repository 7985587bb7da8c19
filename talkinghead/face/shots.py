"""A film, shot by shot: it is split where it jumps to another picture."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from ..types import Array, Frame
from ..video import Video

THUMBNAIL = (32, 24)  # pixels: coarse enough that a head that moves changes little
# A cut changes a thumbnail by so much on average, in steps of 0 to 255, and so many times more than the frame before
# changed: a camera that moves fast does not. On real clips of one shot it is below 1, on cuts between them above 20.
SUDDEN, TIMES = 8.0, 4.0


class Cutter:
    """Reads frames up to the next cut.

    first: the shot's first frame, rest: those after it, which can be read once
    count: how many frames of the shot were read; after: the first frame of the next shot, when that is reached
    """

    def __init__(self, first: Frame, frames: Iterator[Frame]) -> None:
        self.first, self.count = first, 1
        self.after: Frame | None = None
        self.rest = self._until_cut(frames)

    def _until_cut(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        last, usual = thumbnail(self.first), 0.0
        for frame in frames:
            seen = thumbnail(frame)
            change = float(np.abs(seen - last).mean())
            if change > max(SUDDEN, TIMES * usual):
                self.after = frame
                return
            last, usual = seen, change
            self.count += 1
            yield frame


@dataclass(frozen=True, eq=False)
class Shot(Video):
    """Part of a film between two cuts. Its frames can be read once, and the first one looked at before."""

    cutter: Cutter

    def frames(self) -> Generator[Frame, None, None]:
        """The frames [H, W, 3] uint8 RGB."""
        yield self.cutter.first
        yield from self.cutter.rest

    def length(self) -> int:
        """How many frames the shot has; none of them is left to be read then."""
        for _ in self.cutter.rest:
            pass
        return self.cutter.count


def shots(film: Video) -> Iterator[Shot]:
    """The shots of `film`, which is read once. What is not read of a shot before the next one is asked for is gone."""
    frames = film.frames()
    first = next(frames, None)
    while first is not None:
        shot = Shot(film.path, film.size, film.fps, film.count, Cutter(first, frames))
        yield shot
        shot.length()
        first = shot.cutter.after


def thumbnail(frame: Frame) -> Array:
    """`frame` [H, W, 3] small: [h, w, 3]."""
    import cv2

    return np.asarray(cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA), np.float32)
