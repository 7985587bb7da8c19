"""The 52 ARKit blendshapes: their names, their one order here, and groups of them.

The order is that of Apple's `ARFaceAnchor.BlendShapeLocation` as MediaPipe and LiveLink exporters list it
(alphabetical from browDownLeft to noseSneerRight), followed by tongueOut. MediaPipe's own list of 52 starts
with `_neutral` and has no tongueOut: its entries 1..51 are entries 0..50 here.
"""

from __future__ import annotations

NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

EXPRESSIONS = len(NAMES)

INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}


def _group(*prefixes: str) -> tuple[int, ...]:
    return tuple(index for index, name in enumerate(NAMES) if name.startswith(prefixes))


BROWS = _group("brow")
EYES = _group("eye")
GAZE = _group("eyeLook")
BLINK = _group("eyeBlink")
MOUTH = _group("jaw", "mouth", "tongue", "cheekPuff")  # what speech moves
