"""Frame rates other than the model's own 12 a second.

Two ways, both with a limit:

interpolate: the model makes 12 frames a second, and those between are moved along the optical flow. Costs next to
             nothing. What happens within a twelfth of a second is not seen: lips that shut for 40 ms may stay open,
             and what a moving lip uncovers, as teeth, fades in instead of appearing.
stretch:     every frame is the model's; it is driven at the higher rate. Costs 2.1 times as much at 25, and the model
             sees motion that is twice as slow as any it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from ...types import Array, Frame, exact_rate

NATIVE = 12.0  # frames a second that the public model was trained at


def native_count(count: int, fps: float, native: float = NATIVE) -> int:
    """How many frames of rate `native` lie around `count` frames of rate `fps`."""
    return math.ceil((count - 1) * exact_rate(native) / exact_rate(fps)) + 1 if count else 0


def sampled(rows: Iterable[Array], count: int, fps: float, to: float) -> Iterator[Array]:
    """`count` rows of rate `to` out of `rows` of rate `fps`, linearly in between; the last one is held."""
    source = iter(rows)
    first = next(source, None)
    if first is None:
        return
    index, here, there = 0, first, next(source, first)
    for frame in range(count):
        place: Fraction = frame * exact_rate(fps) / exact_rate(to)
        while index < int(place):
            index, here, there = index + 1, there, next(source, there)
        share = np.float32(place - int(place))
        yield here + share * (there - here)


def interpolated(frames: Iterable[Frame], count: int, fps: float, native: float = NATIVE) -> Iterator[Frame]:
    """`count` frames of rate `fps` out of `frames` of rate `native`; those that coincide stay as they are."""
    source = iter(frames)
    first = next(source, None)
    if first is None:
        return
    index, here = 0, first
    there = next(source, first)
    flows: tuple[Array, Array] | None = None
    for frame in range(count):
        place = frame * exact_rate(native) / exact_rate(fps)
        while index < int(place):
            index, here, there, flows = index + 1, there, next(source, there), None
        if place == int(place):
            yield here
            continue
        flows = flows or (optical_flow(here, there), optical_flow(there, here))
        yield moved_between(here, there, flows, float(place - int(place)))


def optical_flow(before: Frame, after: Frame) -> Array:
    """Where each pixel of `before` is in `after`: [H, W, 2] pixels to the right and down.

    Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016, by OpenCV. Small pictures are enlarged for it.
    """
    height, width = before.shape[:2]
    zoom = max(1, math.ceil(256 / min(height, width)))
    size = width * zoom, height * zoom
    grey = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size) for frame in (before, after)]
    dense: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dense.calc(*grey, None)
    small: Array = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / np.float32(zoom)
    return small


def moved_between(before: Frame, after: Frame, flows: tuple[Array, Array], share: float) -> Frame:
    """The frame at `share` of the way; `flows` lead from each to the other."""
    height, width = before.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    # The flow is read where a pixel arrives instead of where it starts: close enough for a twelfth of a second.
    halves = [
        cv2.remap(frame, grid - np.float32(way) * flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for frame, flow, way in ((before, flows[0], share), (after, flows[1], 1 - share))
    ]
    return np.asarray(cv2.addWeighted(halves[0], 1 - share, halves[1], share, 0), np.uint8)
