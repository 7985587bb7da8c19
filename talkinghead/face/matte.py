"""Which part of a picture is a person, found by MediaPipe's selfie segmentation."""

from __future__ import annotations

import numpy as np

from ..types import Array, Frame


def person_matte(image: Frame) -> Array | None:
    """How surely each pixel of `image` [H, W, 3] shows a person: [H, W], 0 to 1.

    It is seen at 256 × 256 pixels: good enough to say what stands still, not to cut hair out by. None if this
    MediaPipe came without that model.
    """
    try:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
    except ImportError:
        return None
    with SelfieSegmentation(model_selection=0) as segmentation:
        mask: Array = np.array(segmentation.process(np.ascontiguousarray(image)).segmentation_mask, np.float32)
    return mask
