"""The command line: `talkinghead speak face.png hello.wav -o hello.mp4`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import InputError, TalkingHeadError

if TYPE_CHECKING:
    from .pipeline import TalkingHead
    from .presets import FaceChoice
    from .timing import Stopwatch
    from .types import Clip

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A portrait and a voice become a talking video.",
)
train = typer.Typer(no_args_is_help=True, help="Train models of your own.")
app.add_typer(train, name="train")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"talkinghead {version('talkinghead')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A portrait and a voice become a talking video."""


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


@app.command()
def speak(
    image: Image,
    audio: Audio,
    output: Output,
    seed: Seed = 0,
    expression_scale: Expression = 1.0,
    head_motion: HeadMotion = 1.0,
    style: StyleName = "neutral",
    articulation: Articulation = 1.0,
    mood: MoodMixture = "neutral",
    blink_rate: BlinkRate = 15.0,
    phones: Phones = None,
    words: Words = None,
    model: Model = "micro",
    animator: AnimatorName = "mesh",
    device: Device = "auto",
    face: Face = "largest",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in IMAGE says AUDIO: an mp4 with the sound in it."""
    run = Run(output, force, as_json)
    how = how_to_speak(
        seed=seed,
        expression_scale=expression_scale,
        head_motion=head_motion,
        style=style,
        articulation=articulation,
        mood=mood,
        blink_rate=blink_rate,
        phones=phones,
        words=words,
    )
    head = run.load(model, device=device, animator=animator, face=face)
    run.save(head.speak(image, audio, **how))


@app.command()
def motion(
    audio: Audio,
    output: Output,
    seed: Seed = 0,
    expression_scale: Expression = 1.0,
    head_motion: HeadMotion = 1.0,
    style: StyleName = "neutral",
    articulation: Articulation = 1.0,
    mood: MoodMixture = "neutral",
    blink_rate: BlinkRate = 15.0,
    phones: Phones = None,
    words: Words = None,
    model: Model = "micro",
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """What any face does while it says AUDIO: an npz of 52 ARKit weights and a head pose per frame."""
    run = Run(output, force, as_json, video=False)
    how = how_to_speak(
        seed=seed,
        expression_scale=expression_scale,
        head_motion=head_motion,
        style=style,
        articulation=articulation,
        mood=mood,
        blink_rate=blink_rate,
        phones=phones,
        words=words,
    )
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
    from .face.tracker import MediaPipeTracker
    from .video import open_video

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
    animator: AnimatorName = "mesh",
    device: Device = "auto",
    face: Face = "largest",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in IMAGE moves by a motion file or by the face in a video, whose sound comes along."""
    run = Run(output, force, as_json)
    head = run.load("micro", device=device, animator=animator, face=face)
    run.save(head.animate(image, motion_or_video, expression_scale=expression_scale, head_motion=head_motion))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("demo.mp4"),
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """NASA's portrait of Eileen Collins says a synthesised sentence."""
    from .demo import demo_image, demo_speech

    run = Run(output, force, as_json)
    image, speech = demo_image(), demo_speech()
    run.save(run.load("micro").speak(image, speech, seed=seed))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check that everything this package needs is here and works. Exits with 1 if not."""
    from .doctor import examine

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


@app.command()
def corpus(
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.", show_default=False)],
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of speech to synthesise.")] = 3.5,
    seed: Annotated[int, typer.Option(min=0, help="Of texts, voices and augmentation.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Synthesise speech with known phones, and the face that says it, to train on."""
    from .training.corpus import make_corpus

    make_corpus(output, hours=hours, seed=seed, workers=workers)


Videos = Annotated[list[Path], typer.Argument(metavar="VIDEOS", help="Videos or folders of them.", show_default=False)]


@app.command()
def prepare(
    videos: Videos,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", show_default=False)],
    licence: Annotated[str, typer.Option(help="Of the videos, for the model card.")] = "unknown",
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of clips to judge by.")] = 0.1,
    phones: Annotated[bool, typer.Option("--phones", help="Align the words in NAME.txt beside a video.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Track the speaking face in each of VIDEOS, to train on; run again, it goes on where it stopped."""
    from .evaluation.alignment import align, import_extra
    from .training.prepare import describe, prepare_corpus

    aligner = align if phones and import_extra("pocketsphinx") else None
    prepare_corpus(videos, output, validation=validation, licence=licence, workers=workers, align=aligner)
    typer.echo(describe(output))


@app.command()
def fit_articulation(
    videos: Videos,
    transcripts: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Lines of id|text|normalised text.", show_default=False)
    ] = None,
) -> None:
    """Fit the articulation model to the lips in VIDEOS whose words are known, and tell what that is worth."""
    from tqdm import tqdm

    from .evaluation.alignment import align, import_extra
    from .evaluation.lipsync import FPS, Lips
    from .evaluation.recordings import FAILURES, LeftOut, find_files, reason
    from .evaluation.words import read_transcripts
    from .face.tracker import MediaPipeTracker
    from .training.fit import FilmedLips, check_moves, report
    from .types import Speech
    from .video import open_video

    import_extra("pocketsphinx")
    words = {} if transcripts is None else read_transcripts(transcripts)
    files, left_out = find_files(videos)
    clips: dict[str, FilmedLips] = {}
    for name, path in tqdm(files, unit="film", disable=None):
        try:
            speech, video = Speech.of(path), open_video(path)
            said = align(speech.samples, path, words)
            if said.source == "recognised":
                raise InputError("its words are not known: write them into NAME.txt beside it, or give --transcripts")
            lips = Lips.of(MediaPipeTracker().follow(video), float(video.fps))
            clip = FilmedLips.of(said.segments, speech, lips.aperture, lips.width, FPS)
            check_moves(clip)
            clips[name] = clip
        except FAILURES as error:
            left_out.append(LeftOut(name, "all", reason(error)))
    for item in left_out:
        typer.echo(f"talkinghead: warning: {item.name} is left out: {item.reason}", err=True)
    typer.echo(report(clips))


@train.command("motion")
def train_motion_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe from configs/.", show_default=False)],
    corpus: Annotated[
        list[Path],
        typer.Option(help="A folder made by `talkinghead corpus` or `prepare`; may be repeated.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", show_default=False)],
    init: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help='Start from "micro", a folder or a hub id: fine-tuning.', show_default=False
        ),
    ] = None,
) -> None:
    """Train an audio encoder and a FaceFormer together, on corpora; run again, it goes on where it stopped."""
    from tqdm import tqdm

    from .training.train import TrainConfig, train_motion

    recipe = TrainConfig.read(config)
    total = recipe.steps if recipe.cpu_minutes is None else None
    with tqdm(desc="steps", total=total, unit="step", disable=None) as bar:

        def show(step: int, losses: dict[str, float]) -> None:
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()}, refresh=False)

        folder = train_motion(recipe, corpus, output, init=init, report=show)
    typer.echo(f"{folder}: trained")


@app.command()
def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Videos of talking people, sounds, or folders.", show_default=False),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="A folder made by `talkinghead corpus`: its unseen speech.", show_default=False)
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Lines of id|text|normalised text.", show_default=False)
    ] = None,
    model: Model = "micro",
    device: Device = "auto",
    seeds: Annotated[int, typer.Option(min=0, help="How many seeds of blinks and idle head motion.")] = 5,
    noise: Annotated[
        float | None, typer.Option(metavar="DB", help="Judge speech in noise too, so far below it.", show_default=False)
    ] = None,
    minutes: Annotated[int, typer.Option(min=0, max=600, help="Of a long run; 0 is none.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder for report and plots.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Judge the motion that is made of FILES: lips beside filmed ones, and at each phone; loudness beside it."""
    from tqdm import tqdm

    from .evaluation.alignment import import_extra
    from .evaluation.judge import Settings, judge
    from .evaluation.report import check_new_report, markdown, write_report
    from .evaluation.words import read_transcripts
    from .face.tracker import MediaPipeTracker
    from .pipeline import TalkingHead

    words = {} if transcripts is None else read_transcripts(transcripts)
    if output is not None:
        import_extra("matplotlib")
        check_new_report(output, force)
    head = TalkingHead.from_pretrained(model, device=device)
    settings = Settings(model, corpus, words, seeds, noise, minutes)
    with tqdm(unit="step", disable=None) as bar:

        def show(what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update()

        results = judge(files or [], head, MediaPipeTracker(), settings, show)
    typer.echo(markdown(results))
    if output is not None:
        write_report(results, output, force=force)


class Run:
    """One command: its output checked before any work, its stages timed, its result told in one line."""

    def __init__(self, output: Path, force: bool, as_json: bool, *, video: bool = True) -> None:
        from .timing import Stopwatch
        from .types import check_new_motion
        from .video import check_new_video

        (check_new_video if video else check_new_motion)(output, force)
        self.output, self.force, self.as_json = output, force, as_json
        self.started = time.perf_counter()
        self.watch: Stopwatch = Stopwatch()

    def load(self, model: str, *, device: str = "auto", animator: str = "mesh", face: str = "largest") -> TalkingHead:
        with self.watch("load"):
            from .pipeline import TalkingHead

            head = TalkingHead.from_pretrained(model, device=device, animator=animator, face=face_choice(face))
        return self.watch.timed(head)

    def save(self, clip: Clip) -> None:
        """Write the clip; what is not drawing in it is the encoder's time."""
        from .timing import child_seconds

        before = child_seconds()
        with self.watch("write"):
            clip.save(self.output, force=self.force)
        (wall, cpu), (drawn_wall, drawn_cpu) = self.watch.stages["write"], self.watch.stages["draw"]
        self.watch.stages["write"] = [wall - drawn_wall, cpu - drawn_cpu + child_seconds() - before]
        self.report(len(clip), clip.fps)

    def report(self, frames: int, fps: float) -> None:
        from .timing import peak_memory

        taken, length = time.perf_counter() - self.started, frames / fps
        if not self.as_json:
            typer.echo(f"{self.output}: {frames} frames, {length:.2f} s, made in {taken:.1f} s")
            return
        line: dict[str, Any] = {
            "output": str(self.output),
            "frames": frames,
            "fps": fps,
            "seconds": round(length, 3),
            "wall": round(taken, 3),
            "real_time_factor": round(taken / length, 3) if length else None,
            "stages": self.watch.report(),
            "peak_memory_mb": round(peak_memory()),
        }
        typer.echo(json.dumps(line))


def how_to_speak(*, mood: str, phones: Path | None, words: Path | None, **options: Any) -> dict[str, Any]:
    """Options of `TalkingHead.speak` from those of the command line. Raises InputError, ValueError."""
    from .motion.mood import parse_mood
    from .motion.spoken import read_timed

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


def main() -> None:
    """Run the command line: errors are one line on stderr and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that part files are cleared away
    _quiet_native_logs()
    warnings.showwarning = _show_warning
    try:
        app()
    except (TalkingHeadError, ValueError, OSError) as error:
        hint = getattr(error, "hint", "")
        typer.echo(f"talkinghead: {error}" + (f" ({hint})" if hint else ""), err=True)
        sys.exit(1)


def _quiet_native_logs() -> None:
    """Keep stderr for Python: MediaPipe and TensorFlow Lite write there from C++ and cannot be asked not to.

    Only in this process, which is ours. TALKINGHEAD_NATIVE_LOGS=1 shows what they write.
    """
    if os.environ.get("TALKINGHEAD_NATIVE_LOGS") or sys.stderr is None:
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from .errors import TalkingHeadWarning

    if issubclass(category, TalkingHeadWarning):
        typer.echo(f"talkinghead: warning: {message}", err=True)
