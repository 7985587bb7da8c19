"""Everything that is measured of a model, on whatever recordings there are. Read `judge` first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..pipeline import TalkingHead
from ..training.prepare import FAILURES
from ..types import Motion, Speech
from .alignment import Alignment, align, given_times, import_extra
from .dynamics import Dynamics, Endurance, dynamics, endurance, head_movement
from .intervals import Track
from .lipsync import Agreement, Filmed, Follower, Lips, agreement, loudness_envelope, moved_lips, silent_frames
from .noise import in_noise
from .phonetic import Voiced, judge_phones
from .recordings import LeftOut, Mouth, Recording, find_files, move, read, reason
from .synthetic import VoiceScore, synthetic_scores

MOST_OTHERS = 8  # sounds of other clips that a face is moved by
SHORTEST_FILM = 25  # frames

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What is asked of `judge`.

    model:       a name or folder, as from_pretrained takes it
    corpus:      a folder of `talkinghead corpus`; None skips synthetic speech
    transcripts: by the name of a recording, besides those found beside it
    seeds:       how many, of idle motion
    noise:       decibels by which speech is louder than the noise added to it; None adds none
    minutes:     of the long run; 0 skips it
    """

    model: str = "micro"
    corpus: str | os.PathLike[str] | None = None
    transcripts: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 5
    noise: float | None = None
    minutes: int = 0


@dataclass
class Results:
    """What was measured, and what could not be.

    people: of each filmed person [2, 3]: standard deviations of pitch, yaw and roll in degrees, and of their speeds
    """

    settings: Settings
    recordings: list[Recording] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    filmed: list[Filmed] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    alignments: dict[str, Alignment] = field(default_factory=dict)
    voiced: list[Voiced] = field(default_factory=list)
    synthetic: list[VoiceScore] = field(default_factory=list)
    dynamics: Dynamics | None = None
    people: list[Track] = field(default_factory=list)
    endurance: Endurance | None = None


def judge(
    paths: Iterable[str | os.PathLike[str]],
    head: TalkingHead,
    follower: Follower,
    settings: Settings,
    progress: Progress = lambda what: None,
) -> Results:
    """Measure the model of `head` on the sounds and videos in `paths` (files or folders), and as `settings` ask.

    What cannot be used of a file is told in the results; the others go on.

    Raises InputError if nothing is left; TalkingHeadError if pocketsphinx is needed and not installed; the errors of
    `synthetic_scores`.
    """
    files, left_out = find_files(paths)
    if any(not given_times(path).is_file() for _, path in files):
        import_extra("pocketsphinx")  # before the work, not after it
    results = Results(settings, left_out=left_out)
    if settings.corpus is not None:
        progress("synthetic speech")
        results.synthetic = synthetic_scores(settings.model, settings.corpus)
    for name, path in files:
        progress(name)
        recording, missing = read(name, path, head, follower)
        results.left_out += missing
        if recording is not None:
            results.recordings.append(recording)
    if not results.recordings and not results.synthetic:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in results.left_out[:3])
        raise InputError(f"there is nothing to evaluate: {reasons or 'no files were given'}")
    _judge_films(results)
    _judge_phones(results, head, progress)
    _judge_idle(results, head, progress)
    return results


def _judge_films(results: Results) -> None:
    """Compare our lips with the filmed ones, and with ours for other sounds."""
    recordings = results.recordings
    for place, recording in enumerate(recordings):
        if recording.film is None:
            continue
        try:
            filmed = film_compared(recording, [*recordings[place + 1 :], *recordings[:place]][:MOST_OTHERS])
            results.agreements.append(agreement(filmed))
            results.filmed.append(filmed)
            results.people.append(head_movement_of(recording))
        except FAILURES as error:
            results.left_out.append(LeftOut(recording.name, "filmed lips", reason(error)))


def film_compared(recording: Recording, others: Sequence[Recording]) -> Filmed:
    """The person's lips in a recording, and ours on the same face. Raises InputError if the film is too short."""
    film = recording.film
    assert film is not None
    real = Lips.of(film.landmarks, film.fps)
    length = min(len(real.aperture), len(recording.motion))
    if length < SHORTEST_FILM:
        raise InputError(f"the film lasts {length} frames, at least {SHORTEST_FILM} are compared")
    frames = np.arange(length)
    motions = [at_frames(other.motion, frames % len(other.motion)) for other in others]
    if not motions:
        motions = [at_frames(recording.motion, np.roll(frames, length // 2))]
    return Filmed(
        name=recording.name,
        real=real.cut(length),
        ours=moved_lips(film.landmarks, film.size, recording.motion[:length]),
        wrong=tuple(moved_lips(film.landmarks, film.size, motion) for motion in motions),
        gap=recording.mouth.gap[:length],
        wrong_gaps=tuple(Mouth.of(motion).gap for motion in motions),
        loud=loudness_envelope(recording.speech, length),
        silent=silent_frames(recording.speech, length),
    )


def at_frames(motion: Motion, frames: NDArray[np.intp]) -> Motion:
    """The frames of a motion with these numbers."""
    return Motion(motion.expression[frames], motion.rotation[frames], motion.translation[frames], motion.fps)


def head_movement_of(recording: Recording) -> Track:
    """Standard deviations of the filmed person's pitch, yaw and roll, and of their speeds [2, 3], in degrees."""
    from ..face.fit import fit_motion

    film = recording.film
    assert film is not None
    return np.array(head_movement(fit_motion(film.landmarks, film.fps).motion.rotation, film.fps))


def _judge_phones(results: Results, head: TalkingHead, progress: Progress) -> None:
    """Align the phones of every recording, and judge our mouth at them."""
    recordings, settings = results.recordings, results.settings
    filmed = {each.name: each for each in results.filmed}
    for place, recording in enumerate(recordings):
        progress(f"{recording.name}: phones")
        try:
            found = align(recording.speech.samples, recording.path, settings.transcripts)
            wrong = recordings[(place + 1) % len(recordings)].mouth
            if len(recordings) == 1:
                wrong = Mouth(*(np.roll(track, len(track) // 2) for track in wrong))
            noisy: dict[str, tuple[Speech, Mouth]] = {}
            if settings.noise is not None:
                others = [other.speech.samples for other in recordings if other is not recording]
                noises = in_noise(recording.name, recording.speech, others, settings.noise)
                noisy = {kind: (heard, Mouth.of(move(head, heard))) for kind, heard in noises.items()}
            voiced = judge_phones(recording, found.source, found.segments, wrong, noisy, filmed.get(recording.name))
        except FAILURES as error:
            results.left_out.append(LeftOut(recording.name, "phones", reason(error)))
            continue
        results.alignments[recording.name] = found
        results.voiced.append(voiced)


def _judge_idle(results: Results, head: TalkingHead, progress: Progress) -> None:
    """What changes with the seed, and what a long run changes."""
    settings = results.settings
    sounds = [recording.speech.samples for recording in results.recordings]
    if settings.seeds and sounds:
        progress(f"{settings.seeds} seeds")
        results.dynamics = dynamics(head, sounds, settings.seeds)
    if settings.minutes and sounds:
        progress(f"{settings.minutes} minutes")
        results.endurance = endurance(head, sounds, settings.minutes)
