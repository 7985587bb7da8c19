"""How good a trained model is on speech it was not trained on, and the card that says so."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..blendshapes import INDEX
from ..types import EXPRESSIONS
from .batches import UNKNOWN, Batch, Example, as_batch, window_of
from .losses import mouth_shape_of_expression
from .model import MotionModel

MOST_WINDOWS = 64
BATCH = 16

Scores = dict[str, float]


@torch.inference_mode()
def validate(model: MotionModel, examples: Sequence[Example], length: int, floor: float) -> Scores:
    """Correlations, over one window of up to 64 of the clips, of free-running motion with its targets, and more.

    gap, width, jaw, pucker: correlation of the lip opening, the mouth's width and two blendshapes
    speed:  standard deviation of the lip opening's change over that of the targets
    phones: share of tokens whose phone the encoder knows
    """
    every = math.ceil(len(examples) / MOST_WINDOWS)
    windows = [window_of(example, max(0, (len(example) - length) // 2), length, floor) for example in examples[::every]]
    batches = [as_batch(windows[first : first + BATCH]) for first in range(0, len(windows), BATCH)]
    model.eval()
    results = [_run(model, batch) for batch in batches]
    model.train()
    made, wanted = (np.concatenate([result[index] for result in results]) for index in (0, 1))
    right = np.concatenate([result[2] for result in results])
    shape = mouth_shape_of_expression()
    opening, target = made[..., :EXPRESSIONS] @ shape, wanted[..., :EXPRESSIONS] @ shape
    return {
        "gap": correlation(opening[..., 0], target[..., 0]),
        "width": correlation(opening[..., 1], target[..., 1]),
        "jaw": correlation(made[..., INDEX["jawOpen"]], wanted[..., INDEX["jawOpen"]]),
        "pucker": correlation(made[..., INDEX["mouthPucker"]], wanted[..., INDEX["mouthPucker"]]),
        "speed": float(np.diff(opening[..., 0]).std() / np.diff(target[..., 0]).std()),
        "phones": float(right.mean()) if len(right) else float("nan"),
    }


def _run(model: MotionModel, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Motion made one frame after another, its targets, and which phones were known."""
    batch = batch.to(model.mouth.weight.device)
    features = model.audio_encoder(batch.mel)
    start = model.faceformer.start(len(batch.mel))
    made, _ = model.faceformer.generate(model.listen(features), batch.before[:, None], start, batch.frame_style)
    assert model.faceformer.phones is not None
    known = (model.faceformer.phones(features).argmax(dim=-1) == batch.phones)[batch.phones != UNKNOWN]
    return made.cpu().numpy(), batch.frames.cpu().numpy(), known.cpu().numpy()


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson correlation; NaN if one of them never moves."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def model_card(
    scores: Mapping[str, Scores], manifests: Sequence[Mapping[str, Any]], *, seed: int, steps: int, cpu_minutes: float
) -> str:
    """A Markdown card of a model trained on the corpora of `manifests`.

    scores: by the name of what was judged on
    """
    trained_on = [shard for manifest in manifests for shard in manifest["shards"] if shard["split"] == "train"]
    hours = sum(shard["seconds"] for shard in trained_on) / 3600
    described = {name: voice for manifest in manifests for name, voice in manifest["voices"].items()}
    voices = sorted({shard["voice"] for shard in trained_on})
    corpora = ", ".join(f"seed {manifest['settings'].get('seed', '-')}" for manifest in manifests)
    lines = [
        "# Model card",
        "",
        "A Whisper-architecture audio encoder and a FaceFormer. Made by `talkinghead train motion`.",
        "",
        f"- seed {seed}, {steps} steps, {cpu_minutes:.0f} minutes of processor time",
        f"- corpora: {hours:.1f} hours ({corpora}) by `talkinghead corpus` or `talkinghead prepare`",
        "- the face that says synthesised speech comes from the phones, by `talkinghead/motion/articulation.py`",
        "",
        *_score_table(scores),
        "## Voices",
        "",
        "| voice | licence |",
        "|---|---|",
        *(f"| {name} | {described[name]['licence']} |" for name in voices),
        "",
    ]
    return "\n".join(lines)


def _score_table(scores: Mapping[str, Scores]) -> list[str]:
    if not scores:
        return []
    names = list(next(iter(scores.values())))
    return [
        "## Agreement with targets, free-running",
        "",
        "`gap`, `width`, `jaw`, `pucker`: correlations; `speed`: of the lips, over the targets'; `phones`: share.",
        "",
        "| speech | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *(f"| {name} | " + " | ".join(f"{score[key]:.2f}" for key in names) + " |" for name, score in scores.items()),
        "",
    ]


def draw_losses(log: Path, picture: Path) -> None:
    """Draw the columns of the csv file `log` over its first one, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with open(log, newline="", encoding="utf-8") as file:
        names, *rows = list(csv.reader(file))
    table = np.array(rows, np.float64)
    figure = Figure(figsize=(8, 5), layout="tight")
    axes = figure.add_subplot(xlabel=names[0], ylabel="loss", yscale="log")
    for name, column in zip(names[1:], table.T[1:], strict=True):
        axes.plot(table[:, 0], column, label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure).print_png(picture)
