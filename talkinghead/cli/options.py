"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..animators.options import describe_options

if TYPE_CHECKING:
    from ..presets import FaceChoice

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A photo or painting with a face.", show_default=False)]
AUDIO = typer.Argument(metavar="AUDIO", help="Speech: any sound file, or a video's sound.", show_default=False)
Audio = Annotated[Path, AUDIO]
Speakers = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker",
        metavar="FACE=AUDIO",
        help="In place of AUDIO, what one of several faces says: 0=a.wav is for the leftmost. May be repeated.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="The file to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON with counts and times.")]
Seed = Annotated[int, typer.Option(min=0, help="Of blinks, gaze and idle head motion.")]
Expression = Annotated[float, typer.Option(min=0, max=2, help="How strongly the face moves.")]
HeadMotion = Annotated[float, typer.Option(min=0, max=2, help="How strongly the head moves.")]
MouthScale = Annotated[float, typer.Option(min=0, max=2, help="How strongly jaw and lips move.")]
LipOpen = Annotated[float, typer.Option(min=0, max=2, help="How far the lips part, as a ratio of what speech does.")]
EyeOpen = Annotated[float, typer.Option(min=0, max=1.4, help="How far the eyes are open, as a ratio of the photo's.")]
GazeAt = Annotated[
    str, typer.Option("--gaze", help='"wander", "camera", or degrees "right,up" in the picture, at most 30,25.')
]
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
# The options of `TalkingHead.speak`, in the order of the help.
SPEAKING: dict[str, tuple[Any, Any]] = {
    "seed": (Seed, 0),
    "expression_scale": (Expression, 1.0),
    "mouth_scale": (MouthScale, 1.0),
    "head_motion": (HeadMotion, 1.0),
    "style": (StyleName, "neutral"),
    "articulation": (Articulation, 1.0),
    "lip_open": (LipOpen, 1.0),
    "mood": (MoodMixture, "neutral"),
    "blink_rate": (BlinkRate, 15.0),
    "eye_open": (EyeOpen, 1.0),
    "gaze": (GazeAt, "wander"),
    "phones": (Phones, None),
    "words": (Words, None),
}
KEYWORD = Parameter.POSITIONAL_OR_KEYWORD

Model = Annotated[str, typer.Option(help='"micro", a checkpoint folder, or a hub id.')]
Device = Annotated[str, typer.Option(help='"auto", "cpu", "cuda", …')]
AnimatorName = Annotated[
    str | None,
    typer.Option(
        "--animator",
        help="What draws the frames: mesh, liveportrait, skyreels-a1, or a folder of weights.",
        show_default=False,
    ),
]
AnimatorOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--animator-option",
        metavar="KEY=VALUE",
        help=f"An option of the animator, as framing=frame; may be repeated. {describe_options()}.",
        show_default=False,
    ),
]
Face = Annotated[str, typer.Option(help='"largest", a number from left to right, left,top,right,bottom, or "all".')]
Videos = Annotated[list[Path], typer.Argument(metavar="VIDEOS", help="Videos or folders of them.", show_default=False)]


def timed(**paths: Path | None) -> dict[str, Any]:
    """What is said when, read from the files of --phones and --words. Raises InputError."""
    from ..motion.spoken import read_timed

    return {name: path and read_timed(path) for name, path in paths.items()}


def how_to_speak(*, mood: str, gaze: str, phones: Path | None, words: Path | None, **options: Any) -> dict[str, Any]:
    """Options of `TalkingHead.speak` from those of the command line. Raises InputError, ValueError."""
    from ..motion.gaze import parse_gaze
    from ..motion.mood import parse_mood

    return {**options, **timed(phones=phones, words=words), "mood": parse_mood(mood), "gaze": parse_gaze(gaze)}


def speaking_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, which takes `how`, the options of `TalkingHead.speak`, with an option of the command line for each."""

    @wraps(command)
    def told(**given: Any) -> None:
        how = how_to_speak(**{name: given.pop(name) for name in SPEAKING})
        command(**given, how=how)

    own = [parameter for name, parameter in signature(command, eval_str=True).parameters.items() if name != "how"]
    before = [parameter for parameter in own if parameter.default is Parameter.empty]
    ours = [Parameter(name, KEYWORD, default=value, annotation=kind) for name, (kind, value) in SPEAKING.items()]
    told.__signature__ = Signature([*before, *ours, *own[len(before) :]])  # type: ignore[attr-defined]
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *ours]}
    return told


def speaker_files(texts: list[str]) -> dict[int, Path]:
    """What each `--speaker 0=a.wav` says, by the number of the face. Raises a usage error."""
    files: dict[int, Path] = {}
    for text in texts:
        number, _, path = text.partition("=")
        if not number.isdecimal() or not path:
            raise typer.BadParameter(f"--speaker must be written as 0=hello.wav, not {text!r}")
        if int(number) in files:
            raise typer.BadParameter(f"--speaker {number} is given twice")
        files[int(number)] = Path(path)
    return files


def animator_options(texts: list[str] | None) -> dict[str, Any]:
    """What each `--animator-option framing=frame` says, by name: a number, true, false or else a text.

    Raises a usage error.
    """
    options: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"--animator-option must be written as framing=frame, not {text!r:.60}")
        if name in options:
            raise typer.BadParameter(f"--animator-option {name} is given twice")
        try:
            found = json.loads(value)
        except ValueError:
            found = value
        options[name] = found if isinstance(found, bool | int | float) else value
    return options


def face_choice(text: str) -> FaceChoice:
    """What `--face` means. Raises a usage error."""
    if text in ("largest", "all"):
        return "largest" if text == "largest" else "all"
    numbers = text.split(",")
    try:
        if len(numbers) == 1:
            return int(text)
        left, top, right, bottom = map(float, numbers)
        return left, top, right, bottom
    except ValueError:
        raise typer.BadParameter(
            f"--face must be largest, a number, left,top,right,bottom, or all, not {text!r}"
        ) from None
