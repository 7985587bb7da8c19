"""Commands that prepare films for the video transformer, train it, and show that training works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .app import app, train
from .options import Videos

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe from configs/.", show_default=False)]
Folder = Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", show_default=False)]


@app.command("prepare-dit")
def prepare_dit(
    videos: Videos,
    output: Folder,
    licence: Annotated[str, typer.Option(help="Of the videos, for the model card.")] = "unknown",
    framing: Annotated[str, typer.Option(help='"face": head and shoulders; "frame": all of the picture.')] = "face",
    width: Annotated[int, typer.Option(min=32, help="Of the clips, in pixels.")] = 720,
    height: Annotated[int, typer.Option(min=32, help="Of the clips, in pixels.")] = 480,
    frames: Annotated[int, typer.Option(min=9, help="Of the model's window.")] = 49,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Cut clips of one talking face out of VIDEOS, to train the video transformer on; run again, it goes on."""
    from ..settings import dataclass_from
    from ..training.dit.clips import ClipSettings
    from ..training.dit.prepare import describe, prepare_clips

    wanted = {"height": height, "width": width, "frames": frames, "framing": framing}
    prepare_clips(videos, output, dataclass_from(ClipSettings, wanted), licence=licence, workers=workers)
    typer.echo(describe(output))


@train.command("dit")
def train_dit_command(
    config: Config,
    clips: Annotated[Path, typer.Option(help="A folder made by `talkinghead prepare-dit`.", show_default=False)],
    output: Folder,
) -> None:
    """Train the video transformer in stages, on clips; run again, it goes on where it stopped."""
    from ..training.dit.config import DitConfig
    from ..training.dit.train import train_dit

    recipe = DitConfig.read(config)
    with _bar(recipe.steps) as show:
        folder = train_dit(recipe, clips, output, report=show)
    typer.echo(f"{folder}: trained")


@train.command("dit-demo")
def train_dit_demo(config: Config, output: Folder) -> None:
    """Show that training works: a tiny network learns drawn films by heart, and is judged. Minutes on a CPU."""
    from ..training.dit.config import DitConfig
    from ..training.dit.demonstration import demonstrate

    recipe = DitConfig.read(config)
    with _bar(recipe.steps) as show:
        report = demonstrate(recipe, output, report=show, say=lambda text: typer.echo(text, err=True))
    typer.echo(report.read_text(encoding="utf-8"))


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[int, float], None]]:
    """Shows the number of a step and its loss."""
    from tqdm import tqdm

    with tqdm(desc="steps", total=steps, unit="step", disable=None) as bar:

        def show(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

        yield show
