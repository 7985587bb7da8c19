"""The animator that needs nothing but a CPU: the portrait itself, pulled along by its face mesh."""

from .animator import MeshAnimator

__all__ = ["MeshAnimator"]
