"""From a picture and a voice to a talking clip. Read `TalkingHead.speak` first."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .audio import AudioSource
from .dubbing import Length, check_length, dubbed, fitted, redrawing, watch
from .errors import AudioEmpty, InputError, TalkingHeadWarning, warn
from .face.geometry import stream_landmarks
from .face.tracker import MediaPipeTracker
from .image import ImageSource, load_image
from .motion.controls import Controls, Options
from .motion.curves import Curve
from .motion.phones import Segment
from .motion.spoken import FPS, Timed, known_segments, motion_of_phones
from .motion.style import StyleChoice
from .presets import DEFAULT, FaceChoice, load_parts, save_parts
from .protocols import Animator, AudioEncoder, FaceTracker, MotionGenerator
from .speakers import Voices, animated, drawn_together, find_everyone, followed_by_rest, parted
from .streaming import PieceEncoder, PieceGenerator, resampled, stream_motion
from .types import SAMPLE_RATE, Array, Clip, Frame, Motion, Portrait, Speech, exact_rate
from .video import open_video

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass
class TalkingHead:
    """A portrait speaks: four parts, each a callable that can be replaced by your own.

    face_tracker:     image [H, W, 3] to Portrait
    audio_encoder:    Speech to features [A, D]
    motion_generator: features to Motion
    animator:         portrait, motion and landmarks to frames
    """

    face_tracker: FaceTracker
    audio_encoder: AudioEncoder
    motion_generator: MotionGenerator
    animator: Animator

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = DEFAULT,
        *,
        device: str = "auto",
        animator: str | os.PathLike[str] | Animator | None = None,
        animator_options: Mapping[str, object] | None = None,
        face: FaceChoice = "largest",
    ) -> TalkingHead:
        """A talking head ready to use.

        name:     "micro", which comes with the package; a folder written by `save_pretrained` or by training; or a
                  Hugging Face hub id of one
        device:   "cpu", "cuda", "cuda:1", …; "auto" takes a GPU if there is one
        animator: "mesh", a folder of weights, or any callable of the Animator protocol; None takes the one that belongs
                  to `name`
        animator_options: of an animator given by name or folder, as {"framing": "frame"}; see `animators.options`
        face:     which face of the picture: "largest", its number from left to right, a box
                  (left, top, right, bottom) in pixels, or "all"

        Raises WeightsMissing, CheckpointMismatch, CheckpointCorrupt, UnsafeCheckpoint, NonFiniteWeights; InputError,
        ValueError.
        """
        device = choose_device(device)
        return cls(*load_parts(name, device=device, animator=animator, animator_options=animator_options, face=face))

    def speak(
        self,
        image: ImageSource | Portrait,
        audio: AudioSource | Speech | None = None,
        sample_rate: int | None = None,
        *,
        speakers: Mapping[int, AudioSource | Speech] | None = None,
        phones: Timed | None = None,
        words: Timed | None = None,
        **options: Unpack[Options],
    ) -> Clip:
        """The face in `image` says `audio`. Frames are drawn when the clip is iterated or saved.

        image:         a path, bytes, a PIL image, an array, or a Portrait whose face was found before
        audio:         a path, bytes, `(rate, array)`, an array with its `sample_rate`, or a Speech
        speakers:      in place of `audio`, what each face says: {0: "a.wav", 1: "b.wav"}, the leftmost is 0. The sounds
                       are mixed, and who does not speak lives on. With face="all" everyone says `audio`
        phones, words: what is said when, if it is known: [(start, end, "HH"), …] in seconds, in ARPAbet or IPA, or
                       [(start, end, "hello"), …] in English. The lips follow it, and no model listens
        options:       seed; expression_scale, mouth_scale and head_motion, 0 to 2: how strongly it moves
                       style ("shout"), articulation (0.4 to 1.6), lip_open (0 to 2): how jaw and lips speak
                       mood ("happy"), blink_rate (a minute), eye_open (0 to 1.4), gaze ((right, up) or "camera")

        `motion.controls.Controls` tells more of each option. Style, articulation, lip_open, mood, eye_open and gaze may
        change with time: [(0.0, "neutral"), (2.5, "shout")], seconds from the start.

        Raises the InputError or ValueError that names what is wrong before any model runs.
        """
        controls = Controls(**options)
        if speakers is not None or getattr(self.face_tracker, "face", None) == "all":
            return self._speak_together(image, Voices.of(audio, sample_rate, speakers, phones, words), controls)
        if audio is None:
            raise TypeError("speak needs audio, or speakers")
        speech = Speech.of(audio, sample_rate)
        segments = known_segments(phones, words, speech)
        portrait = self.portrait(image)  # image [H, W, 3], landmarks [478, 3]
        motion = self._say(speech, segments, controls)  # expression [T, 52], head pose [T, 6]
        motion = controls.enliven(motion)  # as strong as was asked for; blinks, gaze, a head never quite still; mood
        return self.draw(portrait, motion, speech)  # landmarks T × [478, 3], then frames T × [H, W, 3], and the sound

    def motion(
        self,
        audio: AudioSource | Speech,
        sample_rate: int | None = None,
        *,
        phones: Timed | None = None,
        words: Timed | None = None,
        **options: Unpack[Options],
    ) -> Motion:
        """What any face does while it says `audio`; the arguments are those of `speak`."""
        controls = Controls(**options)
        speech = Speech.of(audio, sample_rate)
        return controls.enliven(self._say(speech, known_segments(phones, words, speech), controls))

    def stream_motion(
        self,
        chunks: Iterable[Array],
        sample_rate: int = SAMPLE_RATE,
        **options: Unpack[Options],
    ) -> Iterator[Motion]:
        """The motion of speech while it is still being spoken: for each chunk what is certain by then, maybe nothing.

        chunks: [N] mono float32 samples, -1 to 1, at `sample_rate`, of any length

        The pieces together are what `motion` gives for the whole, the last 0.2 s of it when the chunks end (micro).
        The other arguments are those of `speak`. Memory does not grow.

        Raises ValueError for options out of range, and for an audio encoder that cannot hear pieces (the public
        Whisper models); TypeError for chunks of another kind.
        """
        controls = Controls(**options)
        if not hasattr(self.audio_encoder, "hear") or not hasattr(self.motion_generator, "look_ahead"):
            raise ValueError("this talking head's parts cannot hear a sound in pieces")
        encoder, generator = cast("PieceEncoder", self.audio_encoder), cast("PieceGenerator", self.motion_generator)
        return stream_motion(encoder, generator, resampled(chunks, sample_rate), controls)

    def _say(self, speech: Speech, segments: list[Segment] | None, controls: Controls) -> Motion:
        """The motion of `speech`: of its phones `segments` where they are known, else of what is heard."""
        if segments is not None:
            return motion_of_phones(segments, speech, controls.strengths(speech.frames(FPS)))
        features = self.audio_encoder(speech)  # [A, D]
        style = controls.strengths(math.ceil(len(features) * FPS / self.audio_encoder.rate))  # [T, 2] or neutral
        return self.motion_generator(features) if style is None else self.motion_generator(features, style=style)

    def _speak_together(self, image: ImageSource | Portrait, voices: Voices, controls: Controls) -> Clip:
        """Several faces of `image` speak, and those that have no voice live on."""
        picture = image.image if isinstance(image, Portrait) else load_image(image)
        portraits = [image] if isinstance(image, Portrait) else find_everyone(self.face_tracker, picture)
        moving = animated(portraits, voices.speakers)  # numbers of faces
        parts = parted([portraits[number] for number in moving])  # of the picture, one for each face
        speech = voices.mixed()
        said = {id(voice): self._say(voice, None, controls) for voice in voices}
        fps, motions = self.animator.fps or FPS, []
        for number in moving:
            motion = followed_by_rest(said.get(id(voices.of_face(number)), Motion.still(0, FPS)), speech.frames(FPS))
            alive = replace(controls, seed=controls.seed + number).enliven(motion)
            motions.append(alive.resample(fps, speech.frames(fps)))
        height, width = picture.shape[:2]

        def frames() -> Iterator[Frame]:
            return drawn_together(picture, parts, motions, self.animator)

        return Clip(frames, speech.frames(fps), (width, height), fps, speech)

    def draw(self, portrait: Portrait, motion: Motion, speech: Speech | None = None) -> Clip:
        """A clip of `portrait` moving by `motion`, as long as `speech` if there is one."""
        fps = self.animator.fps or motion.fps
        motion = motion.resample(fps, None if speech is None else speech.frames(fps))
        return self._clip(portrait, motion, speech)

    def _clip(self, portrait: Portrait, motion: Motion, speech: Speech | None) -> Clip:
        """A clip of all of `motion`, which has the animator's frame rate."""

        def frames() -> Iterator[Frame]:
            landmarks = stream_landmarks(portrait, motion)  # T × [478, 3]
            return self.animator(portrait, motion, landmarks)  # T × [H, W, 3]

        height, width = portrait.image.shape[:2]
        return Clip(frames, len(motion), (width, height), motion.fps, speech, motion)

    def animate(
        self,
        image: ImageSource | Portrait,
        motion: Motion | str | os.PathLike[str],
        *,
        expression_scale: float = 1.0,
        head_motion: float = 1.0,
    ) -> Clip:
        """The face in `image` moves by `motion`: a Motion, an npz file of one, or a video of another face.

        A video's sound comes along from its beginning; where it is longer than the picture, the last pose is held.
        An animator that reads motion from films itself, as LivePortrait does, is given a video as it is, if it is to
        move the face as strongly as it is filmed.

        Raises MotionUnreadable, VideoUnreadable, NoFaceFound and the errors of images.
        """
        controls = Controls(expression_scale=expression_scale, head_motion=head_motion)
        film = isinstance(motion, str | os.PathLike) and Path(motion).suffix.lower() != ".npz"
        if film and hasattr(self.animator, "reenact") and expression_scale == head_motion == 1:
            return self._reenacted(self.portrait(image), cast("str", motion), self.animator.reenact)
        moved, speech = self._motion_of(motion)
        moved = controls.scale(moved).resample(self.animator.fps or moved.fps)
        if speech is not None and speech.frames(moved.fps) > len(moved):
            moved = moved.resample(moved.fps, speech.frames(moved.fps))
        return self._clip(self.portrait(image), moved, speech)

    def dub(
        self,
        video: str | os.PathLike[str],
        audio: AudioSource | Speech,
        sample_rate: int | None = None,
        *,
        length: Length = "audio",
        mouth_scale: float = 1.0,
        style: StyleChoice = "neutral",
        articulation: Curve = 1.0,
        lip_open: Curve = 1.0,
        phones: Timed | None = None,
        words: Timed | None = None,
    ) -> Clip:
        """The face in a video file says `audio`: its jaw and lips are new, all else stays as it was filmed.

        length: "audio": the picture is cut at the end of the sound, or played back and forth until then;
                "video": the sound is cut at the end of the picture, or followed by silence

        The other arguments are those of `speak`. The video is read to follow the face, and again to draw it, shot by
        shot; each shot chooses its face anew. Size and frame rate stay. `untouched` of the clip tells which of its
        frames show no face and pass as they are; `motion` is that of the new mouth.

        Raises VideoUnreadable, NoFaceFound, and the errors of sounds and options.
        """
        controls = Controls(mouth_scale=mouth_scale, style=style, articulation=articulation, lip_open=lip_open)
        check_length(length)
        film, speech = open_video(video), Speech.of(audio, sample_rate)
        segments = known_segments(phones, words, speech)
        redraw = redrawing(self.animator)
        footage = watch(self.face_tracker, film)  # landmarks T × [478, 3] and what they do, without their noise
        if length == "video":
            speech, segments = fitted(speech, segments, len(footage) / exact_rate(float(film.fps)))
        motion = controls.articulate(self._say(speech, segments, controls))  # expression [T, 52]
        return dubbed(film, footage, motion, speech, redraw)

    def track(self, video: str | os.PathLike[str]) -> Motion:
        """The motion of the face in a video file. Raises VideoUnreadable, NoFaceFound."""
        follow = getattr(self.face_tracker, "track", None) or MediaPipeTracker().track
        motion: Motion = follow(open_video(video))
        return motion

    def portrait(self, image: ImageSource | Portrait) -> Portrait:
        """The portrait in `image`: find it once, let it speak often."""
        return image if isinstance(image, Portrait) else self.face_tracker(load_image(image))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the weights that `from_pretrained(folder)` loads: `config.json` and `model.safetensors`.

        Raises OutputExists if the folder holds a checkpoint, OutputNotWritable; TypeError for parts of your own.
        """
        return save_parts(self.audio_encoder, self.motion_generator, Path(folder))

    def _reenacted(self, portrait: Portrait, path: str, reenact: Callable[..., Iterator[Frame]]) -> Clip:
        """A clip of `portrait` doing what the face in the video `path` does, as `reenact` reads it."""
        film = open_video(path)
        follow = getattr(self.face_tracker, "follow", None) or MediaPipeTracker().follow
        landmarks, speech = follow(film), sound_of(path)  # [T, 478, 3]
        fps = float(film.fps)
        length = max(len(landmarks), 0 if speech is None else speech.frames(fps))

        def frames() -> Iterator[Frame]:
            for frame in reenact(portrait, film, landmarks):
                yield frame
            yield from repeat(frame, length - len(landmarks))

        height, width = portrait.image.shape[:2]
        return Clip(frames, length, (width, height), fps, speech)

    def _motion_of(self, motion: Motion | str | os.PathLike[str]) -> tuple[Motion, Speech | None]:
        if isinstance(motion, Motion):
            return motion, None
        if not isinstance(motion, str | os.PathLike):
            wanted = "a Motion, an npz file of one, or a video file"
            raise TypeError(f"motion must be {wanted}, not {type(motion).__name__}")
        if Path(motion).suffix.lower() == ".npz":
            return Motion.load(motion), None
        return self.track(motion), sound_of(motion)


def sound_of(video: str | os.PathLike[str]) -> Speech | None:
    """The sound of a video; None if it has none, or, with a warning, none that can be read."""
    try:
        return Speech.of(video)
    except AudioEmpty:  # a silent film
        return None
    except InputError as error:
        warn(TalkingHeadWarning, f"the sound is left out: {error}")
        return None


def choose_device(device: str) -> str:
    """The torch device that `device` stands for. Raises ValueError if it is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not isinstance(device, str) or not re.fullmatch(r"cpu|(cuda|xpu|mps)(:\d+)?", device):
        raise ValueError(f"device must be auto, cpu, cuda, cuda:1, mps or xpu, not {device!r:.40}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device} is not on this machine: {str(error).splitlines()[0]}") from error
    return device
