"""What is told of a training run: its losses as a picture, and a card beside the weights."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .clips import FPS, read_manifest
from .config import DitConfig

LOG_FILE = "loss.csv"
PLOT_FILE = "loss.png"
CARD_FILE = "MODEL_CARD.md"
SMOOTH = 25  # rows of the log about each point of the smooth curve, at most

Row = tuple[int, str, float]  # step, stage, loss


def read_log(log: Path) -> list[Row]:
    """The rows of a loss.csv."""
    with open(log, newline="", encoding="utf-8") as file:
        return [(int(row["step"]), row["stage"], float(row["loss"])) for row in csv.DictReader(file)]


def draw_losses(log: Path, picture: Path) -> None:
    """Draw the losses of `log` over the steps, a colour for each stage, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_log(log)
    figure = Figure(figsize=(8, 4.5), layout="tight")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    for index, stage in enumerate(dict.fromkeys(stage for _, stage, _ in rows)):
        steps, losses = np.array([(step, loss) for step, name, loss in rows if name == stage]).T
        colour = f"C{index}"
        axes.plot(steps, losses, ".", color=colour, alpha=0.35, markersize=3)
        axes.plot(steps, smooth(losses), color=colour, label=stage)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    FigureCanvasAgg(figure).print_png(picture)


def smooth(losses: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """The mean of what lies about each loss, over fewer at the ends."""
    values = np.asarray(losses, np.float64)
    reach = min(SMOOTH // 2, max(0, len(values) // 8))
    return [float(values[max(0, place - reach) : place + reach + 1].mean()) for place in range(len(values))]


def model_card(
    config: DitConfig, clips: str | os.PathLike[str], log: Path, new: Mapping[str, str] | None = None
) -> str:
    """The text that tells what was trained on what; `new` is what was begun anew beside the checkpoint, and how."""
    manifest = read_manifest(clips)
    count = sum(len(film["clips"]) for film in manifest["films"])
    seconds = count * (manifest["settings"]["frames"] - 1) / FPS
    licences = sorted({film["licence"] for film in manifest["films"] if film["clips"]})
    start = "small random networks" if config.checkpoint is None else f"{config.checkpoint} ({config.revision or '-'})"
    terms = (
        "The weights are made from random ones and belong to whoever trained them, as far as the films allow."
        if config.checkpoint is None
        else "The licence of the checkpoint that was started from goes on to hold; for SkyReels-A1 that is the "
        "Skywork Community License, and the CogVideoX License of the model it was made from; for CogVideoX that alone."
    )
    rows = read_log(log)
    lines = [
        "# Model card",
        "",
        "A video transformer that follows landmarks, in the layout of SkyReels-A1. Made by `talkinghead train dit`.",
        "",
        f"- started from {start}" + (f", and faces are seen by {config.face_encoder}" if config.face_encoder else ""),
        *(f"- begun anew: {name}: {how}" for name, how in (new or {}).items()),
        f"- seed {config.seed}; {config.batch} x {config.accumulate} clips a step and process; {config.precision}; "
        f"AdamW, weight decay {config.weight_decay:g}",
        f"- trained on {count} clips of {len(manifest['films'])} films, {seconds:.0f} s; their licences: "
        f"{', '.join(licences)}",
        "",
        "| stage | trained parts | steps | learning rate | loss at its start | at its end |",
        "|---|---|---|---|---|---|",
    ]
    for stage in config.stages:
        losses = [loss for _, name, loss in rows if name == stage.name]
        share = max(1, len(losses) // 10)
        first, last = np.mean(losses[:share]), np.mean(losses[-share:])
        parts = ", ".join(stage.parts)
        rate = f"{stage.learning_rate:g}"
        lines.append(f"| {stage.name} | {parts} | {stage.steps} | {rate} | {first:.4f} | {last:.4f} |")
    lines += ["", "Losses are means of the first and last tenth of a stage's rows in loss.csv.", "", terms, ""]
    return "\n".join(lines)
