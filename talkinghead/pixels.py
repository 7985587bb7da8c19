"""What pictures and the frames of videos have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # [H, W, 3] RGB

MAX_PIXELS = 40_000_000  # in a picture; a small file may promise any size
