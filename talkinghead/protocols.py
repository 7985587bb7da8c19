"""The four parts of a talking head that can be swapped.

A part is any object with the right `__call__`: nothing to inherit, nothing to register.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from .types import Array, Frame, Motion, Portrait, Speech


class FaceTracker(Protocol):
    """Finds the face in a picture."""

    def __call__(self, image: Frame) -> Portrait:
        """The portrait in `image` [H, W, 3]; raises NoFaceFound if there is none."""
        ...


class AudioEncoder(Protocol):
    """Hears speech."""

    @property
    def rate(self) -> float:
        """Features per second."""
        ...

    @property
    def size(self) -> int:
        """D, how wide a feature is."""
        ...

    def __call__(self, speech: Speech) -> Array:
        """Features [ceil(duration * rate), D] of `speech`."""
        ...


class MotionGenerator(Protocol):
    """Turns what was heard into what the face does."""

    def __call__(self, features: Array, *, after: Motion | None = None) -> Motion:
        """Motion for audio features [A, D], continuing `after` the motion made last."""
        ...


class Animator(Protocol):
    """Draws a portrait moving."""

    @property
    def fps(self) -> float | None:
        """The one frame rate it draws, or None for any. A plain attribute will do."""
        ...

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        """Frames [H, W, 3], one per row of `motion`; `landmarks`, T × [478, 3], is where the face goes."""
        ...
