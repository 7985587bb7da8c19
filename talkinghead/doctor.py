"""Is everything here that the package needs, and does it work?"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

PACKAGES = (
    "torch", "openai-whisper", "diffusers", "transformers", "librosa", "soundfile", "moviepy", "imageio-ffmpeg",
    "numpy", "scipy", "soxr", "pillow", "mediapipe", "numba", "safetensors", "huggingface_hub", "threadpoolctl",
    "pyyaml", "typer", "rich", "tqdm",
)  # fmt: skip


class Finding(NamedTuple):
    """One thing looked at: whether it is well, what was found, and what to do if not."""

    name: str
    ok: bool
    found: str
    hint: str = ""


def examine() -> list[Finding]:
    """Look at the machine, the packages, and whether each stage works on a small input."""
    findings = [Finding("python", True, f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")]
    findings += [_package(name) for name in PACKAGES]
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("ffmpeg", _ffmpeg, "pip install --force-reinstall imageio-ffmpeg"),
        ("graphics libraries", _opencv, "on Debian: apt-get install libgl1 libglib2.0-0"),
        ("face tracker", _tracker, 'pip install "mediapipe>=0.10.14,<0.10.30"'),
        ("face model", _face_model, "install the package again"),
        ("motion model", _motion_model, "install the package again"),
        ("GPU", _gpu, ""),
    ]
    return findings + [_check(*check) for check in checks]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", f"pip install {name}")


def _check(name: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(name, True, look())
    except Exception as error:  # whatever is wrong is the finding
        return Finding(name, False, (str(error) or type(error).__name__).splitlines()[0], hint)


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return f"{imageio_ffmpeg.get_ffmpeg_version()} ({Path(imageio_ffmpeg.get_ffmpeg_exe()).name})"


def _opencv() -> str:
    return f"OpenCV {importlib.import_module('cv2').__version__}"


def _tracker() -> str:
    from .face.tracker import MediaPipeTracker

    faces = MediaPipeTracker().find(np.zeros((128, 128, 3), np.uint8))
    return f"runs, {len(faces)} faces in a black picture"


def _face_model() -> str:
    from .face.model import face_model

    model = face_model()
    return f"{len(model.basis)} shapes on {len(model.neutral)} landmarks"


def _motion_model() -> str:
    from .presets import load_parts
    from .types import SAMPLE_RATE, Speech

    parts = load_parts("micro", device="cpu")
    motion = parts.motion_generator(parts.audio_encoder(Speech(np.zeros(SAMPLE_RATE, np.float32))))
    return f"micro, {len(motion)} frames from 1 s of silence"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none; none is needed"
