"""A sound as it was given: at its own rate, with all its channels, read block by block.

Files are decoded by libsndfile (soundfile) where it knows the format and by ffmpeg otherwise. A decoded copy is
never held; whoever needs the sound reads it again.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import AudioEmpty, AudioFormatRefused, AudioUnreadable, InputError
from .ffmpeg import FfmpegError, Reading, reading
from .files import open_regular

Array = NDArray[np.float32]
Blocks: TypeAlias = Generator[Array, None, None]

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz; outside lie damaged headers, and a rate of 1 Hz would blow up 16,000 times
MAX_CHANNELS = 8
FORMATS = "wav, flac, ogg, mp3, aiff, m4a, mp4, mov, mkv, webm, mpg"
_BLOCK = 4096  # frames read at a time from files; where one is damaged, its whole block is lost
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")
_UNKNOWN_LENGTHS = {0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 36}  # bytes; written by programs that record into a pipe
_SOX_UNKNOWN = 0x7FFFF000  # the same by SoX (MS_UNSPEC in its wav.c), which rounds it down to whole frames
_IN_STEP = "asetpts='PTS-min(0,STARTPTS)',aresample=async=1:first_pts=0"  # fills up with silence, cuts off nothing
_LONGEST_GAP = 60  # s; a longer one is a wrong time, and a small file may promise any: ffmpeg would fill its memory
_ENDLESS = 1 << 40  # frames, a month at MAX_RATE; libsndfile says 2**63 - 1 where a flac file does not tell its length


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound as it was given.

    rate:     frames per second in Hz, 4,000 to 384,000
    channels: 1 to 8
    frames:   length; frames / rate is in seconds
    """

    rate: int
    channels: int
    frames: int
    _decoder: Decoder = field(repr=False)
    _gain: float = field(default=1.0, repr=False)

    @classmethod
    def of_array(cls, samples: NDArray[Any], rate: int) -> Sound:
        """The sound in `samples` [N], [N, channels] or [channels, N]: float in -1 to 1, or integer PCM.

        The array is neither copied nor changed. Raises AudioFormatRefused, TypeError.
        """
        decoder = ArrayDecoder.of(samples, rate)
        return cls(decoder.rate, decoder.channels, decoder.declared, decoder)

    def blocks(self, n: int = 65536) -> Blocks:
        """The samples from the beginning: [<= n, channels] float32 in -1 to 1."""
        left = self.frames
        with contextlib.closing(self._decoder.blocks(n)) as blocks:
            while left > 0 and (block := next(blocks, None)) is not None:
                yield block[:left] if self._gain == 1 else block[:left] * np.float32(self._gain)
                left -= len(block)


@dataclass(frozen=True, eq=False)
class ArrayDecoder:
    """Samples in memory: [N] or [N, channels], as the user's program holds them."""

    samples: NDArray[Any]
    rate: int
    channels: int
    declared: int

    @classmethod
    def of(cls, samples: NDArray[Any], rate: int) -> ArrayDecoder:
        """Check type, shape and rate; raises TypeError, AudioFormatRefused."""
        if samples.dtype.kind != "f" and samples.dtype not in (np.int16, np.int32, np.uint8):
            raise TypeError(
                f"audio arrays must hold floats in -1 to 1, or int16, int32 or uint8 PCM, not {samples.dtype}"
            )
        if samples.ndim not in (1, 2):
            raise TypeError(f"audio arrays must be [N], [N, channels] or [channels, N], not {list(samples.shape)}")
        if not samples.size:
            raise AudioEmpty("the array holds no samples", "give at least 40 ms of sound")
        if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
            samples = samples.T
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        check_rate("the array", rate)
        check_channels("the array", channels)
        return cls(samples, int(rate), channels, len(samples))

    def blocks(self, n: int) -> Blocks:
        for start in range(0, self.declared, n):
            yield _to_float(self.samples[start : start + n]).reshape(-1, self.channels)


def _to_float(samples: NDArray[Any]) -> Array:
    """Float samples as they are, integer PCM scaled to -1 to 1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    middle = 128 if samples.dtype == np.uint8 else 0
    full = 1 << (8 * samples.dtype.itemsize - 1)
    return ((samples.astype(np.float64) - middle) / full).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FileDecoder:
    """A sound file on disk or in memory.

    source:    its path or its content
    name:      what messages call it
    by:        who reads it: "soundfile" or "ffmpeg"
    complaint: what soundfile found wrong with a file that only ffmpeg could read
    """

    source: Path | bytes = field(repr=False)
    name: str
    by: str
    rate: int
    channels: int
    declared: int | None
    complaint: str = ""

    @classmethod
    def of(cls, source: Path | bytes, name: str) -> FileDecoder:
        """Find out who can read the file, and its rate and channels; raises AudioUnreadable, AudioFormatRefused."""
        with _opened(source) as file:
            start = file.read(16)
            if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS):
                raise AudioFormatRefused(f"{name}: is a playlist, not a sound", "give the sound file itself")
            decoder = cls._by_soundfile(source, name, file)
        check_rate(name, decoder.rate)
        check_channels(name, decoder.channels)
        return decoder

    @classmethod
    def _by_soundfile(cls, source: Path | bytes, name: str, file: BinaryIO) -> FileDecoder:
        import soundfile

        file.seek(0)
        try:
            with soundfile.SoundFile(file) as sound:
                if sound.frames > _ENDLESS:  # libsndfile cannot read its last block
                    return cls._by_ffmpeg(source, name, "")
                if not sound.frames and (streamed := cls._streamed(source, name)):
                    return streamed
                declared = _declared_frames(sound)
                return cls(source, name, "soundfile", sound.samplerate, sound.channels, declared)
        except soundfile.LibsndfileError as error:
            damaged = "malformed" in error.error_string
            return cls._by_ffmpeg(source, name, error.error_string if damaged else "")

    @classmethod
    def _streamed(cls, source: Path | bytes, name: str) -> FileDecoder | None:
        """A file whose header says 0 because its writer could not go back; None if ffmpeg finds no sound either."""
        with contextlib.suppress(InputError):
            decoder = cls._by_ffmpeg(source, name, "")
            with contextlib.closing(decoder.blocks(1)) as blocks:
                return decoder if next(blocks, None) is not None else None
        return None

    @classmethod
    def _by_ffmpeg(cls, source: Path | bytes, name: str, complaint: str) -> FileDecoder:
        with _opened(source) as file, _decoding(file, name) as (rate, channels, _):
            return cls(source, name, "ffmpeg", rate, channels, None, complaint)

    def blocks(self, n: int) -> Blocks:
        blocks = self._soundfile_blocks if self.by == "soundfile" else self._ffmpeg_blocks
        yield from blocks(n)
        if self.complaint:
            raise AudioUnreadable(f"{self.name}: {self.complaint}")

    def _soundfile_blocks(self, n: int) -> Blocks:
        import soundfile

        with _opened(self.source) as file:
            try:
                with soundfile.SoundFile(file) as sound:
                    while len(block := sound.read(min(n, _BLOCK), dtype="float32", always_2d=True)):
                        yield block
            except soundfile.LibsndfileError as error:
                raise AudioUnreadable(f"{self.name}: is damaged: {error.error_string}") from error

    def _ffmpeg_blocks(self, n: int) -> Blocks:
        with _opened(self.source) as file, _decoding(file, self.name) as (_, channels, pipe):
            width = 4 * channels  # bytes in a frame
            while piece := pipe.read(n * width):
                whole = len(piece) // width * width
                yield np.frombuffer(piece[:whole], ">f4").astype(np.float32).reshape(-1, channels)
            if complaint := pipe.complaint():
                raise AudioUnreadable(f"{self.name}: is damaged: {complaint}")


Decoder: TypeAlias = ArrayDecoder | FileDecoder


@contextlib.contextmanager
def _decoding(file: BinaryIO, name: str) -> Iterator[tuple[int, int, Reading]]:
    """ffmpeg decoding the first sound track of `file`: its rate, its channels, and big-endian float32 samples.

    In a film, the track may start after the picture or pause: silence keeps it in step, as `Video.frames` repeats
    pictures.
    """
    hint = f"give {FORMATS}, with a sound track"
    in_step = ["-af", _IN_STEP, "-dts_error_threshold", str(_LONGEST_GAP)]
    try:
        # au is the simplest container that tells rate and channels and needs no length in advance
        with reading(file, "-map", "0:a:0", *in_step, "-c:a", "pcm_f32be", "-f", "au") as pipe:
            header = pipe.read(24)
            if len(header) < 24:
                complaint = pipe.complaint() or "holds no sound"
                if "matches no streams" in complaint:
                    raise AudioEmpty(f"{name}: holds no sound track", hint)
                if "not on whitelist" in complaint:
                    raise AudioFormatRefused(f"{name}: this kind of file is not accepted", hint)
                raise AudioUnreadable(f"{name}: cannot be read as sound: {complaint}", hint)
            _, offset, _, _, rate, channels = struct.unpack(">4s5I", header)
            pipe.read(offset - len(header))
            yield rate, channels, pipe
    except FfmpegError as error:
        raise AudioUnreadable(f"{name}: cannot be read as sound: {error}", hint) from error


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return open_regular(source, AudioUnreadable)


def _declared_frames(sound: Any) -> int | None:
    """How many frames the header of a file opened by soundfile promises; None where it does not know.

    libsndfile corrects the length of cut wav and aiff files by itself, and tells so only in its log.
    """
    corrected = re.search(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if corrected is None:
        return int(sound.frames)
    promised, present = int(corrected[1]), int(corrected[2])
    if promised in _UNKNOWN_LENGTHS or not present or not sound.frames:
        return None
    width = max(1, present // sound.frames)  # bytes in a frame
    if promised == _SOX_UNKNOWN // width * width:
        return None
    return int(sound.frames) * promised // present


def check_rate(name: str, rate: Any) -> None:
    """Raise AudioFormatRefused unless `rate` is one that sound has; TypeError unless it is a whole number."""
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
        raise TypeError(f"sample_rate must be a whole number of Hz, not {rate!r}")
    if not MIN_RATE <= rate <= MAX_RATE:
        wanted = f"{MIN_RATE:,} to {MAX_RATE:,} Hz are accepted"
        raise AudioFormatRefused(f"{name}: has a sample rate of {rate:,} Hz; {wanted}", "resample or repair it")


def check_channels(name: str, channels: int) -> None:
    """Raise AudioFormatRefused for more channels than 7.1 sound has."""
    if channels > MAX_CHANNELS:
        message = f"{name}: has {channels} channels; at most {MAX_CHANNELS} are accepted"
        raise AudioFormatRefused(message, "mix it down, or check the order of the array's axes")
