"""Commands that make a face move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .app import app
from .options import (
    AUDIO,
    AnimatorName,
    AnimatorOptions,
    Audio,
    Device,
    Expression,
    Face,
    Force,
    HeadMotion,
    Image,
    Json,
    Model,
    Output,
    Seed,
    Speakers,
    face_choice,
    speaker_files,
    speaking_options,
)
from .run import Run


@app.command()
@speaking_options
def speak(
    image: Image,
    output: Output,
    how: dict[str, Any],
    audio: Annotated[Path | None, AUDIO] = None,
    speaker: Speakers = None,
    model: Model = "micro",
    animator: AnimatorName = None,
    animator_option: AnimatorOptions = None,
    device: Device = "auto",
    face: Face = "largest",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in IMAGE says AUDIO: an mp4 with the sound in it.

    Several faces: --face all lets them all say it; --speaker 0=a.wav --speaker 1=b.wav lets each say something else.
    """
    if (audio is None) == (speaker is None):
        raise typer.BadParameter("give either AUDIO or --speaker")
    speakers = None if speaker is None else speaker_files(speaker)
    run = Run(output, force, as_json)
    head = run.load(model, device=device, animator=animator, animator_option=animator_option, face=face)
    run.save(head.speak(image, audio, speakers=speakers, **how))


@app.command()
@speaking_options
def motion(
    audio: Audio,
    output: Output,
    how: dict[str, Any],
    model: Model = "micro",
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """What any face does while it says AUDIO: an npz of 52 ARKit weights and a head pose per frame."""
    run = Run(output, force, as_json, video=False)
    head = run.load(model, device=device)
    made = head.motion(audio, **how)
    made.save(output, force=force)
    run.report(len(made), made.fps)


@app.command()
def track(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of one face.", show_default=False)],
    output: Output,
    face: Face = "largest",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The motion of the face in VIDEO: an npz of 52 ARKit weights and a head pose per frame."""
    from ..face.tracker import MediaPipeTracker
    from ..video import open_video

    run = Run(output, force, as_json, video=False)
    with run.watch("track"):
        made = MediaPipeTracker(face=face_choice(face)).track(open_video(video))
    made.save(output, force=force)
    run.report(len(made), made.fps)


@app.command()
def animate(
    image: Image,
    motion_or_video: Annotated[
        Path, typer.Argument(metavar="MOTION_OR_VIDEO", help="An npz of motion, or a video.", show_default=False)
    ],
    output: Output,
    expression_scale: Expression = 1.0,
    head_motion: HeadMotion = 1.0,
    animator: AnimatorName = None,
    animator_option: AnimatorOptions = None,
    device: Device = "auto",
    face: Face = "largest",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in IMAGE moves by a motion file or by the face in a video, whose sound comes along."""
    run = Run(output, force, as_json)
    head = run.load("micro", device=device, animator=animator, animator_option=animator_option, face=face)
    run.save(head.animate(image, motion_or_video, expression_scale=expression_scale, head_motion=head_motion))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("demo.mp4"),
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """NASA's portrait of Eileen Collins says a synthesised sentence."""
    from ..demo import demo_image, demo_speech

    run = Run(output, force, as_json)
    image, speech = demo_image(), demo_speech()
    run.save(run.load("micro").speak(image, speech, seed=seed))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check that everything this package needs is here and works. Exits with 1 if not."""
    from ..doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps({item.name: {"ok": item.ok, "found": item.found} for item in findings}))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("", "what", "found", "what to do")
        for item in findings:
            table.add_row("✓" if item.ok else "✗", item.name, item.found, item.hint)
        Console().print(table)
    if not all(item.ok for item in findings):
        raise typer.Exit(1)
