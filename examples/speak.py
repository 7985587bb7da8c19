"""A portrait says a sound file: python examples/speak.py face.png hello.wav hello.mp4"""

import sys

from talkinghead import TalkingHead

image, audio, output = sys.argv[1:4]
head = TalkingHead.from_pretrained()
clip = head.speak(image, audio, seed=1)
clip.save(output)
