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
# The dark beside the teeth: which percentile of what is seen between the lips it is, and the most of the gums' light it
# has; what is lighter is a lip or a tooth.
DARK, MOST = 20, 0.6
WIDER = 0.1  # than in the portrait: a mouth so much wider is a smile that lets in all the light there is


@dataclass(frozen=True, eq=False)
class OwnTeeth:
    """What the portrait shows between its lips, fixed to the head.

    left, top: of the patch in the portrait
    colours:   [h, w, 3]
    whole:     [h, w] opacity of all of it
    teeth:     [h, w] opacity of what is tooth
    edges:     [22, 2] the lips' edges in the portrait
    dark:      [3] colour of the dark between them
    """

    left: int
    top: int
    colours: Array
    whole: Array
    teeth: Array
    edges: Array
    dark: Array

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
        seen = colours[slit.mask >= min(0.9, float(slit.mask.max()))]
        dark = np.minimum(np.percentile(seen, DARK, axis=0), MOST * light.gum).astype(np.float32)
        return cls(slit.left, slit.top, colours, whole.astype(np.float32), whole * tooth, edges, dark)

    def lay(self, inside: Array, slit: Opening, posed: Array, opened: float, lit: float) -> None:
        """Lay the teeth over `inside` [H, W, 3], the box of `slit`.

        posed:  [478, 2] where the head alone brings the lips
        opened: 0 when the lips are as in the portrait, 1 when they are far from it: then only teeth are kept
        lit:    as `light_in` tells
        """
        inside += np.maximum(lit * self.dark - inside, 0)
        now = np.concatenate([posed[UPPER_EDGE], posed[LOWER_EDGE]])
        where = slit.seen_from(now, self.edges - [self.left, self.top])
        opacity = self.whole + opened * (self.teeth - self.whole)
        opacity = cv2.remap(opacity, where, None, cv2.INTER_LINEAR)[..., None]  # 0 outside the patch
        own = cv2.remap(self.colours, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        inside += (own - inside) * opacity

    def light_in(self, lips: Array, posed: Array) -> float:
        """How much of the light that the portrait shows between its lips falls on what `lips` [478, 2] show, 0 to 1.

        A smile draws the corners of the mouth apart, and light falls between them: they are no black holes. But lips
        that part farther than in the portrait show what lies deeper, and is darker.

        posed: [478, 2] where the head alone brings the lips
        """
        wide, usual = (float(np.linalg.norm(np.subtract(*each[UPPER_EDGE[[0, -1]]]))) for each in (lips, posed))
        apart, parted = (
            float(np.linalg.norm(each[UPPER_EDGE] - each[LOWER_EDGE], axis=1).max()) for each in (lips, posed)
        )
        smile = float(np.clip((wide / max(usual, 1e-3) - 1) / WIDER, 0, 1))
        return smile * min(1.0, parted / max(apart, 1e-3))
