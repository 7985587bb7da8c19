"""Speech from any text-to-speech program, as an array: here a hum, where your TTS would give speech.

python examples/tts.py face.png speech.mp4
"""

import sys

import numpy as np

from talkinghead import TalkingHead


def synthesise(text: str) -> tuple[int, np.ndarray]:
    """Your TTS: a sample rate and samples in -1 to 1. This one hums a vowel per letter."""
    rate = 24_000
    time = np.arange(int(0.12 * len(text) * rate)) / rate
    loudness = 0.3 * (0.5 - 0.5 * np.cos(2 * np.pi * 3 * time))
    voice = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return rate, (loudness * voice / 2).astype(np.float32)


image, output = sys.argv[1:3]
head = TalkingHead.from_pretrained()
portrait = head.portrait(image)  # find the face once, let it speak often
head.speak(portrait, synthesise("Hello from a program.")).save(output)
