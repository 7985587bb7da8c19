"""A closed-form Kalman smoother for motion edited frame by frame."""

from __future__ import annotations

import numpy as np

from ...types import Array
from .transform import nearest_rotation

PROCESS_VARIANCE = 1e-5  # of a step; as the public pipeline has it
OBSERVATION_VARIANCE = 3e-7  # of a measurement, likewise; ten times as much is visibly smoother


def smoothed(values: Array, observation_variance: float = OBSERVATION_VARIANCE) -> Array:
    """`values` [T, …] as a random walk that was measured with noise would have gone: each number on its own.

    A Kalman filter with the Rauch-Tung-Striebel smoother (Rauch, Maximum likelihood estimates of linear dynamic
    systems, 1965). Dynamics and measurement are the identity, so that the gains are the same for all numbers and
    the state is known to begin at the first value, with a variance of 1.

    observation_variance: above 0; the larger, the smoother
    """
    if not observation_variance > 0:
        raise ValueError(f"observation_variance must be above 0, not {observation_variance!r}")
    observed = np.asarray(values, np.float64)
    mean, variance = np.zeros_like(observed), np.zeros(len(observed))
    predicted, uncertain = observed[:1].copy(), 1.0
    for t in range(len(observed)):
        gain = uncertain / (uncertain + observation_variance)
        before = mean[t - 1] if t else predicted[0]
        mean[t] = before + gain * (observed[t] - before)
        variance[t] = (1 - gain) * uncertain
        uncertain = variance[t] + PROCESS_VARIANCE
    for t in range(len(observed) - 2, -1, -1):
        mean[t] += variance[t] / (variance[t] + PROCESS_VARIANCE) * (mean[t + 1] - mean[t])
    return mean.astype(np.float32)


def smoothed_rotation(rotation: Array, observation_variance: float = OBSERVATION_VARIANCE) -> Array:
    """Rotations [T, 3, 3] smoothed number by number, then made rotations again."""
    return nearest_rotation(smoothed(rotation, observation_variance))
