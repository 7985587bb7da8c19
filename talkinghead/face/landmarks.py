"""Groups of MediaPipe's 478 landmarks. Left and right are the subject's."""

from __future__ import annotations

import numpy as np

# fmt: off
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
             149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# The upper lip's inner edge from the right corner to the left one, and back along the lower lip's.
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
# Along the upper and back along the lower edge.
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# fmt: on

LIPS = OUTER_LIPS + INNER_LIPS
EYES = RIGHT_EYE + LEFT_EYE
BROWS = RIGHT_BROW + LEFT_BROW
RIGHT_IRIS = tuple(range(468, 473))
LEFT_IRIS = tuple(range(473, 478))

UPPER_LIP, LOWER_LIP = 13, 14  # middle of the inner edges
MOUTH_CORNERS = (61, 291)
RIGHT_LIDS, LEFT_LIDS = (159, 145), (386, 374)  # middle of the upper and the lower edge
RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS = (33, 133), (263, 362)  # outer, inner
CHIN, FOREHEAD = 152, 10
NOSE_TIP, NOSE_BASE = 4, 2


def weights() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """How much each of the first 468 landmarks counts when a model is fitted to them.

    Lips and eyes are seen sharply; the oval is where the face turns away, which trackers place loosely.
    """
    values = np.ones(468, np.float32)
    values[list(FACE_OVAL)] = 0.3
    values[list(LIPS)] = 2.0
    values[list(EYES)] = 2.0
    return values
