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

    def __call__(self, features: Array, *, style: Array | None = None, after: Motion | None = None) -> Motion:
        """Motion at 25 frames a second for audio features [A, D], continuing `after` the motion made last.

        The head's pitch may nod on accents and the inner brows rise on them: what idle motion makes of both differs
        for each seed. Blinks and gaze are added later.

        style: [T, 2] strength of jaw and lips in each frame, 0.4 to 1.6; given only where some are not 1, the neutral
            one, so that a generator without styles works as long as none is asked for
        """
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
