"""Several faces in one picture: each in a part of it of its own, each with its own voice, all in one clip."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .audio import SAMPLE_RATE, AudioSource, Sound
from .errors import FaceTooSmall, FaceTurnedAway, InputError, NoFaceFound
from .face.geometry import stream_landmarks
from .face.tracker import check_quality, eye_distance
from .protocols import Animator, FaceTracker
from .types import Array, Frame, Motion, Portrait, Speech

REACH = 1.2  # face heights that a face's part of the picture extends from the middle of the face, if nobody is near
REST = 0.2  # seconds in which a mouth whose speech has ended comes to rest
BLOCK = 65536  # frames of sound mixed at once


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a picture, with one face in it: parts do not overlap.

    left, top: its corner in the picture
    portrait:  the part as a picture of its own
    """

    left: int
    top: int
    portrait: Portrait

    def paste(self, frame: Frame, drawn: Frame) -> None:
        """Put `drawn`, this part, in its place on `frame`."""
        height, width = drawn.shape[:2]
        frame[self.top : self.top + height, self.left : self.left + width] = drawn


def find_everyone(tracker: FaceTracker, image: Frame) -> list[Portrait]:
    """All faces in `image`, from left to right. Raises NoFaceFound; ValueError for a tracker that finds only one."""
    everyone = getattr(tracker, "everyone", None)
    if everyone is None:
        raise ValueError("this face tracker finds one face of a picture, not all")
    found: list[Portrait] = everyone(image)
    return found


@dataclass(frozen=True, eq=False)
class Voices:
    """Who says what.

    speakers: what single faces say, by their numbers
    everyone: what all faces say, if that is one thing
    """

    speakers: Mapping[int, Speech]
    everyone: Speech | None = None

    @classmethod
    def of(
        cls,
        audio: AudioSource | Speech | None,
        sample_rate: int | None,
        speakers: Mapping[int, AudioSource | Speech] | None,
        phones: object,
        words: object,
    ) -> Voices:
        """The options of `speak`, checked. Raises TypeError, ValueError and the errors of sounds."""
        if phones is not None or words is not None:
            raise ValueError("phones and words are for one face that speaks, not for several")
        if speakers is None:
            if audio is None:
                raise TypeError("speak needs audio, or speakers")
            return cls({}, Speech.of(audio, sample_rate))
        if audio is not None:
            raise ValueError("audio and speakers must not be given both")
        check_speakers(speakers)
        return cls({number: Speech.of(sound, sample_rate) for number, sound in speakers.items()})

    def __iter__(self) -> Iterator[Speech]:
        """Each speech once."""
        said = [self.everyone] if self.everyone is not None else self.speakers.values()
        yield from {id(speech): speech for speech in said}.values()

    def of_face(self, number: int) -> Speech | None:
        """What the face of this number says, if it does."""
        return self.everyone or self.speakers.get(number)

    def mixed(self) -> Speech:
        """All at once, as loud as they are, or less loud where together they would exceed full scale."""
        first, *others = self
        if not others:
            return first
        samples = np.zeros(max(len(speech.samples) for speech in self), np.float32)
        for speech in self:
            samples[: len(speech.samples)] += speech.samples
        samples /= max(1.0, float(np.abs(samples).max()))
        return Speech(samples, MixedSound.of([s.sound or Sound.of_array(s.samples, SAMPLE_RATE) for s in self]))


def check_speakers(speakers: Any) -> None:
    """Raise TypeError or ValueError unless `speakers` are sounds by the numbers of faces, at least one."""
    if not isinstance(speakers, Mapping):
        raise TypeError(f"speakers must be sounds by numbers of faces, {{0: …, 1: …}}, not {type(speakers).__name__}")
    if not speakers:
        raise ValueError("speakers must name at least one face, as in {0: 'hello.wav'}")
    for number in speakers:
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ValueError(f"speakers: a face is a number from 0, from left to right, not {number!r:.40}")


def animated(portraits: Sequence[Portrait], speaking: Iterable[int]) -> list[int]:
    """The numbers of the faces that are to move: those that speak, and all others that are large enough.

    Raises NoFaceFound for a speaker who is not there, FaceTooSmall and FaceTurnedAway for one who cannot be animated,
    or, of the largest face, if none can.
    """
    speaking = sorted(speaking)
    if speaking and speaking[-1] >= len(portraits):
        found = f"face {speaking[-1]} is to speak, but {len(portraits)} found"
        raise NoFaceFound(found, "faces count from 0, left to right")
    moving, refused = [], {}
    for number, portrait in enumerate(portraits):
        try:
            check_quality(portrait.landmarks)
        except (FaceTooSmall, FaceTurnedAway) as error:
            if number in speaking:
                raise
            refused[number] = error
            continue
        moving.append(number)
    if refused and not moving:
        raise refused[max(refused, key=lambda number: eye_distance(portraits[number].landmarks))]
    return moving


def parted(portraits: Sequence[Portrait]) -> list[Part]:
    """The picture of `portraits`, divided so that each face can move without touching another."""
    height, width = portraits[0].image.shape[:2]
    faces = [(p.landmarks[:, :2].min(0), p.landmarks[:, :2].max(0)) for p in portraits]
    boxes = []
    for least, most in faces:
        middle, reach = (least + most) / 2, REACH * float(most[1] - least[1])
        boxes.append(np.array([np.maximum(middle - reach, 0), np.minimum(middle + reach, [width, height])]))
    for one in range(len(faces)):
        for other in range(one + 1, len(faces)):
            divide(boxes[one], boxes[other], faces[one], faces[other])
    return [cut(portrait, box) for portrait, box in zip(portraits, boxes, strict=True)]


def divide(one: Array, other: Array, face: tuple[Array, Array], second: tuple[Array, Array]) -> None:
    """Cut two boxes [2, 2] (least and most x and y) halfway between their faces, if they overlap."""
    if (one[1] <= other[0]).any() or (other[1] <= one[0]).any():
        return
    gaps = np.maximum(second[0] - face[1], face[0] - second[1])  # between the faces, across and down
    axis = int(np.argmax(gaps))
    if face[0][axis] + face[1][axis] > second[0][axis] + second[1][axis]:
        one, other, face, second = other, one, second, face
    one[1, axis] = other[0, axis] = np.round((face[1][axis] + second[0][axis]) / 2)


def cut(portrait: Portrait, box: Array) -> Part:
    """The part of the picture of `portrait` in `box` [2, 2]."""
    (left, top), (right, bottom) = np.round(box).astype(int)
    if right - left < 2 or bottom - top < 2:
        raise InputError("two faces lie on each other and cannot be told apart", "choose one with face=")
    image = np.ascontiguousarray(portrait.image[top:bottom, left:right])
    corner = np.array([left, top, 0], np.float32)
    return Part(int(left), int(top), Portrait(image, portrait.landmarks - corner))


def drawn_together(
    image: Frame, parts: Sequence[Part], motions: Sequence[Motion], animator: Animator
) -> Iterator[Frame]:
    """Frames [H, W, 3] of `image`, each of its `parts` moving by one of `motions`."""
    drawn = [
        iter(animator(part.portrait, motion, stream_landmarks(part.portrait, motion)))
        for part, motion in zip(parts, motions, strict=True)
    ]
    for faces in zip(*drawn, strict=True):
        frame = image.copy()
        for part, face in zip(parts, faces, strict=True):
            part.paste(frame, face)
        yield frame


def followed_by_rest(motion: Motion, frames: int) -> Motion:
    """`motion` made from speech, and after it a face at rest, `frames` in all."""
    last = len(motion)
    if last >= frames:
        return motion[:frames]
    fade = np.clip(1 - np.arange(1, frames - last + 1) / (REST * motion.fps), 0, 1)[:, None].astype(np.float32)

    def longer(track: Array) -> Array:
        end = track[-1:] if last else np.zeros((1, track.shape[1]), np.float32)
        return np.concatenate([track, end * fade])

    return Motion(longer(motion.expression), longer(motion.rotation), longer(motion.translation), motion.fps)


@dataclass(frozen=True, eq=False)
class MixedSound(Sound):
    """Several sounds at once: at the highest of their rates, with the most of their channels."""

    sounds: tuple[Sound, ...] = ()
    gain: float = 1.0

    @classmethod
    def of(cls, sounds: Sequence[Sound]) -> MixedSound:
        """Mix `sounds`; they are read once to learn how loud they are together."""
        rate, channels = max(sound.rate for sound in sounds), max(sound.channels for sound in sounds)
        frames = max(-(-sound.frames * rate // sound.rate) for sound in sounds)
        whole = cls(rate, channels, frames, sounds[0]._decoder, sounds=tuple(sounds))
        peak = max((float(np.abs(block).max(initial=0)) for block in whole.blocks()), default=0.0)
        return cls(rate, channels, frames, sounds[0]._decoder, sounds=tuple(sounds), gain=1 / max(1.0, peak))

    def blocks(self, n: int = BLOCK) -> Generator[Array, None, None]:
        """The samples from the beginning: [<= n, channels] float32 in -1 to 1."""
        voices = [rechunked(resampled(sound, self.rate), n) for sound in self.sounds]
        for start in range(0, self.frames, n):
            block = np.zeros((min(n, self.frames - start), self.channels), np.float32)
            for voice in voices:
                part = next(voice, None)
                if part is not None:
                    part = part[: len(block)]
                    block[: len(part)] += part if part.shape[1] in (1, self.channels) else part.mean(1, keepdims=True)
            yield block * np.float32(self.gain)


def resampled(sound: Sound, rate: int) -> Iterator[Array]:
    """The blocks [n, channels] of `sound` at another rate."""
    if sound.rate == rate:
        yield from sound.blocks()
        return
    import soxr

    stream = soxr.ResampleStream(sound.rate, rate, sound.channels, dtype="float32")
    for block in sound.blocks():
        yield np.asarray(stream.resample_chunk(block), np.float32).reshape(-1, sound.channels)
    rest = stream.resample_chunk(np.zeros((0, sound.channels), np.float32), last=True)
    yield np.asarray(rest, np.float32).reshape(-1, sound.channels)


def rechunked(blocks: Iterable[Array], n: int) -> Iterator[Array]:
    """The same samples in blocks of `n`, the last one shorter."""
    waiting: list[Array] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= n:
            joined = np.concatenate(waiting)
            whole = len(joined) // n * n
            yield from (joined[start : start + n] for start in range(0, whole, n))
            waiting, count = [joined[whole:]], len(joined) - whole
    if count:
        yield np.concatenate(waiting)
