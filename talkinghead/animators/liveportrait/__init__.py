"""LivePortrait: the public networks that draw a portrait from keypoints, driven by this package's motion."""

from .animator import LivePortraitAnimator

__all__ = ["LivePortraitAnimator"]
