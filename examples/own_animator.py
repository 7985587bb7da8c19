"""An animator of your own: any callable with an fps. This one draws the landmarks as dots.

python examples/own_animator.py face.png hello.wav dots.mp4
"""

import sys
from collections.abc import Iterable, Iterator

import numpy as np

from talkinghead import Motion, Portrait, TalkingHead


class Dots:
    fps = 12.0  # the one rate it draws; None would be any

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        height, width = portrait.image.shape[:2]
        for points in landmarks:  # [478, 3] pixels of the portrait
            frame = portrait.image // 3
            x, y = points[:, :2].round().astype(int).T
            seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            frame[y[seen], x[seen]] = 255
            yield frame


image, audio, output = sys.argv[1:4]
TalkingHead.from_pretrained(animator=Dots()).speak(image, audio).save(output)
