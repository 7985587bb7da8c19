"""Keeps a face its own: while noise is taken away, the clean picture being predicted is drawn to the reference.

The idea is StableAnimator's (Tu et al., 2024), which optimises the prediction of every step toward a face embedding.
Here each step's prediction goes up the gradient of a score: how alike the decoded face is to the reference's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...types import Array, Frame
from .conditioning import picture_tensor
from .networks import Networks
from .sampling import Steer

# Faces [N, 3, h, w] from 0 to 1 and their landmarks [N, 478, 2] in pixels to descriptions [N, D], differentiably.
FaceEmbedder = Callable[[Tensor, Tensor], Tensor]

STRIDE = 0.05  # by how much a strength of 1 moves the latents of the face in one step: root mean square; by eye
MARGIN = 0.15  # of the face's size, around it
BLUR = 1 / 40  # of the face's width: a landmark's surroundings rather than its pixel


@dataclass(frozen=True, eq=False)
class IdentityGuidance:
    """Steers predictions toward the face in `picture`.

    strength: 0 does nothing; 1 to 2 are meant
    embedder: describes faces; None compares the colours about the landmarks
    picture:  [H, W, 3] the reference, of the model's size
    points:   [478, 2] its landmarks in it

    Works for networks that predict velocities. Each step decodes the face once and goes back through the decoder.
    """

    networks: Networks
    picture: Frame
    points: Array
    strength: float
    embedder: FaceEmbedder | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 10:
            raise ValueError(f"identity_guidance must be 0 to 10, not {self.strength!r}")
        kind = self.networks.scheduler.config.prediction_type
        if kind != "v_prediction":
            raise ValueError(f"identity_guidance needs a network that predicts velocities, not {kind!r:.40}")

    def __call__(self, points: Array) -> Steer:
        """What steers one window, whose faces are at `points` [48, 478, 2]."""
        crop = latent_crop(points, self.networks)
        target = self._target(crop)

        def steer(velocity: Tensor, latents: Tensor, alpha: float) -> Tensor:
            signal, noise = alpha**0.5, (1 - alpha) ** 0.5
            clean = signal * latents.float() - noise * velocity
            rows, columns = crop
            face = clean[..., rows, columns].clone()
            slope = self._slope(face, crop, points, target)
            stride = self.strength * STRIDE / slope.square().mean().sqrt().clamp_min(1e-12)
            clean[..., rows, columns] = face + stride * slope
            steered: Tensor = (signal * latents.float() - clean) / noise
            return steered

        return steer

    @torch.no_grad()
    def score(self, pictures: Array, points: Array) -> float:
        """How alike the faces at `points` [T, 478, 2] of `pictures` [T, H, W, 3] are to the reference, -1 to 1."""
        crop = latent_crop(points, self.networks)
        corner, (rows, columns) = self._corner(crop), self._pixels(crop)
        faces = torch.from_numpy(np.ascontiguousarray(pictures[:, rows, columns].transpose(0, 3, 1, 2)))
        device = self.networks.device
        described = self._describe(faces.to(device), torch.from_numpy(points).to(device) - corner)
        return float(F.cosine_similarity(described, self._target(crop), dim=-1).mean())

    def _slope(self, face: Tensor, crop: tuple[slice, slice], points: Array, target: Tensor) -> Tensor:
        """The gradient of the score by the latents `face` [1, F, C, h, w]."""
        vae = self.networks.vae
        with torch.enable_grad():
            face = face.detach().requires_grad_()
            video = vae.decode(face.permute(0, 2, 1, 3, 4).to(vae.dtype) / vae.config.scaling_factor).sample[0]
            faces = video.permute(1, 0, 2, 3)[1:].float() / 2 + 0.5  # without the reference's
            where = torch.from_numpy(points).to(faces.device) - self._corner(crop)
            score = F.cosine_similarity(self._describe(faces, where), target, dim=-1).sum()
            return torch.autograd.grad(score, face)[0]

    def _target(self, crop: tuple[slice, slice]) -> Tensor:
        """What the reference's face looks like [1, D]."""
        rows, columns = self._pixels(crop)
        device = self.networks.device
        face = (picture_tensor(self.picture)[..., rows, columns] / 2 + 0.5).to(device)
        where = torch.from_numpy(self.points)[None].to(device) - self._corner(crop)
        with torch.no_grad():
            return self._describe(face, where)

    def _describe(self, faces: Tensor, points: Tensor) -> Tensor:
        return (self.embedder or landmark_appearance)(faces, points)

    def _pixels(self, crop: tuple[slice, slice]) -> tuple[slice, slice]:
        size = self.networks.pixels_per_latent
        rows, columns = crop
        return slice(rows.start * size, rows.stop * size), slice(columns.start * size, columns.stop * size)

    def _corner(self, crop: tuple[slice, slice]) -> Tensor:
        rows, columns = self._pixels(crop)
        return torch.tensor([columns.start, rows.start], dtype=torch.float32, device=self.networks.device)


def landmark_appearance(faces: Tensor, points: Tensor) -> Tensor:
    """The colours about each landmark [N, 3 * 478] of faces [N, 3, h, w], without the light's strength and tint.

    Compares like with like however the face moves: the corner of one eye with the corner of the other's.
    """
    spread = float(points[..., 0].max() - points[..., 0].min()) * BLUR
    reach = max(1, round(spread))
    blurred = F.avg_pool2d(faces, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    size = torch.tensor([faces.shape[-1], faces.shape[-2]], device=faces.device)
    grid = points / size * 2 - 1  # [N, 478, 2]
    colours = F.grid_sample(blurred, grid[:, None].to(faces.dtype), align_corners=False, padding_mode="border")[:, :, 0]
    return (colours - colours.mean(-1, keepdim=True)).flatten(1)


def latent_crop(points: Array, networks: Any) -> tuple[slice, slice]:
    """Rows and columns of latent pixels that hold the faces at `points` [T, 478, 2] with some margin."""
    size = networks.pixels_per_latent
    low, high = points.min((0, 1)), points.max((0, 1))
    margin = MARGIN * (high - low)
    first = np.floor((low - margin) / size).astype(int)
    last = np.ceil((high + margin) / size).astype(int)
    height, width = (side // size for side in networks.canvas)
    return _span(first[1], last[1], height), _span(first[0], last[0], width)


def _span(first: int, last: int, room: int) -> slice:
    """`first` to `last` within 0 to `room`, one at least."""
    start = min(max(first, 0), room - 1)
    return slice(int(start), int(min(max(last, start + 1), room)))
