"""Another mouth for a filmed face: frame by frame, in step with new speech.

The film is never held. It is read to follow the face, of which only landmarks are kept, and again to draw, a second
reader going ahead to where a shot shows the face best. Each shot is one for itself: it may show another person, in
another light.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, islice
from math import floor
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .audio import SAMPLE_RATE, Sound
from .errors import LowQualityFaceWarning, NoFaceFound, warn
from .face.footage import Footage, Take
from .face.shots import shots
from .face.tracker import MediaPipeTracker
from .motion.phones import Segment
from .protocols import Animator, FaceTracker
from .types import Array, Clip, Frame, Motion, Portrait, Speech
from .video import Video

Length = Literal["audio", "video"]  # whether a dubbed film lasts as long as the sound, or as the picture

FADE = 0.05  # seconds over which sound that is cut or ends early dies away, so that it does not click
SHOTS_READY = 16  # shots that are kept ready to be drawn, a few megabytes each
HELD = 256e6  # bytes of frames that are held at once to play a film backwards


class Redrawing(Protocol):
    """An animator that makes itself ready for a filmed face once, as MeshAnimator does."""

    def redrawer(self, footage: Footage, clearest: Frame) -> Callable[[Take], Frame]:
        """What draws each take; `clearest` [H, W, 3] is the frame number `footage.clearest`."""
        ...


Redraw = Callable[[Footage, Frame], Callable[[Take], Frame]]


def check_length(length: Any) -> None:
    """Raise ValueError unless `length` is a Length."""
    if length not in ("audio", "video"):
        raise ValueError(f'length must be "audio" or "video", not {length!r:.40}')


def redrawing(animator: Animator) -> Redraw:
    """How `animator` gives a filmed face another mouth: its own way, or each frame as a portrait that moves once.

    Raises ValueError for an animator that cannot draw at any frame rate.
    """
    if animator.fps is not None:
        raise ValueError(f"this animator draws {animator.fps:g} frames a second and no film; take the mesh animator")
    if hasattr(animator, "redrawer"):
        return cast("Redrawing", animator).redrawer

    def redrawer(footage: Footage, clearest: Frame) -> Callable[[Take], Frame]:
        rest = np.zeros((1, 3), np.float32)

        def draw(take: Take) -> Frame:
            motion = Motion(take.expression[None], rest, rest, footage.fps)
            return next(iter(animator(Portrait(take.image, take.landmarks), motion, [take.target])))

        return draw

    return redrawer


@dataclass(frozen=True, eq=False)
class Followed:
    """A film of T frames whose face was followed, shot by shot.

    shots:  [S] the face in each shot; None where no frame shows one
    starts: [S] the number of its first frame
    seen:   [T] whether a frame shows a face
    """

    shots: tuple[Footage | None, ...]
    starts: tuple[int, ...]
    seen: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.seen)

    @contextmanager
    def drawn_by(self, film: Video, redraw: Redraw) -> Iterator[Callable[[int, Frame, Array], Frame]]:
        """What draws frames of `film` that show a face: number, picture [H, W, 3] and expression [52] to a picture.

        A shot is made ready when its first frame is drawn, and only so many are kept.
        """
        with Pages(film) as pages:

            @lru_cache(SHOTS_READY)
            def ready(which: int) -> Callable[[Take], Frame]:
                shot = self._shot(which)
                return redraw(shot, pages[self.starts[which] + shot.clearest])

            def draw(number: int, image: Frame, expression: Array) -> Frame:
                which = bisect_right(self.starts, number) - 1
                return ready(which)(self._shot(which).take(number - self.starts[which], image, expression))

            yield draw

    def _shot(self, which: int) -> Footage:
        shot = self.shots[which]
        if shot is None:
            raise ValueError(f"shot {which} shows no face")
        return shot


class Pages:
    """The frames of a film by number. They are read in order; to go back is to read from the beginning again."""

    def __init__(self, film: Video) -> None:
        self.film = film
        self.next, self.frames = 0, film.frames()

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self.frames.close()

    def __getitem__(self, number: int) -> Frame:
        """Frame `number` [H, W, 3]; raises IndexError if there is none."""
        if number < self.next:
            self.frames.close()
            self.next, self.frames = 0, self.film.frames()
        for image in self.frames:
            self.next += 1
            if self.next > number:
                return image
        raise IndexError(f"{self.film.path.name} has {self.next} frames, none is number {number}")


def watch(tracker: FaceTracker, film: Video) -> Followed:
    """Follow the face through `film`; in each shot it is chosen anew.

    Raises NoFaceFound if no frame shows one, VideoUnreadable.
    """
    look: Callable[[Video], Iterable[Array | None]] = getattr(tracker, "sight", None) or MediaPipeTracker().sight
    found: list[Footage | None] = []
    starts, seen = [], list[bool]()
    missing: NoFaceFound | None = None
    for shot in shots(film):
        starts.append(len(seen))
        try:
            rows = list(look(shot))
        except NoFaceFound as error:  # the face that was asked for is not in this shot
            missing = missing or error
            rows = [None] * shot.length()
        seen += [row is not None for row in rows]
        found.append(Footage.of(rows, float(film.fps)) if any(seen[starts[-1] :]) else None)
    if not any(seen):
        nowhere = f"{film.path.name}: no face was found in any of its {len(seen)} frames"
        raise missing or NoFaceFound(nowhere, "give a video that shows a face from the front")
    return Followed(tuple(found), tuple(starts), np.array(seen))


def fitted(speech: Speech, segments: list[Segment] | None, seconds: Fraction) -> tuple[Speech, list[Segment] | None]:
    """`speech` and its phones cut to `seconds`, or followed by silence until then; never a sample longer.

    A part of a sample more would need a frame of its own: `Speech.frames` covers all of the sound.
    """
    sound = speech.sound or Sound.of_array(speech.samples, SAMPLE_RATE)
    frames = max(1, floor(seconds * sound.rate))
    blocks = lasting(iter([speech.samples[:, None]]), len(speech.samples), floor(seconds * SAMPLE_RATE), SAMPLE_RATE)
    samples = np.concatenate([block[:, 0] for block in blocks])
    if segments is not None:
        last = float(seconds)
        segments = [(start, min(end, last), phone) for start, end, phone in segments if start < last]
    return Speech(samples, FittedSound(sound.rate, sound.channels, frames, sound._decoder, whole=sound)), segments


@dataclass(frozen=True, eq=False)
class FittedSound(Sound):
    """A sound of another length: cut, or followed by silence; in both cases its end dies away."""

    whole: Sound | None = None

    def blocks(self, n: int = 65536) -> Generator[Array, None, None]:
        """The samples from the beginning: [<= n, channels] float32 in -1 to 1."""
        assert self.whole is not None
        yield from lasting(self.whole.blocks(n), self.whole.frames, self.frames, self.rate)


def lasting(blocks: Iterator[Array], given: int, wanted: int, rate: int) -> Iterator[Array]:
    """`blocks` [n, channels] of a sound of `given` samples at `rate`, made to last `wanted`."""
    end, done, channels = min(given, wanted), 0, 1
    for block in blocks:
        channels = block.shape[1]
        left = np.arange(end - done, max(end - done - len(block), 0), -1, dtype=np.float32)[:, None]
        if not len(left):
            break
        quieter = given != wanted and left[-1] < FADE * rate
        yield block[: len(left)] * np.minimum(left / (FADE * rate), 1) if quieter else block[: len(left)]
        done += len(left)
    for start in range(done, wanted, 65536):
        yield np.zeros((min(65536, wanted - start), channels), np.float32)


def dubbed(film: Video, followed: Followed, motion: Motion, speech: Speech, redraw: Redraw) -> Clip:
    """`film`, whose face was `followed`, with the mouth of `motion` and the sound of `speech`.

    It lasts as long as `speech`. Where the film is shorter, it is played back and forth.
    """
    fps = float(film.fps)
    count = speech.frames(fps)
    motion = motion.resample(fps, count)
    shown = list(islice(back_and_forth(len(followed)), count))
    untouched = tuple(np.flatnonzero(~followed.seen[shown]).tolist())
    if untouched:
        message = f"{film.path.name}: no face in {len(untouched)} of {count} frames, which stay as they are"
        warn(LowQualityFaceWarning, f"{message}: {ranges(untouched)}")

    def frames() -> Iterator[Frame]:
        pictures = zip(motion.expression, played(film, len(followed)), strict=False)
        with followed.drawn_by(film, redraw) as draw:
            for expression, (number, image) in pictures:
                yield draw(number, image, expression) if followed.seen[number] else image

    return Clip(frames, count, film.size, fps, speech, motion, untouched)


def back_and_forth(count: int) -> Iterator[int]:
    """The numbers of frames as they are shown, without end: 0 to count - 1, back to 0, and so on."""
    while True:
        yield from range(count)
        yield from range(count - 2, 0, -1)


def played(film: Video, count: int) -> Iterator[tuple[int, Frame]]:
    """The `count` frames of `film` and their numbers, as `back_and_forth` has them.

    Backwards, a film is read in blocks from its end, each from the beginning of the file: that takes time, not memory.
    """
    width, height = film.size
    block = max(1, int(HELD / (3 * width * height)))
    while True:
        yield from islice(enumerate(film.frames()), count)
        for end in range(count - 1, 1, -block):
            start = max(1, end - block)
            held = list(islice(enumerate(film.frames()), start, end))
            while held:
                yield held.pop()


def ranges(numbers: Iterable[int]) -> str:
    """Rising `numbers` in words: 3, 7 to 12, 20."""
    groups = groupby(enumerate(numbers), key=lambda item: item[1] - item[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
