"""Fit the free parameters of the articulation model to the lips of people who were filmed.

phones with their times, loudness, lip opening and mouth width -> Coarticulation -> a table of what it is worth

A few clips tell little about nine parameters, so each is pulled towards the value that it had before any fit; and what
a fit is worth is seen on the clips that it has not seen: `leave_one_out`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..motion.articulation import FITTED, FRAMES_PER_SECOND, Coarticulation, articulate, lip_gap
from ..motion.phones import Segment
from ..motion.prosody import Prosody
from ..types import Speech
from .losses import mouth_shape_of_expression
from .report import correlation

Track = NDArray[np.float64]

# The visemes and dominances as they are written down in motion/articulation.py, before they were fitted to anyone.
PRIOR = Coarticulation(
    reach=1.0,
    delay=0.0,
    rounded=1.0,
    liquid=1.0,
    alveolar=1.0,
    yielding=1.0,
    louder_opens=0.045,
    shortest=0.45,
    held=0.75,
)
RANGES: dict[str, tuple[float, float]] = {
    "reach": (0.5, 1.1),
    "delay": (-0.02, 0.03),
    "rounded": (0.0, 1.2),
    "liquid": (0.0, 1.2),
    "alveolar": (0.5, 1.2),
    "yielding": (0.3, 2.0),
    "louder_opens": (0.02, 0.07),
    "shortest": (0.2, 1.0),
    "held": (0.5, 0.9),
}
_LOWEST, _HIGHEST = np.array([RANGES[name] for name in asdict(PRIOR)]).T
WIDTH_COUNTS = 0.5  # of the aperture's correlation
SPEED_COUNTS, FAST_ENOUGH = 0.1, 0.9
STAY = 0.03  # price of a parameter that is as far from the prior as its range is wide; grows with the square
SHORTEST = 10  # frames


class FilmedLips(NamedTuple):
    """Someone who spoke: what was said when, and what the lips did.

    segments: phones with their times in seconds from the start
    prosody:  of the sound; as long as it
    aperture: [T] distance of the inner lips, in any unit
    width:    [T] distance of the corners of the mouth, in any unit
    fps:      frames a second of both; a frame stands for its middle
    """

    segments: Sequence[Segment]
    prosody: Prosody
    aperture: Track
    width: Track
    fps: float

    @classmethod
    def of(cls, segments: Sequence[Segment], speech: Speech, aperture: Track, width: Track, fps: float) -> FilmedLips:
        """The same from the speech instead of its prosody."""
        return cls(segments, Prosody.of(speech.samples), aperture, width, fps)


class Agreement(NamedTuple):
    """How well articulated lips agree with filmed ones; NaN where one of them does not move.

    aperture, width: correlations at no lag
    speed:           standard deviation of the aperture's change over the filmed one's, made equally wide
    """

    aperture: float
    width: float
    speed: float


def articulated(clip: FilmedLips, coarticulation: Coarticulation) -> tuple[Track, Track]:
    """Gap of the inner lips, 0 or more, and the mouth's width beyond the neutral face's, at the frames of `clip`.

    Both [T] in centimetres: what `talkinghead evaluate` measures in our motion.
    """
    frames = len(clip.prosody.loudness)
    expression = articulate(clip.segments, frames, clip.prosody, coarticulation=coarticulation)  # [A, 52]
    now = (np.arange(frames) + 0.5) / FRAMES_PER_SECOND
    then = (np.arange(len(clip.aperture)) + 0.5) / clip.fps
    gap = np.interp(then, now, lip_gap(expression))
    width = np.interp(then, now, expression @ mouth_shape_of_expression()[:, 1])
    return np.maximum(gap, 0), width


def agreement(clip: FilmedLips, coarticulation: Coarticulation) -> Agreement:
    """How the lips that `coarticulation` makes of the phones of `clip` agree with the filmed ones."""
    gap, width = articulated(clip, coarticulation)
    filmed_pace = _pace(clip.aperture)
    speed = _pace(gap) / filmed_pace if filmed_pace else float("nan")
    return Agreement(correlation(gap, clip.aperture), correlation(width, clip.width), speed)


def check_moves(clip: FilmedLips) -> None:
    """Raise InputError if nothing can be learned from `clip`."""
    if len(clip.aperture) < SHORTEST:
        raise InputError(f"it has {len(clip.aperture)} frames, at least {SHORTEST} are needed")
    if not np.isfinite(agreement(clip, PRIOR)).all():
        raise InputError("its lips do not move, or nothing is said")


def fit(clips: Sequence[FilmedLips], prior: Coarticulation = PRIOR) -> Coarticulation:
    """The parameters within RANGES whose lips agree best with `clips`, and are not far from `prior` without need.

    What is made large is, on average over the clips, the correlation of the aperture, half that of the width, and a
    tenth of the speed where lips are slower than 0.9 of the filmed ones.

    Raises InputError if there are no clips, or one that nothing can be learned from.
    """
    from scipy.optimize import minimize

    if not clips:
        raise InputError("there is nothing to fit to", "give videos of people who speak, and what they say")
    for clip in clips:
        check_moves(clip)
    start = _shares(prior)

    def cost(shares: Track) -> float:
        scores = np.array([agreement(clip, _coarticulation(shares)) for clip in clips])
        aperture, width, speed = np.nan_to_num(scores).mean(axis=0)
        strayed = float(((shares - start) ** 2).sum())
        return float(STAY * strayed - aperture - WIDTH_COUNTS * width - SPEED_COUNTS * min(speed, FAST_ENOUGH))

    tolerance = {"xtol": 0.01, "ftol": 1e-4}
    found = minimize(cost, start, method="Powell", bounds=[(0, 1)] * len(start), options=tolerance)
    return _coarticulation(np.clip(found.x, 0, 1))


def leave_one_out(clips: Sequence[FilmedLips], prior: Coarticulation = PRIOR) -> list[Coarticulation]:
    """For each of `clips` the parameters fitted to all the others. Raises InputError for fewer than two clips."""
    if len(clips) < 2:
        raise InputError(f"leaving one out takes at least two clips, not {len(clips)}", "give more clips")
    return [fit([*clips[:left], *clips[left + 1 :]], prior) for left in range(len(clips))]


def report(clips: Mapping[str, FilmedLips]) -> str:
    """Fit to `clips`, by name, and to all but each of them; tables of agreement and of parameters, as Markdown.

    Raises InputError, as `fit` does.
    """
    filmed = list(clips.values())
    everyone = fit(filmed)
    others = leave_one_out(filmed) if len(filmed) > 1 else []
    rows = []
    for place, clip in enumerate(filmed):
        chosen = [PRIOR, FITTED, everyone, *others[place : place + 1]]
        scores = [agreement(clip, coarticulation) for coarticulation in chosen]
        rows.append([*(score.aperture for score in scores), *(score.width for score in scores)])
    kinds = ["unfitted", "shipped", "fitted to all", *(["fitted to the others"] if others else [])]
    lines = [
        "Correlation with the filmed lips, at no lag:",
        "",
        _row("clip", [f"{measure}, {kind}" for measure in ("aperture", "width") for kind in kinds]),
        "|---" * (2 * len(kinds) + 1) + "|",
        *(_row(name, [f"{value:.3f}" for value in row]) for name, row in zip(clips, rows, strict=True)),
        _row("mean", [f"{value:.3f}" for value in np.mean(rows, axis=0)]),
        "",
        *_parameters(everyone, others),
    ]
    return "\n".join(lines)


def _parameters(everyone: Coarticulation, others: Sequence[Coarticulation]) -> list[str]:
    """A table of the parameters; `others` show how much they depend on single clips."""
    spread = np.array([astuple(each) for each in [everyone, *others]])
    columns = [asdict(PRIOR), asdict(FITTED), asdict(everyone)]
    lowest, highest = spread.min(axis=0), spread.max(axis=0)
    return [
        _row("parameter", ["unfitted", "shipped", "fitted to all", "lowest and highest without a clip"]),
        "|---" * 5 + "|",
        *(
            _row(name, [*(f"{column[name]:.3f}" for column in columns), f"{low:.3f} to {high:.3f}"])
            for name, low, high in zip(asdict(PRIOR), lowest, highest, strict=True)
        ),
    ]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _shares(coarticulation: Coarticulation) -> Track:
    """Where parameters lie in their ranges: 0 is lowest, 1 is highest."""
    return np.asarray((np.array(astuple(coarticulation)) - _LOWEST) / (_HIGHEST - _LOWEST))


def _coarticulation(shares: Track) -> Coarticulation:
    return Coarticulation(*(_LOWEST + shares * (_HIGHEST - _LOWEST)).tolist())


def _pace(track: Track) -> float:
    """Standard deviation of the change of `track` over its own; 0 if it never moves."""
    return float(np.diff(track).std() / track.std()) if np.ptp(track) > 0 else 0.0
