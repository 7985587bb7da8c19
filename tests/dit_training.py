"""Tiny clips to train a video transformer on, and a recipe that goes through all stages in seconds."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng

from talkinghead.animators.dit.loading import read_tensors
from talkinghead.face.model import face_model
from talkinghead.training.dit.clips import Clip, ClipSettings, empty_manifest, read_clips
from talkinghead.training.dit.config import PARTS, DitConfig, Stage, TinyConfig
from talkinghead.types import Array, Frame
from talkinghead.video import write_video

CONFIGS = Path(__file__).parents[1] / "configs"
STEM = "diffusion_pytorch_model"
HEIGHT, WIDTH, FRAMES = 32, 48, 9
TINY = TinyConfig(HEIGHT, WIDTH, FRAMES, (6, 6, 6), layers=2, heads=2, head_size=16, autoencoder_steps=2)
EVERYTHING = tuple(PARTS)
SMALL = DitConfig(
    checkpoint=None, tiny=TINY, accumulate=2, warmup=1, save_every=2, log_every=1,
    stages=(Stage("landmarks", ("landmark_encoder", "patch_projection"), 3, 1e-3),
            Stage("identity", ("face_projection",), 2, 1e-3), Stage("joint", EVERYTHING, 1, 1e-3)),
)  # fmt: skip


def write_clips(folder: Path, count: int, seed: int = 0, settings: ClipSettings | None = None) -> list[Clip]:
    """Clips of a bright blob where the face is, which wanders about."""
    settings = settings or ClipSettings(HEIGHT, WIDTH, FRAMES)
    folder.mkdir(parents=True)
    manifest = empty_manifest(settings)
    names = [f"blob-{number}" for number in range(count)]
    manifest["films"] = [{"name": "blob.mp4", "bytes": 1, "licence": "none", "clips": names}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rng = default_rng(seed)
    for name in names:
        time = np.arange(settings.frames)[:, None] / (settings.frames - 1)
        centres = settings.height * (0.5 + 0.12 * np.sin(2 * np.pi * (rng.random(2) + time * rng.uniform(0.4, 0.8, 2))))
        centres += [(settings.width - settings.height) / 2, 0]
        reference, *driving = [blob(centre, settings) for centre in centres]
        write_video(
            folder / f"{name}.mp4", driving, size=(settings.width, settings.height), fps=Fraction(12),
            count=len(driving), sound=None, progress=False,
        )  # fmt: skip
        face = np.full((512, 512, 3), 200, np.uint8)
        np.savez(folder / f"{name}.npz", reference=reference, face=face, landmarks=face_at(centres, settings))
    return read_clips(folder)


def blob(centre: Any, settings: ClipSettings) -> Frame:
    rows, columns = np.mgrid[: settings.height, : settings.width]
    distance = ((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (0.2 * settings.height) ** 2
    return np.asarray(40 + 200 * np.exp(-distance)[..., None] * [1, 0.8, 0.6], np.uint8)


def face_at(centres: Any, settings: ClipSettings) -> Array:
    """Landmarks of an upright face [T, 478, 2] about `centres` [T, 2] in pixels."""
    neutral = face_model().neutral[:, :2] * [1, -1]
    neutral = (neutral - neutral.mean(0)) / np.ptp(neutral[:, 1]) * 0.55 * settings.height
    return np.asarray(neutral + np.asarray(centres)[:, None], np.float32)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    parts = ("transformer", "pose_guider", "vae")
    return {f"{part}.{k}": v for part in parts for k, v in read_tensors(folder / part, STEM).items()}
