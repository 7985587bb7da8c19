"""Films of talking people become clips that the video transformer can be trained on.

A clip is as long as one window of the model. Where the face is not seen, is not alone, hardly moves or moves as in a
cut of the film, there is none, and the manifest tells why. The reference picture is another frame of the same shot,
so that the model cannot copy it.
"""

from __future__ import annotations

import json
import re
import warnings
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import default_rng

from ...animators.dit.align import aligned_face
from ...animators.dit.draw import detected_box, face_box
from ...animators.dit.framing import Framing, face_frame, whole_frame
from ...audio import SAMPLE_RATE
from ...errors import InputError, OutputExists, TalkingHeadError, VideoUnreadable
from ...face.landmarks import LOWER_LIP, UPPER_LIP
from ...face.tracker import MediaPipeTracker, check_quality, eye_distance
from ...files import new_file
from ...sound import Sound
from ...types import Array, Frame, Speech
from ...video import Video, open_video, write_video
from ..prepare import FAILURES, SLOWEST, Film, LeftOut, as_known, faces, find_films
from ..workers import as_finished
from .clips import FPS, MANIFEST, ClipSettings, empty_manifest, read_manifest

# Of the distance between the eyes (6.3 cm): standard deviation of the lips' gap, below which nobody speaks. Speech has
# 0.05 and more.
STILL = 0.008
JUMP = 0.3  # of the face's height that it moves from frame to frame in a cut, and hardly ever in life
ENLARGED = 2.0  # times a film's picture may be enlarged; beyond, clips are blurred
LEAST_BOX = 12  # pixels of the picture, in which landmarks are drawn


class Plan(NamedTuple):
    """A clip to cut out of a film.

    first:     number of its first driving frame, 12 a second
    reference: number of the reference frame
    landmarks: [frames, 478, 3] in pixels of the film, the reference's first
    framing:   what of the film's picture is shown
    """

    first: int
    reference: int
    landmarks: Array
    framing: Framing

    @property
    def numbers(self) -> list[int]:
        """Of its frames, the reference's first."""
        return [self.reference, *range(self.first, self.first + len(self.landmarks) - 1)]


class Slowed(Video):
    """A film of which 12 frames a second are seen: each is the one that is shown at its time.

    ffmpeg could change the rate itself, but lets the first frames pass one by one and shows all others 0.1 s late.
    """

    def frames(self) -> Generator[Frame, None, None]:
        """As those of a Video."""
        seen = 0
        for number, frame in enumerate(super().frames()):
            while Fraction(seen, FPS) < (number + 1) / self.fps:
                yield frame
                seen += 1


Outcome = tuple[dict[str, Any], list[LeftOut]]


def prepare_clips(
    videos: str | PathLike[str] | Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    settings: ClipSettings | None = None,
    *,
    licence: str = "unknown",
    workers: int = 1,
    progress: bool | None = None,
) -> Path:
    """Cut clips out of films into folder `out`, or add films to it; returns the folder.

    videos:   files, or folders that are searched
    licence:  of these films
    workers:  processes; the clips do not depend on their number
    progress: show a bar; None shows it on a terminal

    A film that is finished is not done again, unless its size has changed.

    Raises InputError if there is no clip in the end, OutputExists if `out` holds clips of other settings,
    OutputNotWritable, DiskFull.
    """
    from tqdm import tqdm

    settings = settings or ClipSettings()
    folder = Path(out)
    manifest = _begin(folder, settings)
    films, left_out = find_films([videos] if isinstance(videos, str | PathLike) else videos)
    films = as_known(films, manifest["films"])
    done = {(film["name"], film["bytes"]) for film in manifest["films"]}
    todo = [film for film in films if (film.name, film.bytes) not in done]
    hidden = None if progress is None else not progress
    with tqdm(total=len(films), initial=len(films) - len(todo), unit="film", disable=hidden) as bar:
        work = partial(prepare_film, folder=folder, settings=settings, licence=licence)
        for film, reasons in as_finished(work, todo, workers):
            _add(manifest, film, reasons)
            _write(folder, manifest)
            bar.update()
    manifest["left_out"] += [item for item in map(_as_dict, left_out) if item not in manifest["left_out"]]
    _write(folder, manifest)
    if not any(film["clips"] for film in manifest["films"]):
        told = [f"{item['film']}: {item['reason']}" for item in manifest["left_out"]]
        more = [f"and {len(told) - 3} more in {MANIFEST}"] * (len(told) > 3)
        raise InputError(
            f"no film gave a clip: {'; '.join(told[:3] + more) or 'none was given'}",
            f"give films that show one face for at least {(settings.frames - 1) / FPS:.1f} s, which speaks",
        )
    return folder


def prepare_film(film: Film, folder: Path, settings: ClipSettings, licence: str) -> Outcome:
    """Write the clips of one film into `folder`; what the manifest tells of it, and what was left out."""
    names: list[str] = []
    left_out: list[LeftOut] = []
    with warnings.catch_warnings():  # of poor faces: the reasons below are what counts
        warnings.simplefilter("ignore")
        try:
            for name in _clips_of(film, folder, settings, left_out):
                names.append(name)
        except FAILURES as error:
            left_out.append(LeftOut(film.name, _line(error, film)))
    return film.described() | {"licence": licence, "clips": names}, left_out


def _clips_of(film: Film, folder: Path, settings: ClipSettings, left_out: list[LeftOut]) -> Iterator[str]:
    """Names of the clips of a film as they are written; adds to `left_out`. Raises one of FAILURES."""
    video = open_video(film.path)
    if video.fps < SLOWEST:
        raise InputError(f"it has {float(video.fps):g} frames a second, at least {SLOWEST} are needed")
    slow = Slowed(video.path, video.size, video.fps, video.count)
    rows, damage = _until_damage(faces(slow))
    plans, unfit = plan_clips(rows, film.name, video.size, settings)
    left_out += unfit
    if damage is not None:
        left_out.append(LeftOut(film.name, _line(damage, film), len(rows) / FPS))
    sound = _sound(film.path)
    for plan, pictures, face, seen in _cut(slow, plans):
        if seen > 1:
            left_out.append(_left_out(film.name, f"{seen} faces are seen", plan.first, settings))
        else:
            yield _write_clip(film, plan, pictures, face, sound, folder)


def plan_clips(
    rows: Sequence[Array | None], name: str, size: tuple[int, int], settings: ClipSettings
) -> tuple[list[Plan], list[LeftOut]]:
    """Which clips to cut out of a film called `name`, and what to leave out.

    rows: landmarks [478, 3] in each frame, 12 a second, None where no face is seen
    size: width and height of the film
    """
    plans: list[Plan] = []
    left_out: list[LeftOut] = []
    length = settings.frames - 1
    edges = [row is not None for row in rows]
    cuts = [place for place, (one, other) in enumerate(pairwise(edges), 1) if one != other]
    for start, stop in pairwise([0, *cuts, len(rows)]):
        if not edges[start:stop] or not edges[start]:
            left_out += [LeftOut(name, "no face is seen", start / FPS, stop / FPS)] * (stop > start)
            continue
        shot = np.stack([row for row in rows[start:stop] if row is not None])
        if len(shot) < length:
            reason = f"too short: {len(shot) / FPS:.2f} s, at least {length / FPS:.2f} are needed"
            left_out.append(LeftOut(name, reason, start / FPS, stop / FPS))
        for first in range(0, len(shot) - length + 1, length):
            plan = _plan(shot, first, start, size, settings, name)
            reason = unfit(plan, settings)
            if reason:
                left_out.append(_left_out(name, reason, plan.first, settings))
            else:
                plans.append(plan)
    return plans, left_out


def _plan(shot: Array, first: int, start: int, size: tuple[int, int], settings: ClipSettings, name: str) -> Plan:
    """The clip that begins at row `first` of a `shot` [n, 478, 3], which begins at frame `start` of its film."""
    length = settings.frames - 1
    rng = default_rng((zlib.crc32(name.encode()), start + first))
    # Another frame of the shot, near enough that few pictures must be held; of the clip itself if there is no other.
    near = np.arange(max(0, first - length), min(len(shot), first + 2 * length))
    others = near[(near < first) | (near >= first + length)]
    reference = int(rng.choice(others if len(others) else near))
    landmarks = shot[[reference, *range(first, first + length)]]
    height_width = size[1], size[0]
    if settings.framing == "frame":
        framing = whole_frame(height_width, settings.canvas)
    else:
        framing = face_frame(np.median(landmarks, 0), height_width, settings.canvas)
    return Plan(start + first, start + reference, landmarks, framing)


def unfit(plan: Plan, settings: ClipSettings) -> str:
    """Why a clip cannot be trained on; '' if it can."""
    driving, reference = plan.landmarks[1:], plan.landmarks[0]
    try:
        check_quality(reference)
    except TalkingHeadError as error:
        return str(error)
    gap = np.linalg.norm((driving[:, LOWER_LIP] - driving[:, UPPER_LIP])[:, :2], axis=-1) / eye_distance(reference)
    if gap.std() < STILL:
        return "the lips do not move"
    height = float(np.ptp(reference[:468, 1]))
    steps = np.linalg.norm(np.diff(driving[..., :2].mean(1), axis=0), axis=-1)
    if steps.max() > JUMP * height:
        return "the picture jumps, as at a cut"
    points = plan.framing.points(plan.landmarks[:, :468])
    if points.min() < 0 or (points >= np.array([settings.width, settings.height])).any():
        return "the face leaves the picture"
    if plan.framing.height * ENLARGED < settings.height:
        return f"the face is too small: {plan.framing.height} pixels are shown, and {settings.height} wanted"
    box = face_box(detected_box(plan.framing.points(reference)), settings.canvas)
    return "" if min(box.size) >= LEAST_BOX else "the face is too small"


def _cut(video: Video, plans: Sequence[Plan]) -> Iterator[tuple[Plan, list[Frame], Frame, int]]:
    """Each plan's pictures, its upright reference face, and how many faces its reference frame shows."""
    wanted: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        for number in set(plan.numbers):
            wanted.setdefault(number, []).append(index)
    held: dict[int, dict[int, Frame]] = {}
    references: dict[int, tuple[Frame, int]] = {}
    tracker = MediaPipeTracker()
    frames, _ = _guarded(video.frames())
    for number, frame in enumerate(frames):
        for index in wanted.pop(number, ()):
            plan = plans[index]
            pictures = held.setdefault(index, {})
            pictures[number] = plan.framing.fit(frame)
            if number == plan.reference:
                references[index] = aligned_face(frame, plan.landmarks[0]), len(tracker.find(frame))
            if len(pictures) == len(set(plan.numbers)):
                del held[index]
                yield plan, [pictures[each] for each in plan.numbers], *references.pop(index)


def _write_clip(
    film: Film, plan: Plan, pictures: Sequence[Frame], face: Frame, sound: Array | None, folder: Path
) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "_", Path(film.name).stem)[:60]
    name = f"{readable}-{zlib.crc32(film.name.encode()):08x}-{plan.first:06d}"
    reference, *driving = pictures
    voice = None
    if sound is not None:
        first, last = (round(number * SAMPLE_RATE / FPS) for number in (plan.first, plan.first + len(driving)))
        part = sound[first:last]
        voice = Sound.of_array(np.pad(part, (0, last - first - len(part))), SAMPLE_RATE)  # the film's may end early
    height, width = reference.shape[:2]
    write_video(
        folder / f"{name}.mp4", driving, size=(width, height), fps=Fraction(FPS), count=len(driving), sound=voice,
        force=True, progress=False,
    )  # fmt: skip
    with new_file(folder / f"{name}.npz", force=True) as part_file, open(part_file, "wb") as file:
        points = plan.framing.points(plan.landmarks)
        np.savez_compressed(file, reference=reference, face=face, landmarks=points)
    return name


def describe(folder: str | PathLike[str]) -> str:
    """What a folder of clips holds, and what was left out of it, as lines of text. Raises InputError."""
    manifest = read_manifest(folder)
    films, clips = manifest["films"], sum(len(film["clips"]) for film in manifest["films"])
    seconds = clips * (manifest["settings"]["frames"] - 1) / FPS
    used = sum(bool(film["clips"]) for film in films)
    lines = [f"{folder}: {used} of {len(films)} films, {clips} clips, {seconds / 60:.1f} minutes"]
    parts: dict[tuple[str, str], int] = {}
    for item in manifest["left_out"]:
        key = item["film"], item["reason"]
        parts[key] = parts.get(key, 0) + 1
    return "\n".join(lines + [f"{film}: left out ({count}): {reason}" for (film, reason), count in parts.items()])


def _until_damage(rows: Iterator[Array | None]) -> tuple[list[Array | None], VideoUnreadable | None]:
    """What comes before a film is found damaged, and the error; raises it if nothing comes."""
    good, errors = _guarded(rows)
    before = list(good)
    if errors and not before:
        raise errors[0]
    return before, errors[0] if errors else None


def _guarded(items: Iterator[Any]) -> tuple[Iterator[Any], list[VideoUnreadable]]:
    """`items` up to the first VideoUnreadable, which is then in the list."""
    errors: list[VideoUnreadable] = []

    def good() -> Iterator[Any]:
        try:
            yield from items
        except VideoUnreadable as error:
            errors.append(error)

    return good(), errors


def _sound(path: Path) -> Array | None:
    """The sound of a film [N], 16 kHz; None if it has none: drawings alone can be trained on."""
    try:
        return Speech.of(path).samples
    except TalkingHeadError:
        return None


def _left_out(name: str, reason: str, first: int, settings: ClipSettings) -> LeftOut:
    return LeftOut(name, reason, first / FPS, (first + settings.frames - 1) / FPS)


def _line(error: Exception, film: Film) -> str:
    """The first line of what an error says, without the name of the film."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return first.removeprefix(f"{film.path.name}: ")


def _begin(folder: Path, settings: ClipSettings) -> dict[str, Any]:
    """The manifest that `folder` holds already, or an empty one. Raises InputError, OutputExists."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = empty_manifest(settings)
    if not (folder / MANIFEST).is_file():
        return manifest
    there = read_manifest(folder)
    if there["settings"] != manifest["settings"]:
        differ = ", ".join(key for key, value in manifest["settings"].items() if there["settings"].get(key) != value)
        raise OutputExists(
            f"{folder}: holds clips made with other settings ({differ})", "give another folder, or the same settings"
        )
    for film in there["films"]:  # do again what has lost a file
        if not all((folder / f"{name}{kind}").is_file() for name in film["clips"] for kind in (".mp4", ".npz")):
            film["bytes"] = -1
    return there


def _add(manifest: dict[str, Any], film: dict[str, Any], left_out: list[LeftOut]) -> None:
    """Put what came of a film in the place of what came of it before."""
    films = [item for item in manifest["films"] if item["name"] != film["name"]]
    others = [item for item in manifest["left_out"] if item["film"] != film["name"]]
    manifest["films"] = sorted([*films, film], key=lambda item: str(item["name"]))
    manifest["left_out"] = sorted([*others, *map(_as_dict, left_out)], key=lambda item: str(item["film"]))


def _as_dict(item: LeftOut) -> dict[str, Any]:
    return item._asdict()


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    with new_file(folder / MANIFEST, force=True) as part:
        part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
