"""Video out and in: frames are written and read one by one, by the ffmpeg program that imageio-ffmpeg brings."""

from __future__ import annotations

import contextlib
import re
import signal
import tempfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import AudioUnreadable, DiskFull, OutputError, OutputNotWritable, VideoUnreadable
from .ffmpeg import FfmpegError, Reading, last_complaint, reading
from .files import check_new_file, local_path, new_file, open_regular
from .pixels import MAX_PIXELS, Frame
from .sound import Sound

SUFFIXES = (".mp4", ".m4v", ".mov")  # containers that keep the exact length of AAC sound; mkv pads it
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz
QUALITY = 17  # x264's constant rate factor; below 18 the eye finds no loss
_DECODED = MAX_PIXELS * 21 // 20  # pixels; decoders round frames up to whole blocks, which is no reason to refuse them
MAX_FPS = 120  # above lies the clock of a file of variable frame rate, not its frame rate
_ROUNDING = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"  # else all colours get a level darker
_SQUARE = f"scale=iw*sar:ih:flags={_ROUNDING},setsar=1"  # stretches anamorphic video


def check_new_video(path: str | PathLike[str], force: bool = False) -> Path:
    """Like `check_new_file`, and the name must end in one of SUFFIXES; raises the same errors."""
    if Path(path).suffix.lower() not in SUFFIXES:
        message = f"{path}: a video must be named {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise OutputNotWritable(message, "give it the suffix .mp4")
    return check_new_file(path, force)


def write_video(
    path: str | PathLike[str],
    frames: Iterable[Frame],
    *,
    size: tuple[int, int],
    fps: Fraction,
    count: int,
    sound: Sound | None,
    force: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write `frames` [H, W, 3] uint8 RGB and `sound` to an H.264 (yuv420p, BT.709) and AAC video, in one pass.

    size:     width and height of the frames; where one is odd, the last column or row is doubled, since yuv420p
              needs even ones
    fps:      exact frame rate
    count:    how many frames will come, for the progress bar
    sound:    keeps its rate (or the next one that AAC has) and its channels; over two are mixed to stereo
    force:    replace a file that exists
    progress: show a bar; None shows it on a terminal

    Raises OutputExists, OutputNotWritable, DiskFull, OutputError; ValueError for frames of another size or none.
    What the frames raise passes through. In every case no part of a video is left behind.
    """
    check_new_video(path, force)
    with new_file(path, force=force) as part:
        voice = part.with_suffix(".wav")  # beside the video: the folder of temporary files may be in memory
        try:
            if sound is not None:
                _write_sound(voice, sound)
            track = None if sound is None else (voice, sound)
            _encode(part, Path(path), _with_bar(frames, count, progress), size, fps, track)
        finally:
            voice.unlink(missing_ok=True)
    return Path(path)


def _with_bar(frames: Iterable[Frame], count: int, progress: bool | None) -> Iterable[Frame]:
    from tqdm import tqdm

    hidden = None if progress is None else not progress
    return tqdm(frames, total=count, desc="frames", unit="frame", disable=hidden)


def _write_sound(path: Path, sound: Sound) -> None:
    """A 16-bit wav file of `sound` for ffmpeg to read; RF64, because plain wav ends at 4 GB."""
    import soundfile

    try:
        with soundfile.SoundFile(path, "w", sound.rate, sound.channels, "PCM_16", format="RF64") as file:
            written = 0
            for block in sound.blocks():
                file.write(block)
                written += len(block)
    except soundfile.LibsndfileError as error:  # which tells no more than that the system refused
        message = f"{path.parent}: no space left for the sound of the video"
        raise DiskFull(message, "free some space or choose another folder") from error
    if written < sound.frames:
        found = f"{written / sound.rate:.2f} of {sound.frames / sound.rate:.2f} s"
        raise AudioUnreadable(
            f"the sound has changed since it was opened: {found} are left", "keep the file until saving"
        )


def _encode(
    part: Path,
    target: Path,
    frames: Iterable[Frame],
    size: tuple[int, int],
    fps: Fraction,
    sound: tuple[Path, Sound] | None,
) -> None:
    """Run moviepy's writer over `frames`; ffmpeg is gone when this returns or raises."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        writer = _writer(part, size, fps, sound, log)
        process = writer.proc
        try:
            written = 0
            for frame in frames:
                _check_frame(frame, size)
                try:
                    writer.write_frame(frame)
                except OSError:  # ffmpeg has gone; its log says why
                    break
                written += 1
            with contextlib.suppress(OSError):
                process.stdin.close()
            status = process.wait()
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()
        if status:
            raise _encoder_error(target, status, last_complaint(log))
        if not written:
            raise ValueError("a video needs at least one frame")


def _writer(part: Path, size: tuple[int, int], fps: Fraction, sound: tuple[Path, Sound] | None, log: IO[str]) -> Any:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    options, voice = _video_options(size, fps), None
    if sound is not None:
        voice = str(sound[0])
        options += _audio_options(sound[1])
    try:
        return FFMPEG_VideoWriter(
            str(part),
            size,
            float(fps),
            preset="veryfast",
            audiofile=voice,
            audio_codec="aac",
            logfile=log,
            ffmpeg_params=options,
        )
    except OSError as error:
        raise OutputError(f"the ffmpeg program cannot be started: {error}", "reinstall imageio-ffmpeg") from error


def _video_options(size: tuple[int, int], fps: Fraction) -> list[str]:
    # moviepy rounds the rate to two digits, so every frame gets its exact time here
    filters = [f"settb={fps.denominator}/{fps.numerator}", "setpts=N"]
    right, bottom = size[0] % 2, size[1] % 2
    if right or bottom:
        filters += [f"pad=iw+{right}:ih+{bottom}", f"fillborders=right={right}:bottom={bottom}:mode=smear"]
    bt709 = "colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    filters += [f"scale=out_color_matrix=bt709:out_range=tv:flags={_ROUNDING}", "format=yuv420p", f"setparams={bt709}"]
    rate = ["-r", f"{fps.numerator}/{fps.denominator}"]
    quality = ["-crf", str(QUALITY), "-movflags", "+faststart"]
    return ["-hide_banner", "-nostats", "-loglevel", "error", "-vf", ",".join(filters), *rate, *quality]


def _audio_options(sound: Sound) -> list[str]:
    """AAC at the rate of `sound`, or the next one up that AAC has."""
    rate = next((rate for rate in AAC_RATES if rate >= sound.rate), AAC_RATES[-1])
    channels = min(sound.channels, 2)
    options = ["-ar", str(rate), "-ac", str(channels), "-b:a", f"{96 * channels}k"]
    if sound.channels > 2:  # a sum of channels must not exceed full scale
        options += ["-af", "aresample=out_chlayout=stereo:rematrix_maxval=1"]
    return options


def _check_frame(frame: Any, size: tuple[int, int]) -> None:
    width, height = size
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape != (height, width, 3):
        given = f"{list(frame.shape)} {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ValueError(f"frames must be [{height}, {width}, 3] uint8, not {given}")


def _encoder_error(target: Path, status: int, reason: str) -> OutputError:
    too_large = status == -getattr(signal, "SIGXFSZ", 0)
    if too_large or "No space left" in reason or "File too large" in reason:
        return DiskFull(f"{target}: no space left to write it", "free some space or choose another folder")
    return OutputError(f"{target}: ffmpeg ended with status {status}: {reason or 'it was killed'}")


@dataclass(frozen=True, eq=False)
class Video:
    """A video file, read frame by frame. Its sound is read by `open_sound(video.path)`.

    size:  width and height in pixels, upright and with square pixels
    fps:   frame rate; a variable one is made constant, at its average
    count: how many frames `frames` gives, by the times in the file; damage may make them fewer
    """

    path: Path
    size: tuple[int, int]
    fps: Fraction
    count: int

    def frames(self) -> Generator[Frame, None, None]:
        """The frames [H, W, 3] uint8 RGB; raises VideoUnreadable where the file is damaged."""
        width, height = self.size
        rate = f"{self.fps.numerator}/{self.fps.denominator}"
        scale = f"{_SQUARE},scale={width}:{height}:flags={_ROUNDING},format=rgb24"
        output = ["-map", "0:V:0", "-vf", scale, "-fps_mode", "cfr", "-r", rate, "-pix_fmt", "rgb24", "-f", "rawvideo"]
        with _reading(self.path, *output) as pipe:
            while len(pixels := pipe.read(width * height * 3)) == width * height * 3:
                yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            if complaint := pipe.complaint():
                raise VideoUnreadable(f"{self.path.name}: is damaged: {complaint}", "copy or convert it again")


def open_video(path: str | PathLike[str]) -> Video:
    """Look into a video file.

    mp4, mov, mkv, webm, avi, flv, asf and mpg are read; never a playlist or a URL.
    Raises VideoUnreadable.
    """
    file = local_path(path, VideoUnreadable)
    picture = ["-map", "0:V:0"]  # V leaves out cover pictures
    with _reading(file, *picture, "-vf", _SQUARE, "-frames:v", "1", "-f", "framecrc") as pipe:
        first = _Table.read(file, pipe)
    with _reading(file, *picture, "-c", "copy", "-f", "framecrc") as pipe:
        packets = _Table.read(file, pipe)
    if first.size[0] * first.size[1] > MAX_PIXELS:
        raise _too_large(file, *first.size)
    fps = 1 / first.tick
    if fps > MAX_FPS and packets.end:
        fps = min(Fraction(packets.rows / packets.end).limit_denominator(1001), Fraction(MAX_FPS))
    return Video(file, first.size, fps, max(1, round(packets.end * fps)))


@dataclass(frozen=True)
class _Table:
    """What ffmpeg's framecrc format tells about a video track: a header, and a row of times for each frame."""

    tick: Fraction  # s, the unit of the times
    size: tuple[int, int]
    rows: int
    end: Fraction  # s, when the last frame ends

    @classmethod
    def read(cls, path: Path, pipe: Reading) -> _Table:
        """Raises VideoUnreadable if there is no frame."""
        header: dict[str, str] = {}
        rows = end = 0
        for line in pipe.lines():
            if line.startswith("#"):
                key, _, value = line[1:].partition(": ")
                header[key] = value.strip()
            else:
                _, decoded, shown, duration, *_ = line.split(",")
                # old containers do not say when each frame is shown; that is a huge negative number here
                rows, end = rows + 1, max(end, max(int(decoded), int(shown)) + int(duration))
        if not rows:
            complaint = pipe.complaint() or "no frame could be decoded"
            if promised := re.search(r"Picture size (\d+)x(\d+) exceeds", complaint):
                raise _too_large(path, *map(int, promised.groups()))
            if "matches no streams" in complaint:
                complaint = "it holds no picture track"
            hint = "give mp4, mov, mkv, webm, avi or mpg"
            raise VideoUnreadable(f"{path.name}: cannot be read as video: {complaint}", hint)
        width, height = map(int, header["dimensions 0"].split("x"))
        tick = Fraction(header["tb 0"])
        return cls(tick, (width, height), rows, end * tick)


def _too_large(path: Path, width: int, height: int) -> VideoUnreadable:
    most = f"at most {MAX_PIXELS // 1_000_000} megapixels are accepted"
    return VideoUnreadable(f"{path.name}: has frames of {width} x {height} pixels; {most}", "scale it down")


@contextlib.contextmanager
def _reading(path: Path, *output: str) -> Iterator[Reading]:
    with open_regular(path, VideoUnreadable) as file:
        try:
            with reading(file, *output, decoder=("-max_pixels:V", str(_DECODED))) as pipe:
                yield pipe
        except FfmpegError as error:
            raise VideoUnreadable(f"{path.name}: cannot be read as video: {error}") from error
