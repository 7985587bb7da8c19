"""Arrays that the published pipeline gives for a tiny checkpoint, where they lie beside the checkout."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from .shared import SHARED

TINY = SHARED / "golden" / "skyreels_a1_tiny"

needs_golden = pytest.mark.skipif(not TINY.is_dir(), reason="needs the golden data in ../shared")


@lru_cache(maxsize=4)
def expected(name: str = "expected") -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of one of its files."""
    with np.load(TINY / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def distance(given: Any, wanted: np.ndarray[Any, Any]) -> float:
    """The largest absolute difference; shapes must agree."""
    values = np.asarray(given.detach().float() if hasattr(given, "detach") else given)
    assert values.shape == wanted.shape
    return float(np.abs(values.astype(np.float64) - wanted).max())
