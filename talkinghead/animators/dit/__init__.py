"""A video transformer that follows landmarks: public SkyReels-A1 weights on stock diffusers."""

from .animator import SkyReelsAnimator

__all__ = ["SkyReelsAnimator"]
