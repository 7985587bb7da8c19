"""Train the audio encoder and the motion network together on a corpus of speech and motion.

config, corpora -> model -> steps -> folder with config.json, model.safetensors, MODEL_CARD.md, loss.csv and loss.png
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import yaml
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..audio_encoder import SECTION as ENCODER
from ..audio_encoder import WhisperConfig, WhisperEncoder
from ..errors import CheckpointMismatch, InputError, OutputExists
from ..motion.faceformer import STYLES, FaceFormerConfig
from ..motion.generator import SECTION as FACEFORMER
from ..motion.phones import PHONES
from ..settings import dataclass_from
from ..weights import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    load_weights,
    part,
    read_folder,
    read_torch,
    resolve,
    save_weights,
    write_config,
)
from .batches import DEAF, Batch, Example, Hearing, batch_of, read_corpus, read_manifest
from .losses import LossWeights, MotionLoss, mouth_shape_of_expression
from .model import MotionModel, Predicted, shifted
from .report import Scores, draw_losses, model_card, validate

Report = Callable[[int, dict[str, float]], None]
STATE_FILE = "training.pt"
LOG_FILE = "loss.csv"
CARD_FILE = "MODEL_CARD.md"
PLOT_FILE = "loss.png"
LEAST_SCALE = 0.02  # channels that hardly move do not count more than others


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    steps:      how many
    batch:      windows per step and process, each as long as the encoder's
    learning_rate: highest one, after `warmup` steps; falls to `lowest_rate` of it along a cosine
    average:    last steps whose mean weights are the model (Izmailov et al., 2018); 0 keeps those of the last step
    clip:       longest gradient
    noise:      largest noise on the previous frames, in standard deviations: they must not be trusted blindly
    forget:     share of windows whose previous frames are all hidden
    own_frames: share of steps in which the network continues its own frames instead of the true ones
    threads:    of the processor
    save_every: steps between checkpoints to resume from
    public_encoder: name of a public Whisper model ("tiny", "base", …) that hears instead of `encoder`, as it is: only
                a FaceFormer for it is trained
    """

    seed: int = 0
    steps: int = 9000
    batch: int = 8
    learning_rate: float = 2e-3
    lowest_rate: float = 0.0
    average: int = 0
    warmup: int = 200
    weight_decay: float = 0.02
    clip: float = 1.0
    noise: float = 0.8
    forget: float = 0.15
    own_frames: float = 0.6
    threads: int = 1
    save_every: int = 500
    public_encoder: str | None = None
    encoder: WhisperConfig = field(default_factory=WhisperConfig)
    faceformer: FaceFormerConfig = field(default_factory=lambda: FaceFormerConfig(styles=STYLES, phones=len(PHONES)))
    loss: LossWeights = field(default_factory=LossWeights)
    hearing: Hearing = field(default_factory=Hearing)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every, self.threads, self.warmup) < 1:
            raise ValueError("steps, batch, save_every, threads and warmup must be at least 1")
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0 and self.seed >= 0):
            raise ValueError("learning_rate and clip must be above 0, weight_decay and seed 0 or more")
        if not (0 <= self.average <= self.steps and 0 <= self.lowest_rate <= 1):
            raise ValueError("average must be 0 to steps, and lowest_rate 0 to 1")
        if not (0 <= self.forget <= 1 and 0 <= self.own_frames <= 1 and self.noise >= 0):
            raise ValueError("forget and own_frames must be 0 to 1, and noise 0 or more")
        if self.encoder.n_mels != 80 or self.encoder.n_ctx % 2 or 2 * self.encoder.n_ctx <= self.hearing.mask_mels:
            raise ValueError("encoder.n_mels must be 80, and encoder.n_ctx even and above hearing.mask_mels / 2")
        if self.public_encoder is None and self.encoder.n_state != self.faceformer.features:
            width = self.encoder.n_state
            raise ValueError(f"faceformer.features must be encoder.n_state, {width}, not {self.faceformer.features}")
        if self.faceformer.styles != STYLES or self.faceformer.phones != len(PHONES):
            raise ValueError(f"faceformer.styles must be {STYLES} and faceformer.phones {len(PHONES)}")

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


def train_motion(
    config: TrainConfig,
    corpora: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    init: str | os.PathLike[str] | None = None,
    report: Report | None = None,
) -> Path:
    """Train on one or more corpus folders, write a checkpoint folder `out`, and return it.

    A run that was interrupted goes on where it last saved, exactly as if it had not been. Under `accelerate launch`
    several processes share the work, each with a batch of its own.

    init:   checkpoint to start from ("micro", a folder or a hub id), for fine-tuning; its dimensions must be `config`'s
    report: called after every step with its number and the parts of its loss

    Raises InputError, also if `out` holds a run with other settings or on other corpora; OutputExists if it holds a
    model that is no run's; the errors of weights.
    """
    folders = [corpora] if isinstance(corpora, str | os.PathLike) else list(corpora)
    torch.set_num_threads(config.threads)
    out = Path(out)
    if (out / WEIGHTS_FILE).exists() and not (out / STATE_FILE).exists():
        raise OutputExists(f"{out}: holds a model that no run left here to be trained on", "give another folder")
    out.mkdir(parents=True, exist_ok=True)
    examples = [example for folder in folders for example in read_corpus(folder, "train")]
    shares = _shares(examples)
    run = _Run(config, examples, out, init)
    run.resume()
    while run.progress < 1:
        rng = default_rng((config.seed, run.step, run.process))  # of this step alone, so that runs can be resumed
        batch = batch_of(examples, shares, config.batch, run.length, run.floor, config.hearing, rng)
        parts = run.train_on(batch, rng)
        if report is not None:
            report(run.step, parts)
        if run.step % config.save_every == 0:
            run.save()
    run.save()
    if run.accelerator.is_main_process:
        _write_card(run, folders)
    return out


def _write_card(run: _Run, folders: Sequence[str | os.PathLike[str]]) -> None:
    """Judge the model on speech it was not trained on, and describe it; draw its losses."""
    manifests = [read_manifest(folder) for folder in folders]
    scores = {} if run.frozen else _judge(run.kept, folders, run.length, run.floor)
    card = model_card(scores, manifests, seed=run.config.seed, steps=run.step, cpu_minutes=run.cpu_seconds / 60)
    (run.out / CARD_FILE).write_text(card, encoding="utf-8")
    draw_losses(run.out / LOG_FILE, run.out / PLOT_FILE)


def _judge(
    model: MotionModel, folders: Sequence[str | os.PathLike[str]], length: int, floor: float
) -> dict[str, Scores]:
    """Scores on other speech of the voices trained on, and on each voice held out."""
    sets: dict[str, list[Example]] = {}
    for folder in folders:
        for example in read_corpus(folder, "validation", required=False):
            sets.setdefault("other speech of the same voices", []).append(example)
        for example in read_corpus(folder, "held_out", required=False):
            sets.setdefault(f"{example.voice}, never trained on", []).append(example)
    return {name: validate(model, examples, length, floor) for name, examples in sets.items()}


def _shipped(network: MotionModel) -> dict[str, nn.Module]:
    """What a checkpoint holds of a model, by section. A public encoder is named in it instead of copied."""
    hearing = {} if network.frozen else {ENCODER: network.audio_encoder}
    return {**hearing, FACEFORMER: network.faceformer}


class _Run:
    """A model in training: everything that changes from step to step."""

    def __init__(
        self, config: TrainConfig, examples: Sequence[Example], out: Path, init: str | os.PathLike[str] | None
    ) -> None:
        from accelerate import Accelerator

        self.config, self.out, self.init = config, out, init
        self.corpus = _checksum(examples)
        self.step, self.cpu_seconds = 0, 0.0
        self.lately: list[dict[str, float]] = []  # losses since the last save
        self.frozen = config.public_encoder is not None
        hearing, network = self._networks()
        self.length, self.floor = hearing.n_ctx, DEAF if hearing.floor is None else hearing.floor
        scale = network.faceformer.scale
        if init is None:
            scale.copy_(_scale(examples))
        shape = torch.from_numpy(mouth_shape_of_expression())
        shape_scale = _expressions(examples).matmul(shape).std(dim=0)
        self.accelerator = Accelerator()
        self.process = self.accelerator.process_index
        device = self.accelerator.device
        self.loss = MotionLoss(config.loss, scale.to(device), shape.to(device), shape_scale.to(device))
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.network = network
        self.model, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.averaged = AveragedModel(network) if config.average else None

    def _networks(self) -> tuple[WhisperConfig, MotionModel]:
        """What hears, and the model as it is before the first step."""
        config = self.config
        if config.public_encoder is not None:
            public = WhisperEncoder.open(config.public_encoder)
            faceformer = replace(config.faceformer, features=public.size)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                hearing, network = public.config, MotionModel(public.network, faceformer, frozen=True)
        else:
            hearing, network = config.encoder, MotionModel.seeded(config.encoder, config.faceformer, config.seed)
        if self.init is not None:
            folder = resolve(self.init)
            tensors = read_folder(folder)
            for section, module in _shipped(network).items():
                load_weights(module, part(tensors, f"{section}."), f"{folder.name}: {section}")
        return hearing, network

    @property
    def progress(self) -> float:
        """0 at the first step, 1 after the last."""
        return self.step / self.config.steps

    @property
    def kept(self) -> MotionModel:
        """The model as the checkpoint holds it."""
        if self.averaged is None or not self.averaged.n_averaged:
            return self.network
        return cast(MotionModel, self.averaged.module)

    def train_on(self, batch: Batch, rng: Generator) -> dict[str, float]:
        """One step down the gradient; the parts of the loss."""
        began = time.process_time()
        lowest = self.config.lowest_rate
        falling = lowest + (1 - lowest) * (0.5 + 0.5 * math.cos(math.pi * self.progress))
        rate = min(1.0, (self.step + 1) / self.config.warmup) * falling
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(rate, 1e-3)
        parts = self._losses(batch, rng)
        loss = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.step += 1
        if self.averaged is not None and self.step > self.config.steps - self.config.average:
            self.averaged.update_parameters(self.network)
        self.cpu_seconds += time.process_time() - began
        self.lately.append({name: value.item() for name, value in parts.items()} | {"total": loss.item()})
        return self.lately[-1]

    def _losses(self, batch: Batch, rng: Generator) -> dict[str, Tensor]:
        batch = batch.to(self.accelerator.device)
        target = batch.frames  # [B, T, 58]
        previous = self._disturbed(shifted(target, batch.before), rng)
        own = rng.random() < self.config.own_frames * min(1.0, 4 * self.progress)
        predicted: Predicted = self.model(batch, previous, int(rng.integers(1, 4)) if own else 0)
        parts = self.loss.motion(predicted.motion, target)
        return parts | self.loss.tokens(predicted.phones, predicted.mouth, batch.phones, batch.motion)

    def _disturbed(self, previous: Tensor, rng: Generator) -> Tensor:
        """Previous frames [B, T, 58] with noise of any strength up to the limit, or hidden altogether."""
        strength = self.config.noise * rng.random((len(previous), 1, 1))
        kept = torch.from_numpy(rng.random((len(previous), 1, 1)) >= self.config.forget).to(previous.device)
        noise = torch.from_numpy((strength * rng.standard_normal(previous.shape)).astype(np.float32))
        return (previous + noise.to(previous.device) * self.loss.scale) * kept

    def save(self) -> None:
        """Write the checkpoint, the losses since the last one, and what is needed to go on training."""
        if not self.accelerator.is_main_process:
            return
        hearing = self.config.public_encoder or asdict(self.config.encoder)
        settings = {ENCODER: hearing, FACEFORMER: asdict(self.network.faceformer.config)}
        save_weights(self.out / WEIGHTS_FILE, _shipped(self.kept))
        write_config(self.out / CONFIG_FILE, settings)
        self._log()
        state = {
            "model": self.network.state_dict(),
            "averaged": self.averaged and self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "config": json.dumps(asdict(self.config)),
            "corpus": self.corpus,
            "init": str(self.init),
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
        if state.get("init") != str(self.init):
            raise InputError(f"{self.out}: holds a run begun from {state.get('init')}", "give another folder")
        if state.get("corpus") != self.corpus:
            raise InputError(f"{self.out}: holds a run on another corpus", "give another folder, or the same corpus")
        try:
            self.network.load_state_dict(state["model"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointMismatch(f"{STATE_FILE}: not a saved run: {error}", "delete it to start anew") from error


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
