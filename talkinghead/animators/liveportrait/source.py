"""A face in a picture, made ready to be drawn often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import NumericalError
from ...types import Array, Frame
from .crop import Paste, Square, cut, face_input, portrait_square
from .drive import Face
from .loading import Networks
from .motion_extractor import angle
from .retarget import LIP_SLOPE, eye_ratio, lip_ratio
from .sizes import KEYPOINTS, PICTURE
from .transform import KeypointMotion, turn


@torch.inference_mode()
def read_motion(networks: Networks, faces: NDArray[np.uint8]) -> tuple[Array, KeypointMotion]:
    """Keypoints at rest [B, 21, 3] and the motion of faces [B, 256, 256, 3]. Raises NumericalError."""
    raw = networks.motion(as_input(networks, faces))
    kp, exp = (flat.reshape(-1, KEYPOINTS, 3).cpu().numpy() for flat in (raw.kp, raw.exp))
    degrees = torch.cat([angle(logits.float()) for logits in (raw.pitch, raw.yaw, raw.roll)], 1).cpu().numpy()
    scale, shift = raw.scale.cpu().numpy(), raw.t.cpu().numpy()
    if not all(np.isfinite(values).all() for values in (kp, exp, degrees, scale, shift)):
        raise NumericalError("the motion extractor gave NaN or infinity", "the weights may be damaged")
    return kp, KeypointMotion(exp, turn(degrees).astype(np.float32), scale, shift)


def as_input(networks: Networks, faces: NDArray[np.uint8]) -> Tensor:
    """Pictures [B, 256, 256, 3] as networks take them: [B, 3, 256, 256], 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(faces)).to(networks.device).permute(0, 3, 1, 2).float() / 255


def openness(landmarks: Array) -> tuple[Array, Array]:
    """How open eyes [T, 2] and lips [T, 1] of MediaPipe's `landmarks` [T, 478, 3] are, as the networks count."""
    return eye_ratio(landmarks), lip_ratio(landmarks) / np.float32(LIP_SLOPE)


@dataclass(frozen=True, eq=False)
class Source:
    """A face that can be drawn with other keypoints.

    face:   its keypoints and openness
    volume: [1, 32, 16, 64, 64] what it looks like
    square: where in the picture it is
    paste:  what puts it back there
    """

    networks: Networks
    face: Face
    volume: Tensor
    square: Square
    paste: Paste

    @classmethod
    def of(cls, networks: Networks, image: Frame, landmarks: Array, square: Square | None = None) -> Source:
        """The face in `image` [H, W, 3] with `landmarks` [478, 3]; `square` stands in for the one they give."""
        found = portrait_square(landmarks) if square is None else square
        eyes, lips = openness(landmarks[None])
        return cls.in_square(networks, image, found, eyes, lips)

    @classmethod
    @torch.inference_mode()
    def in_square(cls, networks: Networks, image: Frame, square: Square, eyes: Array, lips: Array) -> Source:
        """The face in a square of `image`, whose eyes [1, 2] and lips [1, 1] are so far open."""
        picture = face_input(cut(image, square.matrix(PICTURE)))[None]
        canonical, motion = read_motion(networks, picture)
        volume = networks.appearance(as_input(networks, picture))
        paste = Paste.of(square, image.shape[1], image.shape[0])
        face = Face(canonical, motion, eyes.astype(np.float32), lips.astype(np.float32))
        return cls(networks, face, volume, square, paste)

    @torch.inference_mode()
    def draw(self, keypoints: Array) -> NDArray[np.float32]:
        """The face [B, 512, 512, 3], 0 to 255, with `keypoints` [B, 21, 3]. Raises NumericalError."""
        driving, source = (torch.from_numpy(k).to(self.networks.device) for k in (keypoints, self.face.keypoints))
        drawn = self.networks.draw(self.volume, driving, source)
        faces: NDArray[np.float32] = (drawn.permute(0, 2, 3, 1) * 255).contiguous().cpu().numpy()
        if not np.isfinite(faces).all():
            raise NumericalError(
                "the generator gave NaN or infinity", "choose precision bfloat16 or float32, or get the weights again"
            )
        return faces

    def frames(self, image: Frame, keypoints: Array, truncated: bool = False) -> Iterator[Frame]:
        """`image` with the face drawn anew, once for each of `keypoints` [B, 21, 3]."""
        for face in self.draw(keypoints):
            frame = image.copy()
            self.paste.draw(frame, face, truncated=truncated)
            yield frame

    def pasted(self, picture: Frame, face: NDArray[Any], truncated: bool = False) -> None:
        """Put a drawn `face` [512, 512, 3] into `picture`, in place."""
        self.paste.draw(picture, face, truncated=truncated)
