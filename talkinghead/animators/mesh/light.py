"""The portrait's light: what colour teeth, gums and tongue have in it, and how grainy the picture is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...face.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from ...types import Array, Frame

CHEEKS = (50, 280, 205, 425, 101, 330)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

# Colours of RGB 0 to 255 in a light that shows SKIN so: our choice, by eye from photographs.
SKIN = np.array([205, 165, 145], np.float32)
ENAMEL = np.array([214, 201, 178], np.float32)
GUM = np.array([168, 92, 90], np.float32)
TONGUE = np.array([178, 98, 96], np.float32)
CAVITY = np.array([42, 16, 14], np.float32)
FLESH = 0.5  # how much gums and tongue take of the portrait's own lips
BRIGHTNESS = (0.12, 1.08)  # of the light, relative to that of SKIN: below and above it is the skin that differs
TINT = 0.6  # how much of the skin's difference in hue from SKIN is the light's


@dataclass(frozen=True, eq=False)
class Light:
    """What is needed to paint a mouth into the picture; colours are RGB, 0 to 255.

    enamel, gum, tongue, cavity: [3]
    grain: [64, 64, 1] noise like that of the picture, to be tiled
    """

    enamel: Array
    gum: Array
    tongue: Array
    cavity: Array
    grain: Array

    @classmethod
    def of(cls, image: Frame, landmarks: Array) -> Light:
        """The light in a picture of a face at `landmarks` [478, 3]."""
        skin = median_colour(image, landmarks, CHEEKS, 0.015)
        white = eye_white(image, landmarks)
        bright = float(np.clip(max(skin @ LUMA / (SKIN @ LUMA), 0.9 * white / (ENAMEL @ LUMA)), *BRIGHTNESS))
        tint = (skin / max(float(skin @ LUMA), 1)) / (SKIN / (SKIN @ LUMA))
        light = bright * (1 + TINT * (np.clip(tint, 0.4, 1.6) - 1))
        colours = np.clip(np.stack([ENAMEL, GUM, TONGUE, CAVITY]) * light, 0, 250)
        lips = median_colour(image, landmarks, OUTER_LIPS, 0.005)
        colours[1:3] += FLESH * (lips - colours[1:3])
        enamel, gum, tongue, cavity = colours.astype(np.float32)
        return cls(enamel, gum, tongue, cavity, film_grain(image, landmarks))


def median_colour(image: Frame, landmarks: Array, where: tuple[int, ...], reach: float) -> Array:
    """The median colour [3] of the landmarks `where`, each a mean over `reach` face heights around it."""
    pixels = max(1, int(reach * np.ptp(landmarks[:, 1])))
    colours = []
    for x, y in landmarks[list(where), :2].astype(int):
        patch = image[max(0, y - pixels) : max(0, y + pixels + 1), max(0, x - pixels) : max(0, x + pixels + 1)]
        if patch.size:
            colours.append(patch.reshape(-1, 3).mean(0))
    return np.median(colours, axis=0).astype(np.float32) if colours else SKIN


def eye_white(image: Frame, landmarks: Array) -> float:
    """How bright the whites of the eyes are, 0 to 255; 0 if they are out of the picture."""
    mask = np.zeros(image.shape[:2], np.uint8)
    for eye in (LEFT_EYE, RIGHT_EYE):
        cv2.fillPoly(mask, [np.round(landmarks[list(eye), :2]).astype(np.int32)], 1)
    seen = image[mask > 0] @ LUMA
    return float(np.percentile(seen, 85)) if len(seen) else 0.0


def film_grain(image: Frame, landmarks: Array) -> Array:
    """A tile [64, 64, 1] of noise as strong as the finest detail of the cheeks' skin; the same for the same picture."""
    reach = max(4, int(0.06 * np.ptp(landmarks[:, 1])))
    levels = []
    for x, y in landmarks[list(CHEEKS), :2].astype(int):
        patch = (
            image[max(0, y - reach) : max(0, y + reach), max(0, x - reach) : max(0, x + reach)].astype(np.float32)
            @ LUMA
        )
        if min(patch.shape) >= 4:
            detail = patch - cv2.GaussianBlur(patch, (0, 0), 1)
            levels.append(1.48 * np.median(np.abs(detail)))  # the median deviation of a normal one of 1 is 1/1.48
    noise = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    noise -= cv2.GaussianBlur(noise, (0, 0), 1, borderType=cv2.BORDER_REFLECT)
    strength = min(float(np.median(levels)), 6.0) if levels else 0.0
    grain: Array = (noise * strength / noise.std())[..., None]
    return grain


def tiled(grain: Array, height: int, width: int) -> Array:
    """`grain` repeated to [height, width, 1]."""
    rows, columns = grain.shape[:2]
    return np.tile(grain, (height // rows + 1, width // columns + 1, 1))[:height, :width]
