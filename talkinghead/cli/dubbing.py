"""The command that gives a filmed face another voice."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import (
    AnimatorName,
    AnimatorOptions,
    Articulation,
    Audio,
    Device,
    Face,
    Force,
    Json,
    LipOpen,
    Model,
    MouthScale,
    Output,
    Phones,
    StyleName,
    Words,
    face_choice,
    timed,
)
from .run import Run


class Length(str, Enum):
    """What a dubbed film lasts as long as."""

    audio = "audio"
    video = "video"


@app.command()
def dub(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of a face.", show_default=False)],
    audio: Audio,
    output: Output,
    length: Annotated[
        Length,
        typer.Option(
            help="audio: the picture is cut, or played back and forth, to the sound's length; "
            "video: the sound is cut, or followed by silence."
        ),
    ] = Length.audio,
    mouth_scale: MouthScale = 1.0,
    style: StyleName = "neutral",
    articulation: Articulation = 1.0,
    lip_open: LipOpen = 1.0,
    phones: Phones = None,
    words: Words = None,
    model: Model = "micro",
    animator: AnimatorName = None,
    animator_option: AnimatorOptions = None,
    device: Device = "auto",
    face: Face = "largest",
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also draw the film again, and measure what a tracker sees in it."),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in VIDEO says AUDIO: jaw and lips are new, all else stays as it was filmed.

    Frames without a face pass through; --json lists their numbers as "untouched".
    """
    run = Run(output, force, as_json)
    head = run.load(model, device=device, animator=animator, animator_option=animator_option, face=face)
    clip = head.dub(
        video,
        audio,
        length=length.value,
        mouth_scale=mouth_scale,
        style=style,
        articulation=articulation,
        lip_open=lip_open,
        **timed(phones=phones, words=words),
    )
    untouched = list(clip.untouched)
    if not measure:
        run.save(clip, untouched=untouched)
        return
    run.write(clip)
    with run.aside():
        from ..dub_report import measure_dub
        from ..face.tracker import MediaPipeTracker
        from ..video import open_video

        measured = measure_dub(open_video(video), clip, MediaPipeTracker(face=face_choice(face)))
    run.report(len(clip), clip.fps, untouched=untouched, measured=measured.report())
    for note in () if as_json else measured.notes:
        typer.echo(f"  {note}")
