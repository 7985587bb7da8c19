"""The options of each animator that is chosen by name: what `--animator-option` takes. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_args, get_type_hints

from ..errors import InputError
from ..settings import values_from


class MeshOptions(TypedDict, total=False):
    """It has none."""


class LivePortraitOptions(TypedDict, total=False):
    """Those of LivePortraitAnimator.

    precision: of the arithmetic; "auto" is float32 on a CPU and float16 elsewhere
    compiled:  the first frame takes a minute more, the others less
    batch:     frames drawn at once
    stitching: keep the shoulders where they are
    """

    precision: Literal["auto", "float32", "bfloat16", "float16"]
    compiled: bool
    batch: int
    stitching: bool


class SkyReelsOptions(TypedDict, total=False):
    """Those of SkyReelsAnimator, its Sampling and its Speed, where they are explained, side by side.

    precision: of the arithmetic; "auto" is float32 on a CPU and bfloat16 elsewhere
    """

    framing: Literal["face", "frame"]
    fps: float
    between: Literal["interpolate", "stretch"]
    steps: int
    guidance: float
    guided: float
    batching: Literal["batched", "sequential"]
    scheduler: Literal["ddim", "dpm"]
    seed: int
    join: Literal["equal", "parity"]
    identity_guidance: float
    memory: Literal["auto", "low"]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    second_device: str
    compile: bool
    attention: str
    cache: Literal["first_block", "pab"]
    threshold: float


OPTIONS: dict[str, Any] = {
    "mesh": MeshOptions,
    "liveportrait": LivePortraitOptions,
    "skyreels-a1": SkyReelsOptions,
}


def check_options(animator: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """`values` for the animator of this name, of the right types. Raises InputError."""
    kinds = get_type_hints(OPTIONS[animator])
    known = f"its options are {', '.join(kinds)}" if kinds else "it has no options"
    given = dict(values or {})
    unknown = [str(name) for name in given if name not in kinds]
    if unknown:
        raise InputError(f"the animator {animator} has no option {', '.join(unknown[:5]):.80}", known)
    try:
        return values_from(kinds, given)
    except ValueError as error:
        raise InputError(f"the animator {animator}: {error}", known) from error


def describe_options() -> str:
    """Every animator that has options, with their names and values, in one line."""
    animators = []
    for animator, options in OPTIONS.items():
        names = [f"{name} ({_values(kind)})" for name, kind in get_type_hints(options).items()]
        if names:
            animators.append(f"{animator}: {', '.join(names)}")
    return ". ".join(animators)


def _values(kind: Any) -> str:
    words = {bool: "true, false", int: "whole number", float: "number", str: "text"}
    return words.get(kind) or ", ".join(get_args(kind))
