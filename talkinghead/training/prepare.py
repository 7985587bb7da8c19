"""A corpus of films: people who were filmed while they spoke, tracked, in the format of `talkinghead corpus`.

    OUT/manifest.json       settings, voices with licences, films, shards with their split, what was left out and why
    OUT/<film>-<split>.npz  as talkinghead/training/corpus.py describes; `phones` are UNKNOWN where none were aligned,
                            `style` is neutral

A film becomes clips of at most 20 seconds, cut where it is quiet and wherever no face is seen. Brows, jaw, mouth and
head are as tracked; the eyes are left still, since blinks and gaze come from another process when motion is made.
"""

from __future__ import annotations

import json
import math
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..blendshapes import EXPRESSIONS, EYES, INDEX
from ..errors import InputError, OutputExists, TalkingHeadError, TalkingHeadWarning, VideoUnreadable, warn
from ..face.fit import Fit, fit_motion
from ..face.landmarks import LEFT_EYE_CORNERS, LOWER_LIP, RIGHT_EYE_CORNERS, UPPER_LIP
from ..face.tracker import MediaPipeTracker, check_quality, face_mesh, find_small_faces, mesh_landmarks
from ..files import new_file
from ..motion.articulation import FRAMES_PER_SECOND, gap_per_weight, lip_gap, phone_per_frame
from ..motion.phones import PHONES
from ..motion.style import NEUTRAL
from ..types import Array, Motion, Speech
from ..video import Video, open_video
from .batches import UNKNOWN, read_manifest
from .workers import as_finished

VERSION = 1
VIDEOS = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"))
SHORTEST, LONGEST = 1.0, 20.0  # seconds of a clip
PAUSE = 0.3  # seconds of the quietest moment, at which long speech is cut
SLOWEST = 12  # frames a second; with fewer, lips shut and open between two frames
INAUDIBLE = 1e-3  # of full scale: below it there is no speech
STILL = 0.05  # centimetres: standard deviation of the lips' gap, below which nobody speaks; speech has 0.3 and more
APART = 0.5  # seconds by which sound and picture may end apart without a word
STEADY = 0.04  # seconds (standard deviation) over which the head's pose is smoothed: landmarks tremble
AT_ONCE = 6000  # frames that a face is fitted to at once; bounds memory
SAMPLES_PER_TOKEN = SAMPLE_RATE // FRAMES_PER_SECOND
# What one film may raise and the others go on: our own errors, and those of the libraries that read it.
FAILURES = (TalkingHeadError, ValueError, OSError, RuntimeError)


# talkinghead.evaluation.alignment.align, or the like: its result has `segments`, and a `source` that is "recognised"
# where a machine guessed the words.
Aligner = Callable[[Array, Path, Mapping[str, str]], Any]


class Film(NamedTuple):
    """A video to prepare.

    voice:  whose films share a name
    number: among the films of one call
    """

    name: str
    path: Path
    voice: str
    number: int

    @property
    def bytes(self) -> int:
        """Size of the file; -1 if there is none."""
        return self.path.stat().st_size if self.path.is_file() else -1

    def described(self) -> dict[str, Any]:
        """What a manifest knows it by."""
        return {"name": self.name, "path": str(self.path), "bytes": self.bytes}


class LeftOut(NamedTuple):
    """What was not used of a film, and why: from `start` to `end` in seconds, or all of it."""

    film: str
    reason: str
    start: float | None = None
    end: float | None = None


class Tracks(NamedTuple):
    """A clip as a shard holds it: mel [2 A, 80], expression [A, 52], pose [A, 6], phones [A], style [A, 2]."""

    mel: NDArray[np.float16]
    expression: NDArray[np.float16]
    pose: NDArray[np.float16]
    phones: NDArray[np.uint8]
    style: NDArray[np.float16]


class Outcome(NamedTuple):
    """What came of a film, for the manifest."""

    film: dict[str, Any]
    shards: list[dict[str, Any]]
    left_out: list[LeftOut]


def prepare_corpus(
    videos: str | PathLike[str] | Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    validation: float = 0.1,
    licence: str = "unknown",
    workers: int = 1,
    align: Aligner | None = None,
    progress: bool | None = None,
) -> Path:
    """Make a corpus in folder `out` of films that show one face and have its voice, or add films to one.

    videos:     files, or folders that are searched; the films of a folder are one voice, and so is each file
    validation: share of the clips that is not trained on
    licence:    of these films
    workers:    processes; the corpus does not depend on their number
    align:      finds the phones in samples [N] of the film at a path; they are used if its words are known
    progress:   show a bar; None shows it on a terminal

    What cannot be used of a film is told in the manifest, and the others go on. A film that is finished is not done
    again, unless its size has changed. Returns the path of the manifest.

    Raises ValueError for settings out of range, InputError if nothing can be used or `out` has another film of the
    name of one of these, OutputExists if it holds a corpus of other settings, OutputNotWritable, DiskFull.
    """
    from tqdm import tqdm

    if not 0 <= validation < 1 or workers < 1:
        raise ValueError(f"validation must be 0 to below 1 and workers at least 1, not {validation!r}, {workers!r}")
    folder = Path(out)
    manifest = _begin(folder, {"films": VERSION, "validation": validation, "phones": align is not None})
    films, left_out = find_films([videos] if isinstance(videos, str | PathLike) else videos)
    films = as_known(films, manifest["films"])
    licences = {film.voice: licence for film in films}
    todo = [film for film in films if not _finished(film, manifest, folder)]
    hidden = None if progress is None else not progress
    with tqdm(total=len(films), initial=len(films) - len(todo), unit="film", disable=hidden) as bar:
        work = partial(prepare_film, folder=folder, validation=validation, align=align)
        for outcome in as_finished(work, todo, workers):
            _add(manifest, outcome)
            _write_manifest(folder, manifest, licences)
            bar.update()
    empty = [item._asdict() for item in left_out]
    manifest["left_out"] += [item for item in empty if item not in manifest["left_out"]]
    _write_manifest(folder, manifest, licences)
    if not manifest["shards"]:
        reasons = [f"{item['film']}: {item['reason']}" for item in manifest["left_out"]]
        raise InputError(
            f"no film can be used: {'; '.join(reasons[:3]) or 'none was given'}",
            "give videos that show one face, and have the sound of its voice",
        )
    return folder / "manifest.json"


def find_films(paths: Iterable[str | PathLike[str]]) -> tuple[list[Film], list[LeftOut]]:
    """The video files in `paths`, folders searched, each once, by names of their own; and folders without any."""
    found: dict[Path, tuple[str, str]] = {}
    left_out = []
    for given in map(Path, paths):
        folder = given.resolve()
        if not given.is_dir():
            found.setdefault(folder, (given.name, given.stem))
            continue
        inside = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEOS and path.is_file()]
        inside = [path for path in inside if not path.name.startswith(".")]
        if not inside:
            left_out.append(LeftOut(str(given), "the folder holds no videos"))
        for path in inside:
            found.setdefault(path, (str(path.relative_to(folder.parent)), path.parent.name))
    names = [name for name, _ in found.values()]
    films = [
        Film(name if names.count(name) == 1 else str(path), path, voice, number)
        for number, (path, (name, voice)) in enumerate(found.items())
    ]
    return films, left_out


def as_known(films: Sequence[Film], known: Sequence[Mapping[str, Any]]) -> list[Film]:
    """`films` under the names that a corpus of `known` ones has for them; InputError if others have their names."""
    names = {each.get("path"): each["name"] for each in known}
    paths = {each["name"]: each.get("path", "") for each in known}
    films = [film._replace(name=names.get(str(film.path), film.name)) for film in films]
    for film in films:
        other = Path(paths.get(film.name) or film.path)
        if other != film.path and other.exists():
            raise InputError(
                f"{film.path}: the corpus has another film called {film.name}, {other}",
                "rename one of them, or make a corpus of its own",
            )
    return films


def prepare_film(film: Film, folder: Path, validation: float, align: Aligner | None) -> Outcome:
    """Track one film, write its clips into `folder`, and tell what came of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            clips, left_out = clips_of(film, align)
        except FAILURES as error:
            clips, left_out = [], [LeftOut(film.name, _reason(error, film))]
    notes = {_reason(each.message, film) for each in caught if issubclass(each.category, TalkingHeadWarning)}
    # Clips to judge by are spread evenly over the films of a call and the clips of a film; the first is none.
    places = film.number * validation % 1 + validation * np.arange(len(clips) + 1)
    judged = np.diff(np.floor(places + 1e-9)) > 0
    shards = [
        _write_shard(film, split, [clips[number] for number in np.flatnonzero(chosen)], folder)
        for split, chosen in (("train", ~judged), ("validation", judged))
        if chosen.any()
    ]
    described = film.described() | {"voice": film.voice, "notes": sorted(notes)}
    return Outcome(described, shards, left_out)


def clips_of(film: Film, align: Aligner | None = None) -> tuple[list[Tracks], list[LeftOut]]:
    """The clips in a film and what is left out of it. Raises one of FAILURES if it cannot be read or used at all."""
    samples = Speech.of(film.path).samples
    if np.abs(samples).max(initial=0) < INAUDIBLE:
        raise InputError("its sound is silent")
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise InputError(f"its sound lasts {len(samples) / SAMPLE_RATE:.2f} s, at least {SHORTEST:g} s are needed")
    video = open_video(film.path)
    if video.fps < SLOWEST:
        raise InputError(f"it has {float(video.fps):g} frames a second, at least {SLOWEST} are needed")
    phones = _phones(samples, film, align)
    clips: list[Tracks] = []
    left_out: list[LeftOut] = []
    frames = 0
    try:
        for rows in _at_once(faces(video)):
            for first, length, motion in _stretches(rows, float(video.fps)):
                reason = "no face is seen" if motion is None else _unfit(motion)
                if motion is None or reason:
                    start, end = (float((frames + place) / video.fps) for place in (first, first + length))
                    left_out.append(LeftOut(film.name, reason, start, end))
                else:
                    clips += _cut(motion, frames + first, video.fps, samples, phones)
            frames += len(rows)
    except VideoUnreadable as error:
        if not clips:
            raise
        left_out.append(LeftOut(film.name, _reason(error, film), frames / float(video.fps)))
    return clips, left_out + _ends(film, frames / float(video.fps), len(samples) / SAMPLE_RATE)


def faces(video: Video) -> Iterator[Array | None]:
    """The landmarks [478, 3] in pixels of the face in each frame of `video`, None where none is seen.

    Raises SeveralFacesFound, FaceTooSmall, FaceTurnedAway for what the first face looks like; VideoUnreadable.
    """
    tracker = MediaPipeTracker(on_several="error")
    previous: Array | None = None
    with face_mesh(tracker.confidence, 1, video=True) as mesh:
        for frame in video.frames():
            found = mesh_landmarks(mesh, frame) or find_small_faces(frame, tracker.confidence)
            if found and previous is None:  # MediaPipe was asked for one face: are there more?
                check_quality(tracker.choose(tracker.find(frame) or found))
            previous = tracker.same(found, previous) if found else previous
            yield previous if found else None


def at_tokens(track: NDArray[Any], fps: Fraction, first: int = 0) -> tuple[int, NDArray[np.float64]]:
    """Frames [T, C], of which frame t is shown from (first + t) / fps seconds on, as tokens [n, C], 50 a second.

    A token is the mean of what is shown during its 20 ms, after frames were made smooth without changing the mean
    over any of them: the pairs of tokens that training takes the mean of are the very frames of a film with 25 a
    second. Also returns the number of the first token that lies wholly within the frames.
    """
    from scipy.interpolate import CubicSpline

    begin, end = Fraction(first) / fps, Fraction(first + len(track)) / fps
    tokens = np.arange(math.ceil(begin * FRAMES_PER_SECOND), math.floor(end * FRAMES_PER_SECOND) + 1)
    edges = tokens * float(fps / FRAMES_PER_SECOND) - first  # in frames
    shown = np.concatenate([np.zeros((1, track.shape[1])), np.cumsum(track, axis=0, dtype=np.float64)])
    shown_until = CubicSpline(np.arange(len(shown)), shown, bc_type="natural")
    return int(tokens[0]), np.diff(shown_until(edges), axis=0) * float(FRAMES_PER_SECOND / fps)


def with_seen_gap(fit: Fit, landmarks: Array) -> Motion:
    """The motion of `fit`, whose lips are exactly as far apart as in the `landmarks` [T, 478, 3] that it fits.

    A fit shares its errors among all landmarks and is 0.1 to 0.2 cm off here, which is much where lips are shut. As
    in articulation, `mouthClose` shuts lips that are too far apart; where they are too near, it gives way, and then
    the jaw opens.
    """
    expression = fit.motion.expression.copy()
    one, other = RIGHT_EYE_CORNERS[0], LEFT_EYE_CORNERS[0]
    pixels = np.linalg.norm(fit.landmarks[:, one] - fit.landmarks[:, other], axis=-1)
    centimetres = np.linalg.norm(fit.neutral[one] - fit.neutral[other]) / pixels  # [T] of a pixel
    seen = np.linalg.norm((landmarks[:, LOWER_LIP] - landmarks[:, UPPER_LIP])[:, :2], axis=-1) * centimetres
    shut, opened = INDEX["mouthClose"], INDEX["jawOpen"]
    lack = seen - lip_gap(expression)
    expression[:, shut] = np.clip(expression[:, shut] + lack / gap_per_weight()[shut], 0, 1)
    lack = np.maximum(seen - lip_gap(expression), 0)
    expression[:, opened] = np.minimum(expression[:, opened] + lack / gap_per_weight()[opened], 1)
    return replace(fit.motion, expression=expression)


def cut_at_pauses(samples: Array) -> list[tuple[int, int]]:
    """First and last token of clips of `samples` [N], each at most 20 seconds, cut where it is quietest."""
    tokens, window, longest = len(samples) // SAMPLES_PER_TOKEN, round(PAUSE * 50), round(LONGEST * 50)
    power = np.square(samples[: tokens * SAMPLES_PER_TOKEN], dtype=np.float64).reshape(tokens, -1).mean(axis=1)
    until = np.concatenate([[0.0], np.cumsum(power)])
    cuts = [0]
    while tokens - cuts[-1] > longest:
        first, last = cuts[-1] + longest // 2, min(cuts[-1] + longest, tokens - round(SHORTEST * 50))
        sums = until[first + window : last + 1] - until[first : last + 1 - window]
        cuts.append(first + int(np.argmin(sums)) + window // 2)
    return list(pairwise([*cuts, tokens]))


def describe(folder: str | PathLike[str]) -> str:
    """What a prepared corpus holds, and what was left out of it, as lines of text. Raises InputError."""
    manifest = read_manifest(folder)
    shards = manifest["shards"]
    train, judged = (
        sum(shard["seconds"] for shard in shards if shard["split"] == split) / 60 for split in ("train", "validation")
    )
    used, clips = len({shard["film"] for shard in shards}), sum(shard["clips"] for shard in shards)
    lines = [
        f"{folder}: {used} of {len(manifest['films'])} films, {clips} clips, {train:.1f} minutes to train on, "
        f"{judged:.1f} to judge by"
    ]
    left_out: dict[tuple[str, str], list[float]] = {}
    for item in manifest["left_out"]:
        known = item["start"] is not None and item["end"] is not None
        seconds = item["end"] - item["start"] if known else math.nan
        left_out.setdefault((item["film"], item["reason"]), []).append(seconds)
    for (film, reason), parts in left_out.items():
        places = f" in {len(parts)} places" if len(parts) > 1 else ""
        part = f"{sum(parts):.2f} s{places} left out" if math.isfinite(sum(parts)) else "left out"
        lines.append(f"{film}: {part}: {reason}")
    lines += [f"{film['name']}: {note}" for film in manifest["films"] for note in film["notes"]]
    return "\n".join(lines)


def _at_once(rows: Iterator[Array | None]) -> Iterator[list[Array | None]]:
    """`rows` in lists of at most AT_ONCE; what came before an error is given before it is raised."""
    some: list[Array | None] = []
    try:
        for row in rows:
            some.append(row)
            if len(some) == AT_ONCE:
                yield some
                some = []
    except VideoUnreadable:
        if some:
            yield some
        raise
    if some:
        yield some


def _stretches(rows: Sequence[Array | None], fps: float) -> Iterator[tuple[int, int, Motion | None]]:
    """First row and number of rows of each stretch with a face, and its motion, or without one, and None."""
    known = [row for row in rows if row is not None]
    motion = with_seen_gap(fit_motion(np.stack(known), fps), np.stack(known)) if known else Motion.still(0, fps)
    seen = np.array([row is not None for row in rows])
    for first, last in pairwise([0, *(np.flatnonzero(np.diff(seen)) + 1).tolist(), len(rows)]):
        before = int(seen[:first].sum())
        yield first, last - first, motion[before : before + last - first] if seen[first] else None


def _unfit(motion: Motion) -> str:
    """Why a stretch of motion cannot be trained on; '' if it can."""
    if motion.duration < SHORTEST:
        return f"too short: at least {SHORTEST:g} s are needed"
    return "" if lip_gap(motion.expression).std() >= STILL else "the lips do not move"


def _cut(motion: Motion, first: int, fps: Fraction, samples: Array, phones: NDArray[np.uint8]) -> Iterator[Tracks]:
    """Clips of `motion`, whose first frame is number `first` of its film, as far as there is sound [N] to it."""
    import torch
    import whisper
    from scipy.ndimage import gaussian_filter1d

    pose = np.concatenate([motion.rotation, motion.translation], axis=1)
    pose = gaussian_filter1d(pose, STEADY * float(fps), axis=0, mode="nearest")
    token, moved = at_tokens(np.concatenate([motion.expression, pose], axis=1), fps, first)  # [n, 58]
    moved[:, :EXPRESSIONS] = np.clip(moved[:, :EXPRESSIONS], 0, 1)
    moved[:, list(EYES)] = 0
    heard = samples[token * SAMPLES_PER_TOKEN :][: len(moved) * SAMPLES_PER_TOKEN]
    for begin, end in cut_at_pauses(heard):
        if end - begin < SHORTEST * FRAMES_PER_SECOND:  # the sound has ended
            continue
        sound = heard[begin * SAMPLES_PER_TOKEN : end * SAMPLES_PER_TOKEN]
        mel = whisper.log_mel_spectrogram(torch.from_numpy(sound.copy())).numpy()  # [80, 2A]
        part = moved[begin:end].astype(np.float16)
        style = np.tile(np.array(NEUTRAL, np.float16), (len(part), 1))
        known = phones[token + begin : token + end]
        yield Tracks(mel.T.astype(np.float16), part[:, :EXPRESSIONS], part[:, EXPRESSIONS:], known, style)


def _phones(samples: Array, film: Film, align: Aligner | None) -> NDArray[np.uint8]:
    """Index of the phone at each token of a film, [A]; UNKNOWN if it is not known."""
    tokens = len(samples) // SAMPLES_PER_TOKEN
    segments = None
    if align is not None:
        try:
            found = align(samples, film.path, {})
            segments = None if found.source == "recognised" else found.segments  # by machine: too often wrong
        except TalkingHeadError as error:
            warn(TalkingHeadWarning, f"its phones are not known: {error}")
    return np.full(tokens, UNKNOWN, np.uint8) if segments is None else phone_per_frame(segments, tokens)


def _ends(film: Film, picture: float, sound: float) -> list[LeftOut]:
    """What is left out because one of picture and sound, in seconds, ends before the other."""
    if abs(picture - sound) <= APART:
        return []
    longer = "picture" if picture > sound else "sound"
    return [LeftOut(film.name, f"there is only {longer}", min(picture, sound), max(picture, sound))]


def _reason(error: Warning | Exception | str, film: Film) -> str:
    """The first line of what an error or a warning says, without the name of the film."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return first.removeprefix(f"{film.path.name}: ")


def _write_shard(film: Film, split: str, clips: Sequence[Tracks], folder: Path) -> dict[str, Any]:
    """Write clips of a film and describe them for the manifest."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", Path(film.name).stem)[:60]
    file = f"{readable}-{zlib.crc32(film.name.encode()):08x}-{split}.npz"
    lengths = np.array([len(clip.phones) for clip in clips], np.int32)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(clip, name) for clip in clips]) for name in Tracks._fields}
    with new_file(folder / file, force=True) as part:
        np.savez(part, **arrays, lengths=lengths)
    frames = int(lengths.sum())
    return {
        "file": file, "film": film.name, "voice": film.voice, "split": split, "clips": len(clips), "frames": frames,
        "seconds": frames / FRAMES_PER_SECOND,
    }  # fmt: skip


def _begin(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest that `folder` holds already, or an empty one. Raises InputError, OutputExists."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "manifest.json").is_file():
        manifest = read_manifest(folder)
        made_with = manifest.get("settings", {})
        if made_with != settings:
            differ = ", ".join(key for key in {**made_with, **settings} if made_with.get(key) != settings.get(key))
            raise OutputExists(
                f"{folder}: holds a corpus made with other settings ({differ})",
                "give another folder, or the same settings",
            )
        return manifest
    return {
        "settings": settings, "mel_per_second": 2 * FRAMES_PER_SECOND, "frames_per_second": FRAMES_PER_SECOND,
        "phones": list(PHONES), "voices": {}, "films": [], "shards": [], "left_out": [],
    }  # fmt: skip


def _finished(film: Film, manifest: dict[str, Any], folder: Path) -> bool:
    """Whether `film` was done, and what it gave is still there."""
    files = [shard["file"] for shard in manifest["shards"] if shard["film"] == film.name]
    done = any(each["name"] == film.name and each["bytes"] == film.bytes != -1 for each in manifest["films"])
    return done and all((folder / file).is_file() for file in files)


def _add(manifest: dict[str, Any], outcome: Outcome) -> None:
    """Put what came of a film in the place of what came of it before."""
    name = outcome.film["name"]
    new = {"films": [outcome.film], "shards": outcome.shards, "left_out": [each._asdict() for each in outcome.left_out]}
    for key, items in new.items():
        kept = [item for item in manifest[key] if item["name" if key == "films" else "film"] != name]
        manifest[key] = sorted(kept + items, key=lambda item: str(item.get("film", item.get("name"))))


def _write_manifest(folder: Path, manifest: dict[str, Any], licences: dict[str, str]) -> None:
    """Write the manifest, its voices anew; `licences` by voice, for those that have them."""
    voices = sorted({shard["voice"] for shard in manifest["shards"]})
    known = {name: voice["licence"] for name, voice in manifest["voices"].items()} | licences
    manifest["voices"] = {
        voice: {
            "licence": known.get(voice, "unknown"),
            "held_out": False,
            "seconds": round(sum(s["seconds"] for s in manifest["shards"] if s["voice"] == voice), 2),
        }
        for voice in voices
    }
    with new_file(folder / "manifest.json", force=True) as part:
        part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
