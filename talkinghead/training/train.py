"""Train the audio encoder and the motion network together on a corpus of speech and motion.

config, corpus -> model -> steps -> folder with config.json, model.safetensors, MODEL_CARD.md and loss.csv
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from ..audio_encoder import SECTION as ENCODER
from ..audio_encoder import WhisperConfig
from ..errors import CheckpointMismatch, InputError
from ..motion.faceformer import FaceFormerConfig
from ..motion.generator import SECTION as FACEFORMER
from ..settings import dataclass_from
from ..types import EXPRESSIONS
from ..weights import CONFIG_FILE, WEIGHTS_FILE, read_torch, save_weights, write_config
from .batches import Batch, Example, Hearing, batch_of, read_corpus, read_manifest
from .losses import LossWeights, MotionLoss, mouth_shape_of_expression
from .model import MotionModel
from .report import Scores, model_card, validate

Report = Callable[[int, dict[str, float]], None]
STATE_FILE = "training.pt"
LOG_FILE = "loss.csv"
CARD_FILE = "MODEL_CARD.md"
LEAST_SCALE = 0.02  # channels that hardly move do not count more than others
DEAF = -1.5  # log-mel value of digital silence, in Whisper's units


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    steps:      how many, unless `cpu_minutes` are given
    cpu_minutes: processor time to train for; how many steps that gives depends on the machine
    batch:      windows per step, each as long as the encoder's
    learning_rate: highest one, after `warmup` steps; falls to zero along a cosine
    clip:       longest gradient
    noise:      largest noise on the previous frames, in standard deviations: they must not be trusted blindly
    forget:     share of windows whose previous frames are all hidden
    own_frames: share of steps in which the network continues its own frames instead of the true ones
    threads:    of the processor
    save_every: steps between checkpoints to resume from
    """

    seed: int = 0
    steps: int = 9000
    cpu_minutes: float | None = None
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.02
    clip: float = 1.0
    noise: float = 0.8
    forget: float = 0.15
    own_frames: float = 0.6
    threads: int = 1
    save_every: int = 500
    encoder: WhisperConfig = field(default_factory=WhisperConfig)
    faceformer: FaceFormerConfig = field(default_factory=FaceFormerConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    hearing: Hearing = field(default_factory=Hearing)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every, self.threads, self.warmup) < 1:
            raise ValueError("steps, batch, save_every, threads and warmup must be at least 1")
        if self.cpu_minutes is not None and not self.cpu_minutes > 0:
            raise ValueError(f"cpu_minutes must be above 0, not {self.cpu_minutes}")
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0 and self.seed >= 0):
            raise ValueError("learning_rate and clip must be above 0, weight_decay and seed 0 or more")
        if not (0 <= self.forget <= 1 and 0 <= self.own_frames <= 1 and self.noise >= 0):
            raise ValueError("forget and own_frames must be 0 to 1, and noise 0 or more")
        if self.encoder.n_mels != 80 or self.encoder.n_ctx % 2 or 2 * self.encoder.n_ctx < self.hearing.mask_mels:
            raise ValueError("encoder.n_mels must be 80, and encoder.n_ctx even and at least hearing.mask_mels / 2")
        if self.encoder.n_state != self.faceformer.features:
            width = self.encoder.n_state
            raise ValueError(f"faceformer.features must be encoder.n_state, {width}, not {self.faceformer.features}")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """The settings in a YAML file; unknown keys and wrong types raise InputError."""
        try:
            values = yaml.safe_load(Path(path).read_text("utf-8")) or {}
            if not isinstance(values, dict):
                raise ValueError(f"must be a table of settings, not a {type(values).__name__}")
            return dataclass_from(cls, values)
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: {reason}", "see configs/faceformer_micro.yaml") from error

    @property
    def floor(self) -> float:
        """Log-mel value of what the encoder cannot hear."""
        return DEAF if self.encoder.floor is None else self.encoder.floor


def train_motion(
    config: TrainConfig, corpus: str | os.PathLike[str], out: str | os.PathLike[str], *, report: Report | None = None
) -> Path:
    """Train on the folder `corpus`, write a checkpoint folder `out`, and return it.

    A run that was interrupted goes on where it last saved, exactly as if it had not been.

    report: called after every step with its number and the parts of its loss

    Raises InputError, also if `out` holds a run with other settings or on another corpus.
    """
    torch.set_num_threads(config.threads)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    examples = read_corpus(corpus, "train")
    shares = _shares(examples)
    run = _Run(config, examples, out)
    run.resume()
    while run.progress < 1:
        rng = default_rng((config.seed, run.step))  # of this step alone, so that runs can be resumed
        batch = batch_of(examples, shares, config.batch, config.encoder.n_ctx, config.floor, config.hearing, rng)
        parts = run.train_on(batch, rng)
        if report is not None:
            report(run.step, parts)
        if run.step % config.save_every == 0:
            run.save()
    run.save()
    manifest = read_manifest(corpus)
    card = model_card(
        _judge(run.model, corpus, config), manifest, seed=config.seed, steps=run.step, cpu_minutes=run.cpu_seconds / 60
    )
    (out / CARD_FILE).write_text(card, encoding="utf-8")
    return out


def _judge(model: MotionModel, corpus: str | os.PathLike[str], config: TrainConfig) -> dict[str, Scores]:
    """Scores on other speech of the voices trained on, and on each voice held out."""
    sets = {"other speech of the same voices": read_corpus(corpus, "validation")}
    for example in read_corpus(corpus, "held_out", required=False):
        sets.setdefault(f"{example.voice}, never trained on", []).append(example)
    return {name: validate(model, examples, config.encoder.n_ctx, config.floor) for name, examples in sets.items()}


class _Run:
    """A model in training: everything that changes from step to step."""

    def __init__(self, config: TrainConfig, examples: Sequence[Example], out: Path) -> None:
        self.config, self.out = config, out
        self.corpus = _checksum(examples)
        self.step, self.cpu_seconds = 0, 0.0
        self.lately: list[dict[str, float]] = []  # losses since the last save
        self.model = MotionModel.seeded(config.encoder, config.faceformer, config.seed)
        self.model.faceformer.scale.copy_(_scale(examples))
        shape = torch.from_numpy(mouth_shape_of_expression())
        shape_scale = _expressions(examples).matmul(shape).std(dim=0)
        self.loss = MotionLoss(config.loss, self.model.faceformer.scale, shape, shape_scale)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )

    @property
    def progress(self) -> float:
        """0 at the first step, 1 after the last."""
        if self.config.cpu_minutes is not None:
            return self.cpu_seconds / (60 * self.config.cpu_minutes)
        return self.step / self.config.steps

    def train_on(self, batch: Batch, rng: Generator) -> dict[str, float]:
        """One step down the gradient; the parts of the loss."""
        began = time.process_time()
        rate = min(1.0, (self.step + 1) / self.config.warmup) * (0.5 + 0.5 * math.cos(math.pi * self.progress))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(rate, 1e-3)
        parts = self._losses(batch, rng)
        loss = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.step += 1
        self.cpu_seconds += time.process_time() - began
        self.lately.append({name: value.item() for name, value in parts.items()} | {"total": loss.item()})
        return self.lately[-1]

    def _losses(self, batch: Batch, rng: Generator) -> dict[str, Tensor]:
        model = self.model
        features = model.audio_encoder(batch.mel)  # [B, A, D]
        heard = model.listen(features)
        target = batch.frames  # [B, T, 58]
        previous = self._disturbed(_shifted(target, batch.before), rng)
        start = model.faceformer.start(len(target))
        # In training all frames are made at once, from the previous ones. Doing so from the network's own frames,
        # repeatedly, comes close to making them one after another, at a fraction of the time.
        if rng.random() < self.config.own_frames * min(1.0, 4 * self.progress):
            for _ in range(rng.integers(1, 4)):
                with torch.no_grad():
                    previous = _shifted(model.faceformer(heard, previous, start)[0], batch.before)
        motion, _ = model.faceformer(heard, previous, start)
        mouth = model.mouth(features) * model.faceformer.scale[:EXPRESSIONS]
        parts = self.loss.motion(motion, target)
        return parts | self.loss.tokens(model.phones(features), mouth, batch.phones, batch.motion)

    def _disturbed(self, previous: Tensor, rng: Generator) -> Tensor:
        """Previous frames [B, T, 58] with noise of any strength up to the limit, or hidden altogether."""
        strength = self.config.noise * rng.random((len(previous), 1, 1))
        kept = rng.random((len(previous), 1, 1)) >= self.config.forget
        noise = torch.from_numpy((strength * rng.standard_normal(previous.shape)).astype(np.float32))
        return (previous + noise * self.model.faceformer.scale) * torch.from_numpy(kept)

    def save(self) -> None:
        """Write the checkpoint, the losses since the last one, and what is needed to go on training."""
        modules = {ENCODER: self.model.audio_encoder, FACEFORMER: self.model.faceformer}
        save_weights(self.out / WEIGHTS_FILE, modules)
        settings = {ENCODER: asdict(self.config.encoder), FACEFORMER: asdict(self.config.faceformer)}
        write_config(self.out / CONFIG_FILE, settings)
        self._log()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "config": json.dumps(asdict(self.config)),
            "corpus": self.corpus,
        }
        part = self.out / f".{STATE_FILE}.part"
        torch.save(state, part)
        part.replace(self.out / STATE_FILE)

    def _log(self) -> None:
        if not self.lately:
            return
        means = {name: float(np.mean([parts[name] for parts in self.lately])) for name in self.lately[0]}
        with open(self.out / LOG_FILE, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(["step", *means])
            writer.writerow([self.step, *(f"{value:.4f}" for value in means.values())])
        self.lately = []

    def resume(self) -> None:
        """Go on from the last save, if there is one. Raises InputError if it had other settings or another corpus."""
        if not (self.out / STATE_FILE).is_file():
            return
        state = read_torch(self.out / STATE_FILE)
        if state.get("config") != json.dumps(asdict(self.config)):
            raise InputError(
                f"{self.out}: holds a run with other settings", "give another folder, or the same settings"
            )
        if state.get("corpus") != self.corpus:
            raise InputError(f"{self.out}: holds a run on another corpus", "give another folder, or the same corpus")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointMismatch(f"{STATE_FILE}: not a saved run: {error}", "delete it to start anew") from error


def _shifted(frames: Tensor, before: Tensor) -> Tensor:
    """The frame before each of `frames` [B, T, 58]; `before` [B, 58] comes before the first."""
    return torch.cat([before[:, None], frames[:, :-1]], dim=1)


def _checksum(examples: Sequence[Example]) -> int:
    """A number that tells corpora apart by the motion in them."""
    total = 0
    for example in examples:
        total = zlib.crc32(np.ascontiguousarray(example.expression).tobytes(), total)
    return total


def _shares(examples: Sequence[Example]) -> NDArray[np.float64]:
    """How often each clip is drawn: by its length."""
    lengths = np.array([len(example) for example in examples], np.float64)
    return np.asarray(lengths / lengths.sum())


def _expressions(examples: Sequence[Example]) -> Tensor:
    """Every tenth token's expression in the corpus: [n, 52]."""
    return torch.from_numpy(np.concatenate([example.expression[::10] for example in examples]).astype(np.float32))


def _scale(examples: Sequence[Example]) -> Tensor:
    """Standard deviation of each channel in the corpus: [58]."""
    pose = torch.from_numpy(np.concatenate([example.pose[::10] for example in examples]).astype(np.float32))
    scale = torch.cat([_expressions(examples), pose], dim=1).std(dim=0)
    return scale.clamp_min(LEAST_SCALE)
