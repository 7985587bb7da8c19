"""The picture and the voice of `talkinghead demo`."""

from __future__ import annotations

from pathlib import Path

from .errors import AudioUnreadable, ImageUnreadable
from .types import Frame, Speech

VOICE = "hello.flac"


def demo_image() -> Frame:
    """NASA's portrait of the astronaut Eileen Collins, [512, 512, 3], from scikit-image (public domain).

    Raises ImageUnreadable if scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise ImageUnreadable(
            "the demo's picture comes with scikit-image, which is not installed", 'pip install "talkinghead[demo]"'
        ) from error
    image: Frame = astronaut()
    return image


def demo_speech() -> Speech:
    """A synthesised sentence: beside the package in a checkout, inside it once installed. Raises AudioUnreadable."""
    package = Path(__file__).parent
    for folder in (package.parent / "examples", package / "assets"):
        if (folder / VOICE).is_file():
            return Speech.of(folder / VOICE)
    raise AudioUnreadable(f"the demo's voice {VOICE} is not in this installation", "install the package again")
