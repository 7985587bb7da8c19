"""How fast the video transformer is on a GPU: `python -m talkinghead.animators.dit.benchmark -o results.json`.

Random weights of the public size, so nothing is downloaded: 49 pictures of 480 x 720 in bfloat16, guided. The stock
diffusers CogVideoX with the same shapes runs first and in the same process; then ours without any lever, with each
alone, and with those that are exact together. `--tiny` runs the same on a small network, also on a CPU.

The floor is what a step costs if the GPU reaches its dense bfloat16 peak: 692.7 TFLOP a guided step, counted with
`torch.utils.flop_counter` on the public configuration, over 790 TFLOP/s, an H200's practical peak: 0.877 s.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from torch import nn

from ...files import new_file
from .classifier_free import Guided
from .sampling import decode
from .speed import Speed, hasten
from .transformer import Condition, VideoTransformer, rotary_embedding

FLOOR = 0.877  # seconds a guided step of the public model
TRANSFORMER: dict[str, Any] = {
    "attention_bias": True,
    "in_channels": 48,
    "num_attention_heads": 48,
    "num_layers": 42,
    "sample_frames": 49,
    "sample_height": 60,
    "sample_width": 90,
    "use_learned_positional_embeddings": True,
    "use_rotary_positional_embeddings": True,
}
TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "num_layers": 2,
    "sample_height": 8,
    "sample_width": 12,
    "sample_frames": 17,
}
VAE: dict[str, Any] = {"block_out_channels": (128, 256, 256, 512), "layers_per_block": 3, "scaling_factor": 0.7}
TINY_VAE: dict[str, Any] = {"block_out_channels": (8, 16, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}


@dataclass(frozen=True)
class Result:
    """One line of the table.

    seconds: of one step: the mean
    memory:  gigabytes of the GPU at its peak, or None on a CPU
    floor:   share of the public model's floor that was reached, or None for another size
    """

    name: str
    seconds: float
    memory: float | None
    floor: float | None
    error: str | None = None


@dataclass(frozen=True)
class Case:
    """What is measured: the networks' settings and where they run."""

    device: str
    dtype: torch.dtype
    tiny: bool
    steps: int

    def transformer(self, kind: Any) -> Any:
        """A transformer of `kind` with random weights."""
        settings = {**TRANSFORMER, **(TINY if self.tiny else {})}
        return _random(lambda: kind(**settings, max_text_seq_length=25 if self.tiny else 729), self)

    def vae(self) -> Any:
        """A VAE with random weights."""
        kind: Any = AutoencoderKLCogVideoX
        return _random(lambda: kind(**{**VAE, **(TINY_VAE if self.tiny else {})}), self)

    def condition(self, config: Any) -> Condition:
        """Random conditions of the right shapes."""
        frames = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
        height, width = config.sample_height, config.sample_width

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(shape, device=self.device, dtype=self.dtype)

        video, tokens = (1, frames, 16, height, width), (1, config.max_text_seq_length, config.text_embed_dim)
        rotary = rotary_embedding(config, height, width, frames, torch.device(self.device))
        return Condition(noise(*video), noise(*video), noise(*tokens), noise(*tokens), rotary)


def _random(make: Callable[[], Any], case: Case) -> Any:
    """A network made on `case`'s device, small random weights in its type; the public one takes 11 GB."""
    with torch.device("meta"):
        network = nn.Module.to(make(), case.dtype)
    network = nn.Module.to_empty(network, device=case.device).eval().requires_grad_(False)
    for weight in (*network.parameters(), *network.buffers()):
        weight.normal_(std=0.02)
    return network


LEVERS: dict[str, tuple[Speed, dict[str, Any]]] = {
    "ours": (Speed(), {}),
    "halves in turn": (Speed(), {"batching": "sequential"}),
    "guided in half of the steps": (Speed(), {"until": 0.5}),
    "attention: cuDNN": (Speed(attention="_native_cudnn"), {}),
    "attention: flash": (Speed(attention="flash"), {}),
    "attention: flash 3": (Speed(attention="_flash_3_hub"), {}),
    "attention: sage": (Speed(attention="sage"), {}),
    "compiled": (Speed(compile=True), {}),
    "first-block cache": (Speed(cache="first_block"), {}),
    "pyramid attention": (Speed(cache="pab"), {}),
    "compiled, cuDNN": (Speed(compile=True, attention="_native_cudnn"), {}),
    "compiled, cuDNN, first-block cache, half guided": (
        Speed(compile=True, attention="_native_cudnn", cache="first_block"),
        {"until": 0.5},
    ),
}


def measure(case: Case, names: list[str]) -> Iterator[Result]:
    """Results of the stock path, then of the levers called `names`. One that is not there is told and left out."""
    yield _timed("stock diffusers", case, CogVideoXTransformer3DModel, Speed(), {})
    for name in names:
        speed, options = LEVERS[name]
        try:
            yield _timed(name, case, VideoTransformer, speed, options)
        except (RuntimeError, ImportError, ValueError, OSError, AttributeError) as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            yield Result(name, float("nan"), None, None, reason)


@torch.no_grad()
def _timed(name: str, case: Case, kind: Any, speed: Speed, options: dict[str, Any]) -> Result:
    transformer = case.transformer(kind)
    if kind is VideoTransformer:
        hasten(transformer, speed)
    guide, condition = Guided(transformer, 3.0, **options), case.condition(transformer.config)
    latents = torch.randn_like(condition.landmarks)
    kinds: Any = CogVideoXDDIMScheduler
    scheduler = kinds(prediction_type="v_prediction", timestep_spacing="trailing")
    scheduler.set_timesteps(case.steps, device=case.device)
    taken: list[float] = []
    with _peak(case.device) as peak:
        for _ in range(2):  # the first one warms up
            state, taken = latents, []
            for step, timestep in enumerate(scheduler.timesteps):
                started = time.perf_counter()
                velocity = guide(state, condition, timestep, step, case.steps)
                state = scheduler.step(velocity, timestep, state, return_dict=False)[0].to(case.dtype)
                _wait(case.device)
                taken.append(time.perf_counter() - started)
    # Not the median: caches and unguided steps make some steps cheaper than others.
    seconds = sum(taken) / len(taken)
    floor = None if case.tiny else FLOOR / seconds
    return Result(name, seconds, peak[0] if peak else None, floor)


@torch.no_grad()
def measure_decoder(case: Case) -> Iterator[Result]:
    """Results of decoding one window, whole and in tiles."""
    config = {**TRANSFORMER, **(TINY if case.tiny else {})}
    frames = (config["sample_frames"] - 1) // 4 + 1
    latents = torch.randn(1, frames, 16, config["sample_height"], config["sample_width"], device=case.device)
    for name in ("decode a window", "decode a window in tiles"):
        vae = case.vae()
        if "tiles" in name:
            vae.enable_tiling()
        with _peak(case.device) as peak:
            started = time.perf_counter()
            decode(vae, latents.to(case.dtype).clamp(-1, 1))
            seconds = time.perf_counter() - started
        yield Result(name, seconds, peak[0] if peak else None, None)


@contextmanager
def _peak(device: str) -> Iterator[list[float]]:
    """A list that holds the GPU's peak in gigabytes when the block has ended."""
    found: list[float] = []
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if torch.device(device).type == "cuda":
        found.append(torch.cuda.max_memory_allocated() / 1e9)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def table(results: list[Result]) -> str:
    """Results as Markdown."""
    lines = ["| what | s | GB | of the floor |", "|---|---|---|---|"]
    for result in results:
        if result.error:
            lines.append(f"| {result.name} | {result.error} | | |")
            continue
        memory = "" if result.memory is None else f"{result.memory:.1f}"
        floor = "" if result.floor is None else f"{result.floor:.0%}"
        lines.append(f"| {result.name} | {result.seconds:.3f} | {memory} | {floor} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Time the video transformer with random weights of the public size.")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    parser.add_argument("--only", nargs="*", choices=[*LEVERS], default=[*LEVERS], help="some of the levers")
    chosen = parser.parse_args(arguments)
    if torch.device(chosen.device).type == "cpu" and not chosen.tiny:
        parser.error("the public size needs a GPU of 40 GB; try --tiny")
    dtype = torch.float32 if chosen.device == "cpu" else torch.bfloat16
    case = Case(chosen.device, dtype, chosen.tiny, chosen.steps)
    results = []
    for result in chain(measure(case, chosen.only), measure_decoder(case)):
        results.append(result)
        print(table([result]).splitlines()[-1], file=sys.stderr, flush=True)  # noqa: T201
    print(table(results))  # noqa: T201
    if chosen.output is not None:
        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        report = {"device": where, "torch": torch.__version__, "results": [asdict(result) for result in results]}
        with new_file(chosen.output, force=True) as part:
            part.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
