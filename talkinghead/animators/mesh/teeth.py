"""The teeth that the portrait itself shows: they are kept as long as they fit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...types import Array, Frame
from .light import Light
from .lips import LOWER_EDGE, UPPER_EDGE
from .opening import Opening

SEAM = 0.12  # of the source's parting: how soft the patch's edge is
TOOTH = (0.45, 0.7)  # of the enamel's brightness: between these a pixel becomes a tooth


@dataclass(frozen=True, eq=False)
class OwnTeeth:
    """What the portrait shows between its lips, fixed to the head.

    left, top: of the patch in the portrait
    colours:   [h, w, 3]
    whole:     [h, w] opacity of all of it
    teeth:     [h, w] opacity of what is tooth
    edges:     [22, 2] the lips' edges in the portrait
    """

    left: int
    top: int
    colours: Array
    whole: Array
    teeth: Array
    edges: Array

    @classmethod
    def of(cls, image: Frame, lips: Array, light: Light) -> OwnTeeth | None:
        """The teeth in `image` between lips at `lips` [478, 2]; None if they are closed."""
        slit = Opening.between(lips[UPPER_EDGE], lips[LOWER_EDGE], image)
        if slit is None:
            return None
        height, width = slit.mask.shape
        colours = image[slit.top : slit.top + height, slit.left : slit.left + width].astype(np.float32)
        parting = float(np.linalg.norm(lips[UPPER_EDGE] - lips[LOWER_EDGE], axis=1).max())
        soft = max(1.0, SEAM * parting)
        whole = slit.mask * np.clip(slit.under / soft, 0, 1) * np.clip(slit.over / soft, 0, 1)
        dark, bright = np.multiply(TOOTH, light.enamel[1])
        tooth = np.clip((colours[..., 1] - dark) / (bright - dark), 0, 1).astype(np.float32)  # gums have little green
        around = np.ones((max(2, int(0.2 * parting)),) * 2, np.uint8)  # the dark between two teeth belongs to them
        tooth = cv2.GaussianBlur(cv2.morphologyEx(tooth, cv2.MORPH_CLOSE, around), (0, 0), 0.7)
        edges = np.concatenate([lips[UPPER_EDGE], lips[LOWER_EDGE]])
        return cls(slit.left, slit.top, colours, whole.astype(np.float32), whole * tooth, edges)

    def lay(self, inside: Array, slit: Opening, posed: Array, opened: float) -> None:
        """Lay the teeth over `inside` [H, W, 3], the box of `slit`.

        posed:  [478, 2] where the head alone brings the lips
        opened: 0 when the lips are as in the portrait, 1 when they are far from it: then only teeth are kept
        """
        now = np.concatenate([posed[UPPER_EDGE], posed[LOWER_EDGE]])
        where = slit.seen_from(now, self.edges - [self.left, self.top])
        opacity = self.whole + opened * (self.teeth - self.whole)
        opacity = cv2.remap(opacity, where, None, cv2.INTER_LINEAR)[..., None]  # 0 outside the patch
        own = cv2.remap(self.colours, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        inside += (own - inside) * opacity
