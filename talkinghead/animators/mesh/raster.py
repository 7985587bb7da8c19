"""Draws triangles with depth: the one loop that is too slow for NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ...face.model import Ids
from ...types import Array, Frame

EDGE = 1e-5  # of a triangle: how far past its edges it is drawn, so that no pixel falls between two


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled by numba at its first call, and kept on disk where that is possible."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True)(function)


@compiled
def inside(u: float, v: float, du: float, dv: float, most: int) -> tuple[int, int]:
    """The first and the last step, 0 to `most`, at which u + step * du, v + step * dv and the rest to 1 are all ≥ 0."""
    first, last = 0, most
    for weight, slope in ((u, du), (v, dv), (1 - u - v, -du - dv)):
        if slope > 0:
            first = max(first, int(np.ceil((-EDGE - weight) / slope)))
        elif slope < 0:
            last = min(last, int(np.floor((-EDGE - weight) / slope)))
        elif weight < -EDGE:
            last = -1
    return first, last


@compiled
def rasterise(points: Array, triangles: Ids, values: Array, out: Array, nearest: Array) -> None:
    """Interpolate per-vertex `values` over the triangles that face the viewer.

    points:    [N, 3] x, y in pixels of `out` and depth, which grows away from the viewer
    triangles: [F, 3], clockwise on the screen (y down) when they face the viewer; the others are skipped
    values:    [N, C]
    out:       [H, W, C] drawn on
    nearest:   [H, W] depth of what was drawn so far, updated
    """
    height, width, channels = out.shape
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 1e-6:
            continue
        left, right = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        top, bottom = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        du, dv = (by - cy) / area, (cy - ay) / area  # how the weights of corners a and b change with x
        for y in range(top, bottom + 1):
            u = ((bx - left) * (cy - y) - (by - y) * (cx - left)) / area
            v = ((cx - left) * (ay - y) - (cy - y) * (ax - left)) / area
            first, last = inside(u, v, du, dv, right - left)
            for x in range(left + first, left + last + 1):
                p, q = u + du * (x - left), v + dv * (x - left)
                r = 1 - p - q
                depth = p * points[a, 2] + q * points[b, 2] + r * points[c, 2]
                if depth <= nearest[y, x]:
                    nearest[y, x] = depth
                    for channel in range(channels):
                        out[y, x, channel] = p * values[a, channel] + q * values[b, channel] + r * values[c, channel]


@compiled
def soften_silhouettes(picture: Frame, where: Array, jump: float) -> None:
    """Mix the pixels along the lines where `where` jumps, which one sample per pixel leaves ragged.

    picture: [H, W, 3] changed in place
    where:   [H, W, 2] what each pixel shows of another picture
    jump:    how much farther apart than one pixel neighbours must come from
    """
    height, width, channels = picture.shape
    above = picture[0].copy()  # the row above, as it was before it was mixed
    for y in range(1, height - 1):
        row = picture[y].copy()
        for x in range(1, width - 1):
            right = abs(where[y, x + 1, 0] - where[y, x, 0]) + abs(where[y, x + 1, 1] - where[y, x, 1])
            left = abs(where[y, x - 1, 0] - where[y, x, 0]) + abs(where[y, x - 1, 1] - where[y, x, 1])
            down = abs(where[y + 1, x, 0] - where[y, x, 0]) + abs(where[y + 1, x, 1] - where[y, x, 1])
            up = abs(where[y - 1, x, 0] - where[y, x, 0]) + abs(where[y - 1, x, 1] - where[y, x, 1])
            if max(right, left, down, up) > 1 + jump:
                for c in range(channels):
                    cross = int(above[x, c]) + int(picture[y + 1, x, c]) + int(row[x - 1, c]) + int(row[x + 1, c])
                    picture[y, x, c] = (4 * int(row[x, c]) + cross + 4) // 8
        above = row


@compiled
def enlarged(where: Array, zoom: float, left: float, top: float, out: Array) -> None:
    """Write to `out` [H, W, 2] the places `where` [H, W, 2 or more] in a picture `zoom` times as large.

    left, top: of the enlarged part in the picture; centres of pixels have whole numbers in both
    """
    for y in range(where.shape[0]):
        for x in range(where.shape[1]):
            out[y, x, 0] = (where[y, x, 0] - left + 0.5) * zoom - 0.5
            out[y, x, 1] = (where[y, x, 1] - top + 0.5) * zoom - 0.5


@compiled
def shade(picture: Frame, light: Array) -> None:
    """Multiply `picture` [H, W, 3], in place, by `light` [H, W], where that is not 1."""
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            if abs(light[y, x] - 1) > 1e-4:
                for c in range(3):
                    picture[y, x, c] = min(255.0, picture[y, x, c] * light[y, x] + 0.5)


@compiled
def hold_border(where: Array, left: int, top: int, width: int, height: int, reach: float) -> None:
    """Let motion die away within `reach` pixels of the border of a picture: what lies beyond it is not known.

    where:         [H, W, 2] where each pixel of the region at `left`, `top` comes from; changed in place
    width, height: of the picture
    """
    for y in range(where.shape[0]):
        for x in range(where.shape[1]):
            across, down = left + x, top + y
            room = min(min(across, width - 1 - across), min(down, height - 1 - down))
            if room < reach:
                where[y, x, 0] = across + (where[y, x, 0] - across) * room / reach
                where[y, x, 1] = down + (where[y, x, 1] - down) * room / reach
