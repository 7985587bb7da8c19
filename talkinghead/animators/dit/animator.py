"""The story of one clip: frame the face, draw where it goes, let the model make it, put it back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch

from ...errors import NoFaceFound
from ...types import Array, Frame, Motion, Portrait, check_fps
from .align import aligned_face
from .conditioning import Reference, encode_reference
from .draw import Box, detected_box, draw_driving_face, draw_reference, face_box
from .frame_rate import NATIVE, interpolated, native_count, sampled
from .framing import Framing, face_frame, whole_frame
from .guidance import FaceEmbedder, IdentityGuidance
from .loading import open_networks
from .memory import Memory, memory_errors, place
from .networks import Networks
from .sampling import Sampling, as_frames
from .speed import Speed, hasten, replica
from .windows import Driving, Join, stream_pictures

LEAST_BOX = 12  # pixels of the model's picture


@dataclass(frozen=True, eq=False)
class SkyReelsAnimator:
    """Draws a portrait moving with a video transformer that follows its landmarks.

    fps:               of the frames; the model's own rate is 12
    between:           how other rates are made: "interpolate" or "stretch", see `frame_rate`
    framing:           "face" animates head and shoulders and puts them back into the picture, "frame" all of it
    sampling:          steps, guidance and scheduler
    seed:              of the noise
    join:              of windows; Join.PARITY does as the published pipeline does
    identity_guidance: how strongly the face is kept the reference's, 0 to 10; it takes time and memory
    face_embedder:     what that compares faces by; None takes the colours about their landmarks
    second:            the transformer on a second GPU, which makes guidance take half the time, see `speed.replica`

    Pixels that are not animated are those of the picture. A clip is made in windows of 4 seconds; memory does not
    grow with its length.
    """

    networks: Networks
    fps: float = NATIVE
    between: Literal["interpolate", "stretch"] = "interpolate"
    framing: Literal["face", "frame"] = "face"
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    join: Join = Join.EQUAL
    identity_guidance: float = 0.0
    face_embedder: FaceEmbedder | None = None
    second: Any = None

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if self.between not in ("interpolate", "stretch"):
            raise ValueError(f'between must be "interpolate" or "stretch", not {self.between!r}')
        if self.framing not in ("face", "frame"):
            raise ValueError(f'framing must be "face" or "frame", not {self.framing!r}')
        if not 0 <= self.identity_guidance <= 10:
            raise ValueError(f"identity_guidance must be 0 to 10, not {self.identity_guidance!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 to 2 ** 63 - 1, not {self.seed!r}")

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "Skywork/SkyReels-A1",
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        memory: Memory = "auto",
        speed: Speed | None = None,
        second_device: str | None = None,
        **options: object,
    ) -> SkyReelsAnimator:
        """The animator of a local folder in the public layout, or of a Hugging Face hub id.

        memory:        "auto", or "low" for a small GPU, see `place`
        speed:         compilation, attention backends and caches
        second_device: another GPU, for the half of guidance without a face
        options:       fields of this class

        The other arguments are those of `open_networks`.

        Raises WeightsMissing, CheckpointCorrupt, CheckpointMismatch, NonFiniteWeights, UnsafeCheckpoint,
        DeviceOutOfMemory.
        """
        if second_device is not None:
            check_device(second_device)
        cls(cast("Networks", None), **options)  # type: ignore[arg-type]  # so that wrong options are told first
        if dtype is None:
            dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        networks = place(
            open_networks(name, dtype=dtype, revision=revision, local_files_only=local_files_only), device, memory
        )
        with memory_errors():
            second = None if second_device is None else replica(networks.transformer, second_device)
        for transformer in (networks.transformer, second):
            if transformer is not None and speed is not None:
                hasten(transformer, speed)
        return cls(networks, second=second, **options)  # type: ignore[arg-type]

    def __call__(self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array]) -> Iterator[Frame]:
        """Frames [H, W, 3], one per row of `motion`; `landmarks`, T × [478, 3], is where the face goes.

        Raises NoFaceFound if the face lies outside of what the model sees, DeviceOutOfMemory, NumericalError.
        """
        framing = self.frame(portrait)
        box = check_box(face_box(detected_box(framing.points(portrait.landmarks)), framing.canvas))
        mask = framing.seam(portrait.image.shape[:2])
        with memory_errors():
            for made in self._made(portrait, motion, landmarks, framing, box):
                yield framing.paste(portrait.image, made, mask)

    def frame(self, portrait: Portrait) -> Framing:
        """What the model sees of `portrait`."""
        size = portrait.image.shape[:2]
        if self.framing == "frame":
            return whole_frame(size, self.networks.canvas)
        return face_frame(portrait.landmarks, size, self.networks.canvas)

    def _made(
        self, portrait: Portrait, motion: Motion, landmarks: Iterable[Array], framing: Framing, box: Box
    ) -> Iterator[Frame]:
        """Frames of the model's size, one per row of `motion`."""
        count = len(motion)
        points: Iterator[Array] = (framing.points(row) for row in landmarks)
        between = self.between == "interpolate" and motion.fps != NATIVE
        if between:
            count = native_count(len(motion), motion.fps)
            points = sampled(points, count, motion.fps, NATIVE)
        reference, guidance = self._reference(portrait, framing, box)
        pictures = stream_pictures(
            self.networks,
            reference,
            (Driving(draw_driving_face(row, box, framing.canvas), row) for row in points),
            count,
            self.sampling,
            seed=self.seed,
            join=self.join,
            steering=guidance,
            guide=replace(self.sampling.guide(self.networks), replica=self.second),
        )
        frames = as_frames(pictures)
        return interpolated(frames, len(motion), motion.fps) if between else frames

    def _reference(self, portrait: Portrait, framing: Framing, box: Box) -> tuple[Reference, IdentityGuidance | None]:
        picture, points = framing.fit(portrait.image), framing.points(portrait.landmarks)
        drawing = draw_reference(box.inside(points), box, framing.canvas)
        face = aligned_face(portrait.image, portrait.landmarks)
        reference = encode_reference(self.networks, picture, face, drawing)
        if not self.identity_guidance:
            return reference, None
        return reference, IdentityGuidance(self.networks, picture, points, self.identity_guidance, self.face_embedder)


def check_device(device: str) -> None:
    """Raises ValueError for a device that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device} is not on this machine: {str(error).splitlines()[0]}") from error


def check_box(box: Box) -> Box:
    """`box`, unless it is too small to draw in. Raises NoFaceFound."""
    if min(box.size) < LEAST_BOX:
        raise NoFaceFound(
            "the face lies outside of what the model sees of this picture, or is too small there",
            'use framing="face", or cut the picture about the face',
        )
    return box
