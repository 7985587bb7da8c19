"""Commands that look: whether a photo suits, and how fast this machine is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import AnimatorName, Face, Force, Image, face_choice


@app.command()
def inspect(
    image: Image,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The contact sheet to write, a PNG.", show_default=False)
    ] = None,
    animator: AnimatorName = None,
    face: Face = "largest",
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also draw known motion with the mesh animator, and measure how it is seen."),
    ] = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Does IMAGE suit? Findings in plain words, and a sheet of what its face looks like when it moves."""
    from ..contact_sheet import check_new_sheet, draw_sheet, inspect_image, save_sheet
    from ..face.tracker import MediaPipeTracker
    from ..redetection import redetect

    if measure and animator not in (None, "mesh"):
        raise typer.BadParameter(f"the mesh animator is what is measured, not {animator}", param_hint="--measure")
    if output is not None:
        check_new_sheet(output, force)
    tracker = MediaPipeTracker(face=face_choice(face))
    findings = inspect_image(image, tracker)
    measured = redetect(findings.portrait, tracker) if measure else None
    if output is not None:
        from ..pipeline import TalkingHead

        save_sheet(draw_sheet(TalkingHead.from_pretrained(animator=animator), findings), output, force=force)
    if as_json:
        typer.echo(json.dumps(findings.report() | ({"measured": measured.report()} if measured else {})))
        return
    for note in findings.notes + (measured.notes if measured else []):
        typer.echo(f"  {note}")
    for warning in findings.warnings:
        typer.echo(f"! {warning}")
    if not findings.warnings:
        typer.echo("this photo suits")


@app.command()
def bench(
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="A photo with a face; else the demo's.", show_default=False)
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Each time is the median of so many runs.")] = 5,
    frames: Annotated[int, typer.Option(min=1, help="Frames in a run.")] = 75,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of speech that speak is timed with.")] = 30.0,
    animator: AnimatorName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the times as JSON.")] = False,
) -> None:
    """How fast this machine draws, beside what one plain resampling of each frame costs."""
    from ..bench import as_plain, run_bench, table_rows
    from ..pipeline import TalkingHead

    head = TalkingHead.from_pretrained(animator=animator)
    found = run_bench(
        head, image, runs=runs, frames=frames, seconds=seconds, progress=lambda text: typer.echo(f"… {text}", err=True)
    )
    if as_json:
        typer.echo(json.dumps(as_plain(found)))
        return
    from rich.console import Console
    from rich.table import Table

    threads = ", ".join(f"{name} {count}" for name, count in found.threads.items())
    table = Table("", *found.scenes, title=f"{found.cpu}, cores: {found.cores}, threads: {threads}")
    for row in table_rows(found):
        table.add_row(*row)
    Console().print(table)
    said = found.speak
    taken = f"{said['wall']:g} s, {said['cpu']:g} s of CPU, {said['peak_memory_mb']:g} MB"
    typer.echo(f"speak: {said['seconds']:g} s of speech in {taken}: real-time factor {said['real_time_factor']:g}")
