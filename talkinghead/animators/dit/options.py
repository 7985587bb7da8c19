"""An animator made of options that lie side by side, as a command line gives them."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from .animator import SkyReelsAnimator
from .loading import PUBLIC
from .sampling import Sampling
from .speed import Speed
from .windows import Join

if TYPE_CHECKING:
    from ..options import SkyReelsOptions


def open_with(
    options: SkyReelsOptions,
    name: str | os.PathLike[str] = PUBLIC,
    *,
    device: str = "cpu",
    revision: str | None = None,
) -> SkyReelsAnimator:
    """`SkyReelsAnimator.from_pretrained` with `options`, whose types were checked.

    Raises its errors; ValueError for values out of range, before weights are read.
    """
    given: dict[str, Any] = dict(options)
    for kind in (Sampling, Speed):
        own = {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}
        if own:
            given[kind.__name__.lower()] = kind(**own)
    if "join" in given:
        given["join"] = Join(given["join"])
    precision = given.pop("precision", "auto")
    if precision != "auto":
        given["dtype"] = getattr(torch, precision)
    return SkyReelsAnimator.from_pretrained(name, device=device, revision=revision, **given)
