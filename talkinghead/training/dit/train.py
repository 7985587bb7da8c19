"""Train the video transformer in stages, each of which trains some parts and freezes the others.

config, clips -> cached latents and tokens -> stages -> folder in the public layout, MODEL_CARD.md, loss.csv, loss.png
"""

from __future__ import annotations

import csv
import json
import math
import os
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from ...animators.dit.loading import find_folder, open_networks
from ...errors import CheckpointMismatch, InputError, NumericalError, WeightsMissing
from ...files import new_file
from ...types import Frame
from ...weights import read_torch
from .cache import Encoded, draw_latents, encode_clips, read_encoded
from .checkpoint import write_checkpoint
from .clips import Clip, read_clips
from .config import DitConfig, Stage
from .from_cogvideox import find_cogvideox, find_face_encoder, read_new, write_start
from .model import Batch, DitModel, part_of
from .report import CARD_FILE, LOG_FILE, PLOT_FILE, draw_losses, model_card
from .tiny import write_tiny

Report = Callable[[int, float], None]
STATE_FILE = "training.pt"
CACHE = "cache"
START = "start"  # a checkpoint that is made here
MOST_HELD = 2000  # clips whose drawings' latents are held while their encoder is frozen: 9 GB at the public size


def train_dit(
    config: DitConfig, clips: str | os.PathLike[str], out: str | os.PathLike[str], *, report: Report | None = None
) -> Path:
    """Train on a folder of clips, write a checkpoint folder `out` in the public layout, and return it.

    A run that was interrupted goes on where it last saved, exactly as if it had not been. Under `accelerate launch`
    several processes share the work, each with batches of its own.

    report: called after every step with its number and loss

    Raises InputError, also if `out` holds a run with other settings or on other clips; the errors of weights;
    NumericalError if the loss is not finite.
    """
    torch.set_num_threads(config.threads)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(config, read_clips(clips), out)
    run.resume()
    while run.stage is not None:
        loss = run.train_step()
        if report is not None:
            report(run.step, loss)
        if run.at_end_of_stage or run.step % config.save_every == 0:
            run.save()
        if run.at_end_of_stage:
            run.end_stage()
    if run.accelerator.is_main_process:
        card = model_card(config, clips, out / LOG_FILE, read_new(run.start))
        with new_file(out / CARD_FILE, force=True) as part:
            part.write_text(card, encoding="utf-8")
        draw_losses(out / LOG_FILE, out / PLOT_FILE)
    return out


class Run:
    """A model in training: everything that changes from step to step.

    step:  how many were done, over all stages
    stage: the one that is trained, None after the last
    """

    def __init__(self, config: DitConfig, clips: list[Clip], out: Path) -> None:
        from accelerate import Accelerator

        self.config, self.clips, self.out = config, clips, out
        precision = {"float32": "no", "bfloat16": "bf16"}[config.precision]
        self.accelerator = Accelerator(mixed_precision=precision)
        with self.accelerator.main_process_first():
            self.start = self._start()
            device = str(self.accelerator.device)
            self.networks = open_networks(self.start, device=device, dtype=torch.float32)
            self._check_size()
            self.files = encode_clips(self.networks, clips, out / CACHE)
        for network in (self.networks.vae, self.networks.face_encoder):
            network.to("cpu")  # their work is done
        self.scale = float(self.networks.vae.config.scaling_factor)
        self.network = DitModel(self.networks)
        self.network.transformer.train()
        if config.gradient_checkpointing:
            self.network.transformer.enable_gradient_checkpointing()
        self.checksum = zlib.crc32(" ".join(file.name for file in self.files).encode())
        self.step, self.trained = 0, set[str]()
        self.log: list[tuple[int, str, float, float]] = []  # rows of LOG_FILE
        self.lately: list[float] = []  # losses since the last row
        self._begin_stage()

    def _start(self) -> Path:
        """The folder of the checkpoint to start from; a tiny one, or one of bare CogVideoX, is made here."""
        if self.config.tiny is not None:
            return write_tiny(self.config.tiny, self.clips, self.out / START, self.config.seed)
        assert self.config.checkpoint is not None
        if self.config.face_encoder is None:
            try:
                return find_folder(self.config.checkpoint, self.config.revision)
            except WeightsMissing as error:
                raise WeightsMissing(str(error), f"{error.hint}; for bare CogVideoX-I2V, set face_encoder") from error
        bare = find_cogvideox(self.config.checkpoint, self.config.revision)
        encoder = find_face_encoder(self.config.face_encoder)
        return write_start(bare, encoder, self.out / START, self.config.seed)

    def _check_size(self) -> None:
        wanted, given = (self.networks.canvas, self.networks.frames), self.clips[0].settings
        if wanted != (given.canvas, given.frames):
            (height, width), frames = wanted
            raise InputError(
                f"the clips are {given.frames} frames of {given.width} x {given.height}, and the model makes "
                f"{frames} of {width} x {height}",
                f"prepare them with --width {width} --height {height} --frames {frames}",
            )

    @property
    def place(self) -> tuple[int, int]:
        """Number of the stage, and how many of its steps were done; the last stage's end is the whole run's."""
        done = self.step
        for number, stage in enumerate(self.config.stages):
            if done < stage.steps:
                return number, done
            done -= stage.steps
        return len(self.config.stages), 0

    @property
    def stage(self) -> Stage | None:
        """The one that the next step belongs to."""
        number, _ = self.place
        return self.config.stages[number] if number < len(self.config.stages) else None

    @property
    def at_end_of_stage(self) -> bool:
        """Whether the next step belongs to another stage, or there is none."""
        return self.place[1] == 0

    def _begin_stage(self) -> None:
        stage = self.stage
        if stage is None:
            return
        parameters = self.network.train_only(stage.parts)
        optimizer = torch.optim.AdamW(parameters, stage.learning_rate, weight_decay=self.config.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.trained |= set(stage.parts)
        self.held: dict[int, Tensor] | None = None if "landmark_encoder" in stage.parts else {}

    def end_stage(self) -> None:
        """Take the wrappers and the optimizer of a stage away, and begin the next one."""
        self.network = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.model, self.optimizer = self.accelerator.free_memory(self.model, self.optimizer)
        self._begin_stage()

    def train_step(self) -> float:
        """One step down the gradient of `accumulate` batches; their mean loss."""
        stage, (number, done) = self.stage, self.place
        assert stage is not None
        rng = default_rng((self.config.seed, number, done, self.accelerator.process_index))  # so runs can be resumed
        rate = stage.learning_rate * self._share_of_rate(done, stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        batches = self._batches(rng)
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.model(batch) / len(batches)
                self.accelerator.backward(loss)
            total += loss.item()
        if not math.isfinite(total):
            raise NumericalError(f"the loss became {total} in step {self.step + 1}: lower the learning rate")
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._note(stage, total, rate)
        return total

    def _share_of_rate(self, done: int, steps: int) -> float:
        rising = min(1.0, (done + 1) / self.config.warmup)
        return rising * (0.5 + 0.5 * math.cos(math.pi * done / steps) if self.config.schedule == "cosine" else 1.0)

    def _batches(self, rng: Generator) -> list[Batch]:
        """The batches of one step. Timesteps are spread evenly over it, which keeps the gradient steadier."""
        size, count = self.config.batch, self.config.accumulate * self.config.batch
        shares = (rng.permutation(count) + rng.random(count)) / count
        timesteps = (shares * self.networks.scheduler.config.num_train_timesteps).astype(np.int64)
        chosen = rng.integers(len(self.clips), size=count)
        dropped = rng.random(count) < self.config.drop_face
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return [
            self._batch(chosen[some], timesteps[some], dropped[some], generator)
            for some in (slice(first, first + size) for first in range(0, count, size))
        ]

    def _batch(self, chosen: Any, timesteps: Any, dropped: Any, generator: torch.Generator) -> Batch:
        encoded: list[Encoded] = [read_encoded(self.files[index]) for index in chosen]
        latents = torch.stack([draw_latents(each.video, self.scale, generator) for each in encoded])
        reference = torch.stack([draw_latents(each.picture, self.scale, generator) for each in encoded])
        faces = torch.stack([each.face for each in encoded]) * torch.from_numpy(~dropped)[:, None, None]
        noise = torch.randn(latents.shape, generator=generator)
        device = self.accelerator.device
        return Batch(
            latents.to(device),
            reference.to(device),
            faces.to(device),
            self._drawings(chosen),
            noise.to(device),
            torch.from_numpy(timesteps).to(device),
        )

    def _drawings(self, chosen: Any) -> list[list[Frame]] | Tensor:
        """Drawings of some clips; or their latents, each made once, while their encoder does not change."""
        if self.held is None:
            return [self.clips[index].drawings() for index in chosen]
        latents = []
        for index in map(int, chosen):
            known = self.held.get(index)
            if known is None:
                with torch.no_grad(), self.accelerator.autocast():
                    known = self.network.encode_drawings(self.clips[index].drawings()).float().cpu()
                if len(self.held) < MOST_HELD:
                    self.held[index] = known
            latents.append(known)
        return torch.cat(latents).to(self.accelerator.device)

    def _note(self, stage: Stage, loss: float, rate: float) -> None:
        self.lately.append(loss)
        if self.step % self.config.log_every == 0 or self.at_end_of_stage:
            self.log.append((self.step, stage.name, float(np.mean(self.lately)), rate))
            self.lately = []

    def save(self) -> None:
        """Write the losses and what is needed to go on, and before, after a stage, the checkpoint."""
        if not self.accelerator.is_main_process:
            return
        if self.at_end_of_stage:
            write_checkpoint(self.networks, self.start, self.out)
        self._write_log()
        state = {
            "config": json.dumps(asdict(self.config)),
            "clips": self.checksum,
            "step": self.step,
            "log": self.log,
            "lately": self.lately,
            "trained": sorted(self.trained),
            "weights": self._trained_weights(),
            "optimizer": self.optimizer.state_dict(),
        }
        with new_file(self.out / STATE_FILE, force=True) as part:
            torch.save(state, part)

    def _trained_weights(self) -> dict[str, Tensor]:
        """The weights that were trained so far, by name."""
        return {
            name: value
            for name, value in self.network.state_dict().items()
            if part_of(name) in self.trained and not name.startswith("landmark_encoder.decoder")
        }

    def _write_log(self) -> None:
        with new_file(self.out / LOG_FILE, force=True) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "stage", "loss", "learning_rate"])
            writer.writerows([step, stage, f"{loss:.6f}", f"{rate:.3g}"] for step, stage, loss, rate in self.log)

    def resume(self) -> None:
        """Go on from the last save, if there is one. Raises InputError if it had other settings or other clips."""
        if not (self.out / STATE_FILE).is_file():
            return
        state = read_torch(self.out / STATE_FILE)
        for key, own, what in (
            ("config", json.dumps(asdict(self.config)), "with other settings"),
            ("clips", self.checksum, "on other clips, or from another checkpoint"),
        ):
            if state.get(key) != own:
                raise InputError(f"{self.out}: holds a run {what}", "give another folder, or go on as it was begun")
        try:
            self.step, self.lately = state["step"], state["lately"]
            self.log = [tuple(row) for row in state["log"]]
            self.trained = set(state["trained"])
            differ = state["weights"].keys() ^ self._trained_weights().keys()
            if differ:
                raise ValueError(f"{min(differ)} is unknown or lacking")
            self.network.load_state_dict(state["weights"], strict=False)  # what was not trained stays as it is
            self.end_stage()
            if not self.at_end_of_stage:
                self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointMismatch(f"{STATE_FILE}: not a saved run: {error}", "delete it to start anew") from error
