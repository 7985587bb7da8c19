"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..presets import FaceChoice

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A photo or painting with a face.", show_default=False)]
Audio = Annotated[
    Path, typer.Argument(metavar="AUDIO", help="Speech: any sound file, or a video's sound.", show_default=False)
]
Output = Annotated[Path, typer.Option("-o", "--output", help="The file to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON with counts and times.")]
Seed = Annotated[int, typer.Option(min=0, help="Of blinks, gaze and idle head motion.")]
Expression = Annotated[float, typer.Option(min=0, max=2, help="How strongly the face moves.")]
HeadMotion = Annotated[float, typer.Option(min=0, max=2, help="How strongly the head moves.")]
StyleName = Annotated[str, typer.Option("--style", help="neutral, casual, mumble, whisper, enunciate or shout.")]
Articulation = Annotated[float, typer.Option(min=0.4, max=1.6, help="How strongly jaw and lips move.")]
MoodMixture = Annotated[
    str,
    typer.Option(
        "--mood", metavar="MOOD", help='happy, sad, angry, surprised, fearful, disgusted, calm; or "happy=0.6,sad=0.2".'
    ),
]
BlinkRate = Annotated[float, typer.Option(min=0, max=60, help="Blinks a minute at rest.")]
Phones = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON", help='What is said when: [[start, end, "HH"], …], ARPAbet or IPA.', show_default=False
    ),
]
Words = Annotated[
    Path | None, typer.Option(metavar="JSON", help='The same as [[start, end, "hello"], …].', show_default=False)
]
Model = Annotated[str, typer.Option(help='"micro", a checkpoint folder, or a hub id.')]
Device = Annotated[str, typer.Option(help='"auto", "cpu", "cuda", …')]
AnimatorName = Annotated[str, typer.Option("--animator", help="What draws the frames.")]
Face = Annotated[str, typer.Option(help='"largest", a number from left to right, or left,top,right,bottom.')]
Videos = Annotated[list[Path], typer.Argument(metavar="VIDEOS", help="Videos or folders of them.", show_default=False)]


def how_to_speak(*, mood: str, phones: Path | None, words: Path | None, **options: Any) -> dict[str, Any]:
    """Options of `TalkingHead.speak` from those of the command line. Raises InputError, ValueError."""
    from ..motion.mood import parse_mood
    from ..motion.spoken import read_timed

    timed = {name: path and read_timed(path) for name, path in (("phones", phones), ("words", words))}
    return {**options, **timed, "mood": parse_mood(mood)}


def face_choice(text: str) -> FaceChoice:
    """What `--face` means. Raises a usage error."""
    if text == "largest":
        return "largest"
    numbers = text.split(",")
    try:
        if len(numbers) == 1:
            return int(text)
        left, top, right, bottom = map(float, numbers)
        return left, top, right, bottom
    except ValueError:
        raise typer.BadParameter(f"--face must be largest, a number, or left,top,right,bottom, not {text!r}") from None
