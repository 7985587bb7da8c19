"""A clip of any length in windows that overlap, each anchored to the same reference.

A window shows the reference drawing and 48 driving ones; the next begins 8 of them earlier than this one ends. The
overlap is made twice, and three things make both agree (`Join.EQUAL`, ours): the noise is the same there, while noise
is taken away the later window is drawn to the earlier one's state *at the same noise level*, and the pictures fade
from one to the other. The published pipeline (`Join.PARITY`) draws new noise, blends in the middle steps only and with
a state that is one step further, and cuts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...types import Array, Frame
from .classifier_free import Guided
from .conditioning import Reference
from .networks import Networks
from .sampling import Sampling, Steer, decode, denoise, prepare

OVERLAP = 8  # frames: two latent ones
PARITY_STEPS = range(4, 8)  # in which the published pipeline blends, of its 10 steps
EQUAL_SHARE = 0.9  # of the steps in which we do; the last is left to the window, to settle what was mixed


class Join(Enum):
    """How windows are joined."""

    EQUAL = "equal"
    PARITY = "parity"


class Driving(NamedTuple):
    """One frame to make: the drawing [H, W, 3], and where its landmarks [478, 2] are, for those who want to know."""

    drawing: Frame
    points: Array | None = None


class Steering(Protocol):
    """Makes what steers the predictions of one window, for its driving points [48, 478, 2]."""

    def __call__(self, points: Array) -> Steer:
        """Called once a window."""
        ...


def window_starts(count: int, window: int, overlap: int = OVERLAP) -> list[int]:
    """The first driving frame of every window, for `count` of them."""
    hop = window - overlap
    return [hop * index for index in range(1 + max(0, -(-(count - window) // hop)))]


@dataclass
class Overlap:
    """Joins the latent frames in which one window overlaps the one before.

    frames:  latent frames of the overlap
    before:  the one of the window before, or None for the first
    states:  [1, frames, C, h, w] the end of what entered each step, and of what left the last
    """

    frames: int
    steps: int
    join: Join
    before: Overlap | None = None
    states: list[Tensor] = field(default_factory=list)

    def enter(self, step: int, latents: Tensor) -> Tensor:
        """The state of this window with its start drawn to the end of the one before."""
        self.states.append(latents[:, -self.frames :].clone())
        if self.before is None or step not in self._steps():
            return latents
        # The published pipeline keeps what left a step, which is what entered the next.
        other = self.before.states[step + 1 if self.join is Join.PARITY else step].to(latents)
        shared = self.join is Join.EQUAL and step == 0  # the noise itself: a mixture would be too weak
        share = latents.new_ones(self.frames) if shared else 1 - torch.arange(self.frames).to(latents) / self.frames
        share = share[:, None, None, None]
        blended = latents.clone()
        own = blended[:, 1 : 1 + self.frames]  # the first latent frame is the reference's
        blended[:, 1 : 1 + self.frames] = share * other + (1 - share) * own
        return blended

    def _steps(self) -> range:
        return PARITY_STEPS if self.join is Join.PARITY else range(max(1, round(EQUAL_SHARE * self.steps)))


def stream_pictures(
    networks: Networks,
    reference: Reference,
    driving: Iterable[Driving],
    count: int,
    settings: Sampling,
    *,
    seed: int = 0,
    join: Join = Join.EQUAL,
    steering: Steering | None = None,
    guide: Guided | None = None,
) -> Iterator[Array]:
    """Pictures [H, W, 3], 0 to 1, one for each of `count` driving frames, made a window at a time.

    Memory does not grow with `count`. Raises NumericalError; ValueError if there are fewer driving frames.
    """
    generator = torch.Generator().manual_seed(seed)
    window, latent_overlap = networks.frames - 1, OVERLAP // networks.frames_per_latent
    latents = reference.latents(generator) if join is Join.EQUAL else None
    source = iter(driving)
    shown: list[Driving] = []
    overlap: Overlap | None = None
    held: Array | None = None
    for start in window_starts(count, window):
        shown = shown[-OVERLAP:] if start else []
        shown += islice(source, min(window, count - start) - len(shown))
        if len(shown) < min(window, count - start):
            raise ValueError(f"there must be {count} driving frames, not {start + len(shown)}")
        overlap = Overlap(latent_overlap, settings.steps, join, overlap and _alone(overlap))
        begin = prepare(networks, reference, _drawings(reference, shown, window), generator, latents)
        steer = None if steering is None else steering(_points(shown, window))
        clean = denoise(networks, begin, settings, generator, enter=overlap.enter, steer=steer, guide=guide)
        made = decode(networks.vae, clean)[1:]  # without the reference
        if held is not None:
            made[:OVERLAP] = joined(held, made[:OVERLAP], join)
        last = start + window >= count
        yield from made[: count - start if last else window - OVERLAP]
        held = made[window - OVERLAP :].copy()
        del made  # before the next window takes as much


def joined(before: Array, after: Array, join: Join) -> Array:
    """The pictures of an overlap [n, H, W, 3] out of both windows'."""
    if join is Join.PARITY:
        return before
    share = (np.arange(len(before), dtype=np.float32) + 1) / (len(before) + 1)
    mixed: Array = before + share[:, None, None, None] * (after - before)
    return mixed


def _alone(overlap: Overlap) -> Overlap:
    """`overlap` without those before it, which would all be kept."""
    return Overlap(overlap.frames, overlap.steps, overlap.join, None, overlap.states)


def _drawings(reference: Reference, shown: list[Driving], window: int) -> list[Frame]:
    """The reference's drawing and `window` driving ones, the last one again and again if they are fewer."""
    drawings = [item.drawing for item in shown]
    return [reference.drawing, *drawings, *drawings[-1:] * (window - len(drawings))]


def _points(shown: list[Driving], window: int) -> Array:
    points = [item.points for item in shown if item.points is not None]
    return np.stack([*points, *points[-1:] * (window - len(points))])
