"""LivePortrait's weights, made by rule: tiny ones, and those of the development data; and made-up motion."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor, nn

from talkinghead import Motion, Portrait
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.liveportrait.adapter import displacements, unposed
from talkinghead.animators.liveportrait.animator import Sitter
from talkinghead.animators.liveportrait.appearance import AppearanceExtractor
from talkinghead.animators.liveportrait.generator import Generator
from talkinghead.animators.liveportrait.heads import EyeRetargeting, LipRetargeting, Stitching
from talkinghead.animators.liveportrait.loading import Networks
from talkinghead.animators.liveportrait.motion_extractor import MotionExtractor
from talkinghead.animators.liveportrait.sizes import PUBLIC, Sizes
from talkinghead.animators.liveportrait.transform import KeypointMotion, turn
from talkinghead.animators.liveportrait.warping import WarpingModule
from talkinghead.blendshapes import INDEX
from talkinghead.face.geometry import Head, move_face
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import Array

from .shared import SHARED

GOLDEN = SHARED / "golden" / "liveportrait"
HEADS_FILE = "stitching_retargeting_module.pth"
TINY = Sizes(4, 8, 2, 2, (1, 1, 2, 1), (8, 8, 8, 16), 1, 4, 3, 16, 16, 2, 8, 8)


def golden_rules() -> ModuleType:
    """The development data's definition of weights."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "golden_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest() -> dict[str, Any]:
    """Public file name, key (below the name of a head in the small file), shape."""
    tables: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text("utf-8"))
    return tables


def public_modules(sizes: Sizes = PUBLIC) -> dict[str, Any]:
    """Networks by public file name; those of the small file by their public names below it."""
    return {
        "appearance_feature_extractor.pth": AppearanceExtractor(sizes),
        "motion_extractor.pth": MotionExtractor(sizes),
        "warping_module.pth": WarpingModule(sizes),
        "spade_generator.pth": Generator(sizes),
        HEADS_FILE: {
            "retarget_shoulder": Stitching(),
            "retarget_mouth": LipRetargeting(),
            "retarget_eye": EyeRetargeting(),
        },
    }


def lively(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random weights of `module` whose normalisations do something; a motion extractor's motion is small."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if not tensor.is_floating_point():
            state[name] = torch.ones_like(tensor)
        elif name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif name.endswith(("weight_u", "weight_v")):
            state[name] = tensor
        elif tensor.ndim == 1:
            state[name] = (1.0 if "norm" in name and name.endswith("weight") else 0.0) + 0.1 * noise
        else:
            state[name] = noise / tensor[0].numel() ** 0.5
        if "fc_exp" in name or "fc_t." in name:
            state[name] = state[name] * 0.02
        if "conv_img" in name:  # else the picture is black and white
            state[name] = state[name] * 0.1
        if "fc_scale" in name:
            state[name] = state[name] * 0.1 + (1.2 if name.endswith("bias") else 0)
    return state


def write_public(folder: Path, tensors: dict[str, Any]) -> Path:
    """A folder in the public layout; the small file's names begin with `module.`, as the public one's do."""
    base, small = folder / "liveportrait" / "base_models", folder / "liveportrait" / "retargeting_models"
    base.mkdir(parents=True, exist_ok=True)
    small.mkdir(exist_ok=True)
    for name, state in tensors.items():
        if name == HEADS_FILE:
            tables = {head: {f"module.{key}": value for key, value in table.items()} for head, table in state.items()}
            torch.save(tables, small / name)
        else:
            torch.save(state, base / name)
    return folder


def tiny_tensors() -> dict[str, Any]:
    """Tensors of tiny networks by public file name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the vectors of the spectral norm
        modules = public_modules(TINY)
    heads = modules.pop(HEADS_FILE)
    tensors: dict[str, Any] = {name: lively(module, seed) for seed, (name, module) in enumerate(modules.items())}
    tensors[HEADS_FILE] = {
        name: {key: 0.1 * value for key, value in lively(head, 10 + seed).items()}
        for seed, (name, head) in enumerate(heads.items())
    }
    return tensors


def write_tiny(folder: Path) -> Path:
    """A folder of tiny networks with random weights."""
    write_public(folder, tiny_tensors())
    (folder / "config.json").write_text(json.dumps({"liveportrait": asdict(TINY)}), "utf-8")
    return folder


def golden_tensors() -> dict[str, Any]:
    """The golden weights of the public sizes by public file name."""
    rules, tensors = golden_rules(), {}
    for name, table in manifest().items():
        if name == HEADS_FILE:
            tensors[name] = {
                head: rules.golden_state_dict({key: spec["shape"] for key, spec in keys.items()}, f"{head}.")
                for head, keys in table.items()
            }
        else:
            tensors[name] = rules.golden_state_dict({key: spec["shape"] for key, spec in table.items()})
    return tensors


def motion(frames: int = 1, pitch: float = 0, yaw: float = 0, roll: float = 0, **weights: float) -> Motion:
    """Angles in degrees, weights of shapes, of both sides where the side is not named."""
    made = Motion.still(frames)
    made.rotation[:] = np.radians([pitch, yaw, roll])
    for name, weight in weights.items():
        for column in (INDEX[full] for full in (name, f"{name}Left", f"{name}Right") if full in INDEX):
            made.expression[:, column] = weight
    return made


def moved(portrait: Portrait, made: Motion) -> Array:
    head = Head.of(portrait.landmarks)
    return displacements(unposed(move_face(portrait, made), head), head.shape)


def wave(frames: int, seed: int = 0) -> KeypointMotion:
    """A smooth made-up driving motion."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 3, frames)[:, None]
    degrees = (8 * np.sin(time + random.normal(size=3))).astype(np.float32)
    expression = 0.02 * np.sin(time[..., None] + random.normal(size=(1, 21, 3)))
    return KeypointMotion(
        expression.astype(np.float32),
        turn(degrees).astype(np.float32),
        (1.3 + 0.05 * np.sin(time)).astype(np.float32),
        (0.03 * np.sin(time + random.normal(size=3))).astype(np.float32),
    )


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def animator(folder: Path) -> LivePortraitAnimator:
    return LivePortraitAnimator.open(folder)


@pytest.fixture(scope="module")
def networks(animator: LivePortraitAnimator) -> Networks:
    return animator.networks


@pytest.fixture(scope="module")
def sitter(animator: LivePortraitAnimator, portrait: Portrait) -> Sitter:
    return Sitter.of(animator, portrait)
