"""Commands that make, train and judge models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .app import app, train
from .options import Device, Force, Model, Videos


@app.command()
def corpus(
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.", show_default=False)],
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of speech to synthesise.")] = 3.5,
    seed: Annotated[int, typer.Option(min=0, help="Of texts, voices and augmentation.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    voice: Annotated[list[str] | None, typer.Option(metavar="VOICE", help="Use only this voice; repeat it.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="VOICE", help="Leave this voice out; repeat it.")] = None,
) -> None:
    """Synthesise speech with known phones, and the face that says it, to train on."""
    from ..training.corpus import make_corpus

    make_corpus(output, hours=hours, seed=seed, workers=workers, voices=voice or None, without=without or ())


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
    from ..evaluation.alignment import align, import_extra
    from ..training.prepare import describe, prepare_corpus

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

    from ..evaluation.alignment import align, import_extra
    from ..evaluation.lipsync import FPS, Lips
    from ..evaluation.recordings import LeftOut, find_files, reason
    from ..evaluation.words import read_transcripts
    from ..face.tracker import MediaPipeTracker
    from ..training.fit import FilmedLips, check_moves, report
    from ..training.prepare import FAILURES
    from ..types import Speech
    from ..video import open_video

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

    from ..training.train import TrainConfig, train_motion

    recipe = TrainConfig.read(config)
    with tqdm(desc="steps", total=recipe.steps, unit="step", disable=None) as bar:

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

    from ..evaluation.alignment import import_extra
    from ..evaluation.judge import Settings, judge
    from ..evaluation.report import check_new_report, markdown, write_report
    from ..evaluation.words import read_transcripts
    from ..face.tracker import MediaPipeTracker
    from ..pipeline import TalkingHead

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
