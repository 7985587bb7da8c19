"""Sound in: whatever the user has, checked, as 16 kHz mono for the models.

It is decoded, checked, mixed and resampled block by block, so the 16 kHz result is all that is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import (
    AudioEmpty,
    AudioFormatRefused,
    AudioNonFinite,
    AudioTooLong,
    AudioTooShort,
    AudioUnreadable,
    ClippedAudioWarning,
    PhaseCancelledWarning,
    SilentAudioWarning,
    TruncatedAudioWarning,
    warn,
)
from .files import local_path
from .sound import Array, ArrayDecoder, Decoder, FileDecoder, Sound

__all__ = ["SAMPLE_RATE", "AudioSource", "Sound", "check_duration", "open_sound"]

SAMPLE_RATE = 16_000  # Hz, what speech models are trained on
SHORTEST = 0.040  # s, one video frame
OVERSHOOT = 1.1  # lossy codecs pass full scale by up to this; players clip it, and so do we
SILENCE = 1e-3  # -60 dB of full scale, below any recorded speech
CANCELLED = 0.1  # the mix is this much weaker than the channels when their phases are opposed
MISSING = 0.1  # s; codecs round lengths by less than this


class ArrayLike(Protocol):
    """An array of any library that NumPy can read, such as a torch tensor on the CPU."""

    def __array__(self) -> NDArray[Any]: ...


Samples: TypeAlias = NDArray[Any] | ArrayLike | Sequence[float]
AudioSource: TypeAlias = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Samples | tuple[int, Samples]


def open_sound(
    audio: AudioSource,
    sample_rate: int | None = None,
    *,
    max_duration: float | None = None,
    strict: bool = False,
) -> tuple[Array, Sound]:
    """What the models hear, [N] float32 in -1 to 1 at 16 kHz, and the sound as it was given.

    audio:        a path, the bytes of a file, a binary file, `(rate, array)`, or an array with its `sample_rate`;
                  arrays are [N], [N, channels] or [channels, N], float in -1 to 1 or int16, int32, uint8 PCM
    max_duration: longest sound accepted, in seconds; None accepts any
    strict:       refuse a damaged or cut file instead of warning and using what is there

    Channels are averaged; where their phases cancel, the strongest one is used alone. Sound that exceeds
    -1 to 1 is scaled down. Both are warned of, and so is silence.

    Raises AudioUnreadable, AudioEmpty, AudioTooShort, AudioTooLong, AudioNonFinite, AudioFormatRefused;
    TypeError for other types.
    """
    decoder, name = _decoder(audio, sample_rate)
    check_duration(name, decoder.declared, decoder.rate, max_duration)
    heard, damage = _listen(decoder, name, max_duration)
    _check_whole(name, heard.frames, decoder, damage, strict)
    if heard.cancelled:
        loudest = int(np.argmax(heard.power))
        warn(PhaseCancelledWarning, f"{name}: its channels cancel each other; channel {loudest + 1} is used alone")
        heard, _ = _listen(decoder, name, max_duration, loudest)
    samples, gain = heard.samples(), 1.0
    if heard.peak > OVERSHOOT:
        gain = 1 / heard.peak
        samples *= np.float32(gain)
        warn(ClippedAudioWarning, f"{name}: peaks at {heard.peak:.3g} times full scale; it is scaled down")
    np.clip(samples, -1, 1, out=samples)
    if heard.loudest * gain < SILENCE:
        warn(SilentAudioWarning, f"{name}: is silent; the mouth will stay closed")
    return samples, Sound(decoder.rate, decoder.channels, heard.frames, decoder, gain)


def _decoder(audio: Any, sample_rate: int | None) -> tuple[Decoder, str]:
    """Who decodes `audio`, and what messages call it."""
    if isinstance(audio, tuple) and len(audio) == 2:
        if not isinstance(audio[0], int | np.integer):
            raise TypeError(f"in (rate, array) the rate must be a whole number of Hz, not {audio[0]!r:.40}")
        if sample_rate is not None:
            raise TypeError("give the sample rate once: in (rate, array) or as sample_rate")
        sample_rate, audio = audio
    if isinstance(audio, str | PathLike | bytes | bytearray | memoryview) or hasattr(audio, "read"):
        if sample_rate is not None:
            raise TypeError("sample_rate is for arrays; a file tells its own")
        return _file_decoder(audio)
    array = _array(audio)
    if sample_rate is None:
        raise TypeError("an array needs its sample_rate: give (rate, array), or sample_rate=")
    return ArrayDecoder.of(array, sample_rate), "the array"


def _file_decoder(audio: Any) -> tuple[FileDecoder, str]:
    if isinstance(audio, str | PathLike):
        path = local_path(audio, AudioFormatRefused)
        return FileDecoder.of(path, path.name), path.name
    content = audio.read() if hasattr(audio, "read") else bytes(audio)
    if not isinstance(content, bytes):
        raise TypeError(f"audio files must be opened in binary mode, not give {type(content).__name__}")
    if not content:
        raise AudioUnreadable("the given bytes: are empty (0 bytes)", "give the content of a sound file")
    return FileDecoder.of(content, "the given bytes"), "the given bytes"


def _array(audio: Any) -> NDArray[Any]:
    wanted = "a path, bytes, a binary file, (rate, array), or an array with sample_rate"
    if isinstance(audio, list | tuple) or hasattr(audio, "__array__"):
        try:
            return np.array(audio)  # a copy: the sound is read again when a video of it is saved
        except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, needs a gradient, rows of unequal length
            raise TypeError(f"audio must be {wanted}; this {type(audio).__name__} is none: {error}") from error
    raise TypeError(f"audio must be {wanted}, not {type(audio).__name__}")


@dataclass
class _Heard:
    """The sound so far at 16 kHz, and what was noticed on the way."""

    channels: int
    pcm: bytearray = field(default_factory=bytearray)  # grows without ever being held twice
    frames: int = 0
    peak: float = 0.0
    loudest: float = 0.0  # root mean square of the loudest block, without its constant part
    mixed_power: float = 0.0
    power: NDArray[np.float64] = field(init=False)  # [channels]

    def __post_init__(self) -> None:
        self.power = np.zeros(self.channels)

    @property
    def cancelled(self) -> bool:
        """Whether the mix is silent although a channel is not."""
        strongest = float(self.power.max())
        return strongest > self.frames * SILENCE**2 and self.mixed_power < CANCELLED**2 * strongest

    def measure(self, block: Array, mono: Array) -> None:
        """Take note of `block` [n, channels] and its mix [n]."""
        self.frames += len(block)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
        self.loudest = max(self.loudest, float(mono.std()))
        self.power += np.square(block, dtype=np.float64).sum(axis=0)
        self.mixed_power += float(np.square(mono, dtype=np.float64).sum())

    def samples(self) -> Array:
        """[N] float32 at 16 kHz, sharing memory with `pcm`."""
        return np.frombuffer(self.pcm, np.float32)


def _listen(decoder: Decoder, name: str, max_duration: float | None, channel: int | None = None) -> tuple[_Heard, str]:
    """The whole sound, mixed to mono or one `channel` of it, and the damage that ended it early ('' if none).

    Raises AudioNonFinite, AudioTooLong, AudioTooShort, AudioEmpty; AudioUnreadable if there is nothing but damage.
    """
    import soxr

    resampler = soxr.ResampleStream(decoder.rate, SAMPLE_RATE, 1, dtype="float32")
    heard, damage = _Heard(decoder.channels), ""
    try:
        for block in decoder.blocks(65536):
            _check_finite(name, block, heard.frames, decoder.rate)
            mono = block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])
            heard.measure(block, mono)
            check_duration(name, heard.frames, decoder.rate, max_duration)
            heard.pcm += resampler.resample_chunk(mono).tobytes()
    except AudioUnreadable as error:
        if not heard.frames:
            raise
        damage = str(error)
    heard.pcm += resampler.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
    _check_enough(name, heard.frames, decoder.rate)
    wanted = 4 * -(-heard.frames * SAMPLE_RATE // decoder.rate)  # bytes; the resampler may be a sample off
    del heard.pcm[wanted:]
    heard.pcm += bytes(wanted - len(heard.pcm))
    return heard, damage


def _check_finite(name: str, block: Array, before: int, rate: int) -> None:
    if not np.isfinite(block).all():
        bad = int(np.argmax(~np.isfinite(block).all(axis=1)))
        value = "NaN" if np.isnan(block[bad]).any() else "infinity"
        raise AudioNonFinite(f"{name}: holds {value} at {(before + bad) / rate:.4f} s", "repair or cut it there")


def check_duration(name: str, frames: int | None, rate: int, max_duration: float | None) -> None:
    """Raise AudioTooLong if so many frames, None if that is not known, last longer than `max_duration` seconds."""
    if frames is not None and max_duration is not None and frames > max_duration * rate:
        message = f"{name}: lasts over {max_duration:g} s, the longest accepted"
        raise AudioTooLong(message, "cut it, or raise max_duration")


def _check_enough(name: str, frames: int, rate: int) -> None:
    if not frames:
        raise AudioEmpty(f"{name}: holds no samples", "give at least 40 ms of sound")
    if frames < SHORTEST * rate:
        message = f"{name}: lasts {1000 * frames / rate:.3g} ms, less than one video frame"
        raise AudioTooShort(message, "give at least 40 ms of sound")


def _check_whole(name: str, frames: int, decoder: Decoder, damage: str, strict: bool) -> None:
    """Warn, or raise AudioUnreadable if `strict`, where the file held less sound than it promised."""
    missing = (decoder.declared or 0) - frames
    if not damage and missing <= MISSING * decoder.rate:
        return
    reason = damage or f"{name}: its header promises {missing / decoder.rate:.2f} s more than it holds"
    if strict:
        raise AudioUnreadable(reason, "copy or download it again, or pass strict=False")
    warn(TruncatedAudioWarning, f"{reason}; its first {frames / decoder.rate:.2f} s are used")
