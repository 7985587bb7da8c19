"""Commands for LivePortrait's weights: faces that do what another face did, templates, maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import NoFaceFound
from .app import app
from .options import Device, Face, Force, Json, Output, Seed, face_choice
from .run import Run

if TYPE_CHECKING:
    from ..animators.liveportrait.drive import Driver, Options
    from ..animators.liveportrait.loading import Networks
    from ..animators.liveportrait.template import Template
    from ..types import Array
    from ..video import Video

commands = typer.Typer(no_args_is_help=True, help="Move faces with LivePortrait's public weights.")
app.add_typer(commands, name="liveportrait")

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TEMPLATES = (".pkl", ".npz")

Weights = Annotated[Path | None, typer.Option(help="A folder in the public layout; without it, the public repository.")]
Precision = Annotated[str, typer.Option(help='"auto", "float32", "bfloat16" or "float16".')]
Driving = Annotated[
    Path, typer.Argument(metavar="DRIVING", help="A video, a picture, or a template.", show_default=False)
]


def read_networks(weights: Path | None, device: str, precision: str, animals: bool = False) -> Networks:
    """The networks in a folder, or of the public repository."""
    from ..animators.liveportrait.loading import from_hub, load_networks
    from ..pipeline import choose_device

    folder = from_hub(animals=animals) if weights is None else weights
    return load_networks(folder, device=choose_device(device), precision=precision, animals=animals)


def numbers(text: str | None, count: int, option: str) -> tuple[float, ...] | None:
    """`count` numbers with commas between them. Raises a usage error."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise typer.BadParameter(f"{option} must be {count} numbers with commas between them, not {text!r:.60}")
    return values


@commands.command()
def animate(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A picture or a video.", show_default=False)],
    driving: Driving,
    output: Output,
    weights: Weights = None,
    region: Annotated[str, typer.Option(help="What moves: all, exp, pose, lip or eyes.")] = "all",
    absolute: Annotated[bool, typer.Option("--absolute", help="Take the motion as it is, not from its start.")] = False,
    multiplier: Annotated[float | None, typer.Option(min=0, max=10, help="Of all motion: 1; animals 1.75.")] = None,
    stitching: Annotated[bool, typer.Option(help="Keep the shoulders where they are.")] = True,
    lip_zero: Annotated[bool, typer.Option("--lip-zero", help="Close an open mouth first.")] = False,
    eye_retargeting: Annotated[bool, typer.Option("--eye-retargeting", help="Eyes as open as the driver's.")] = False,
    lip_retargeting: Annotated[bool, typer.Option("--lip-retargeting", help="Lips as open as the driver's.")] = False,
    eye_scale: Annotated[float, typer.Option(min=0, max=10, help="How strongly.")] = 1.0,
    lip_scale: Annotated[float, typer.Option(min=0, max=10, help="How strongly.")] = 1.0,
    keep_eyes: Annotated[bool, typer.Option("--keep-eyes", help="A video's eyes stay as open as at first.")] = False,
    variance: Annotated[float, typer.Option(help="Of a video's smoothing: more is smoother.")] = 3e-7,
    expression_friendly: Annotated[bool, typer.Option("--expression-friendly", help="Scale by the faces.")] = False,
    as_upstream: Annotated[bool, typer.Option("--as-upstream", help="With the public pipeline's faults.")] = False,
    face: Face = "largest",
    every: Annotated[bool, typer.Option("--every", help="Move every face of the picture.")] = False,
    points: Annotated[str | None, typer.Option(help="An animal's 9 points: x,y,x,y,…", show_default=False)] = None,
    box: Annotated[
        str | None, typer.Option(help="An animal's head: left,top,right,bottom.", show_default=False)
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """The face in SOURCE does what the one in DRIVING did. --points or --box: SOURCE shows an animal."""
    from ..animators.liveportrait.drive import Options

    options = Options(
        relative=not absolute,
        region=region,  # type: ignore[arg-type]
        expression_friendly=expression_friendly,
        stitching=stitching,
        lip_zero=lip_zero,
        eye_retargeting=eye_retargeting,
        lip_retargeting=lip_retargeting,
        source_eye_retargeting=keep_eyes,
        eye_scale=eye_scale,
        lip_scale=lip_scale,
        multiplier=1.0 if multiplier is None else multiplier,
        variance=variance,
        as_upstream=as_upstream,
    )
    run = Run(output, force, as_json)
    animal = numbers(points, 18, "--points"), numbers(box, 4, "--box")
    with run.watch("load"):
        networks = read_networks(weights, device, precision, animals=any(animal))
    if any(animal):
        _animate_animal(run, networks, source, driving, animal, multiplier)
    elif source.suffix.lower() in PICTURES:
        _animate_picture(run, networks, source, driving, options, face, every)
    else:
        _animate_video(run, networks, source, driving, options, face)


def _animate_animal(
    run: Run, networks: Networks, source: Path, driving: Path, where: tuple[Any, Any], multiplier: float | None
) -> None:
    """The animal in a picture does what a person did; `where` is its 9 points or the box around its head."""
    import numpy as np

    from ..animators.liveportrait.drive import ANIMAL_MULTIPLIER
    from ..animators.liveportrait.editing import animal_square, animate_animal
    from ..image import load_image

    image, (points, box) = load_image(source), where
    square = animal_square(None if points is None else np.array(points, np.float32).reshape(9, 2), box)
    driver, fps, sound = _read_driving(run, networks, driving)
    frames = animate_animal(networks, image, square, driver, ANIMAL_MULTIPLIER if multiplier is None else multiplier)
    _write(run, frames, (image.shape[1], image.shape[0]), fps, len(driver.motion), sound)


def _animate_picture(
    run: Run, networks: Networks, source: Path, driving: Path, options: Options, face: str, every: bool
) -> None:
    """One face of a picture, or every, does what the one in `driving` did."""
    from ..animators.liveportrait.editing import animate_picture
    from ..face.tracker import MediaPipeTracker
    from ..image import load_image

    image, tracker = load_image(source), MediaPipeTracker(face=face_choice(face))
    faces: list[Array] = tracker.find(image) if every else [tracker(image).landmarks]
    if not faces:
        raise NoFaceFound("no face was found in the picture", "give a photo with faces seen from the front")
    driver, fps, sound = _read_driving(run, networks, driving)
    frames = animate_picture(networks, image, faces, driver, options)
    _write(run, frames, (image.shape[1], image.shape[0]), fps, len(driver.motion), sound)


def _animate_video(run: Run, networks: Networks, source: Path, driving: Path, options: Options, face: str) -> None:
    """A filmed face does what the one in `driving` did, and keeps its sound and its exact frame rate."""
    from ..animators.liveportrait.editing import FilmedFace, animate_video
    from ..video import open_video

    video = open_video(source)
    with run.watch("face"):
        filmed = FilmedFace.of(networks, video, _follow(video, face))
    if driving.suffix.lower() in PICTURES:
        driver: Template | Driver = _read_driving(run, networks, driving)[0]
    else:
        driver = _read_template(run, networks, driving)
    count, frames = animate_video(networks, filmed, driver, options)
    _write(run, frames, video.size, video.fps, count, source)


def _follow(video: Video, face: str = "largest") -> Array:
    from ..face.tracker import MediaPipeTracker

    return MediaPipeTracker(face=face_choice(face)).follow(video)


def _read_template(run: Run, networks: Networks, driving: Path) -> Template:
    """A template file, or the template of a video."""
    from ..animators.liveportrait.editing import read_template
    from ..animators.liveportrait.template import Template
    from ..video import open_video

    if driving.suffix.lower() in TEMPLATES:
        return Template.load(driving)
    video = open_video(driving)
    with run.watch("drive"):
        return read_template(networks, video, _follow(video))


def _read_driving(run: Run, networks: Networks, driving: Path) -> tuple[Driver, Any, Path | None]:
    """What drives a picture, its frame rate, and where its sound is."""
    from ..types import exact_rate

    if driving.suffix.lower() in PICTURES:
        from ..animators.liveportrait.editing import read_picture
        from ..face.tracker import MediaPipeTracker
        from ..image import load_image

        portrait = MediaPipeTracker()(load_image(driving))
        return read_picture(networks, portrait.image, portrait.landmarks), exact_rate(25), None
    template = _read_template(run, networks, driving)
    sound = None if driving.suffix.lower() in TEMPLATES else driving
    return template.driver, exact_rate(template.fps), sound


def _write(run: Run, frames: Any, size: tuple[int, int], fps: Any, count: int, sound: Path | None) -> None:
    from ..pipeline import sound_of
    from ..video import write_video

    speech = None if sound is None else sound_of(sound)
    heard = None if speech is None else speech.sound
    with run.watch("draw"):
        write_video(run.output, frames, size=size, fps=fps, count=count, sound=heard, force=run.force)
    run.report(count, float(fps))


@commands.command()
def template(
    driving: Annotated[Path, typer.Argument(metavar="DRIVING", help="A video, a template; or, with --image, a sound.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .pkl for LivePortrait, or an .npz.")],
    weights: Weights = None,
    image: Annotated[Path | None, typer.Option(help="The portrait that is to say DRIVING.", show_default=False)] = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """A motion template of a video or of speech, for this package, LivePortrait and programs around it."""
    from ..animators.liveportrait.template import Template, check_new_template

    check_new_template(output, force)
    if driving.suffix.lower() in TEMPLATES:
        made = Template.load(driving)
    elif image is not None:
        made = _spoken(image, driving, read_networks(weights, device, precision), seed)
    else:
        from ..animators.liveportrait.editing import read_template
        from ..video import open_video

        video = open_video(driving)
        made = read_template(read_networks(weights, device, precision), video, _follow(video))
    made.save(output, force=force)
    typer.echo(f"{output}: {len(made)} frames at {made.fps:g} per second")


def _spoken(image: Path, audio: Path, networks: Networks, seed: int) -> Template:
    """The template of a portrait that speaks."""
    from ..animators.liveportrait import LivePortraitAnimator
    from ..pipeline import TalkingHead

    animator = LivePortraitAnimator(networks)
    head = TalkingHead.from_pretrained(animator=animator)
    return animator.template(head.portrait(image), head.motion(audio, seed=seed))


@app.command()
def fit_map(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO…", help="A face that speaks.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The map.")] = Path("landmark_map.safetensors"),
    weights: Weights = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Fit the map from landmarks to LivePortrait's expressions to your footage; put it beside the weights."""
    from ..animators.liveportrait.editing import read_template
    from ..animators.liveportrait.fit_map import Footage
    from ..animators.liveportrait.fit_map import fit_map as fit
    from ..files import check_new_file
    from ..video import open_video

    check_new_file(output, force)
    networks = read_networks(weights, device, "auto")
    footage = []
    for path in videos:
        video = open_video(path)
        landmarks = _follow(video)
        expression = read_template(networks, video, landmarks).motion.expression
        footage.append(Footage.of(path.name, landmarks, expression))
    fitted = fit(footage)
    about = {"frames": str(fitted.frames), "r2": f"{fitted.r2:.3f}", "lip_r2": f"{fitted.lip_r2:.3f}"}
    fitted.mapping.save(output, force=force, about=about)
    judged = f"R² {fitted.r2:.2f} on frames it was not fitted to, {fitted.lip_r2:.2f} of the lips"
    typer.echo(f"{output}: fitted to {fitted.frames} frames; {judged}")
