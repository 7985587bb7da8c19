"""Reading sound and video files with the ffmpeg program that imageio-ffmpeg brings.

ffmpeg follows playlists and URLs inside the files it is given, so a file from a stranger could make it read other
files or reach the network. Here it never learns a file name: it gets the opened file as its standard input, may use
no protocol but that, and may open only the containers listed in `CONTAINERS`, none of which is a playlist. (mov files
may point to others too; ffmpeg ignores that unless `enable_drefs` is set.)
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

CONTAINERS = (
    "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,ac3,eac3,amr,wv,"
    "mov,matroska,avi,asf,flv,mpeg,mpegts,mpegvideo,m4v"
)  # fmt: skip
# In MPEG streams and Ogg ffmpeg counts from the start of the tracks that it uses; this output of nothing uses both.
_COMMON_CLOCK = ("-map", "0:V:0?", "-map", "0:a:0?", "-c", "copy", "-t", "0.001", "-f", "null", "-")
STALL_SECONDS = 60  # no single block or frame takes this long; a program that does hangs


class FfmpegError(Exception):
    """What ffmpeg complained about; the modules that use it raise their own error from this."""


@dataclass(frozen=True)
class Reading:
    """ffmpeg at work: its output, and what it had to say."""

    process: subprocess.Popen[bytes]
    log: IO[str]

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end; raises FfmpegError if nothing comes for STALL_SECONDS."""
        assert self.process.stdout is not None
        stalled = threading.Event()

        def stop() -> None:
            stalled.set()
            self.process.kill()

        limit = threading.Timer(STALL_SECONDS, stop)
        limit.daemon = True
        limit.start()
        try:
            piece = self.process.stdout.read(size)
        finally:
            limit.cancel()
        if stalled.is_set():
            raise FfmpegError(f"nothing could be read for {STALL_SECONDS} s")
        return piece

    def lines(self) -> Iterator[str]:
        """The output as lines of text."""
        rest = ""
        while piece := self.read(65536):
            *lines, rest = (rest + piece.decode("ascii", "replace")).split("\n")
            yield from lines
        if rest:
            yield rest

    def complaint(self) -> str:
        """Wait for the end; the first thing that went wrong, or '' if all went well."""
        status = self.process.wait(STALL_SECONDS)
        return first_complaint(self.log) or (f"ffmpeg ended with status {status}" if status else "")


@contextlib.contextmanager
def reading(file: BinaryIO, *arguments: str, decoder: tuple[str, ...] = ()) -> Iterator[Reading]:
    """Run ffmpeg on `file`, a regular one or one in memory; `arguments` say what it writes to its output.

    `decoder` are options for reading the file. Time 0 is where the first of picture and sound starts, or before.

    The program is gone when the block ends, however it ends. Raises FfmpegError if it cannot be started.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, _on_disk(file) as source:
        process = _start(source, log, decoder, arguments)
        try:
            yield Reading(process, log)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()
            process.wait()


@contextlib.contextmanager
def _on_disk(file: BinaryIO) -> Iterator[IO[bytes]]:
    """`file` at its beginning, copied to a nameless temporary file if it is in memory: ffmpeg must be able to seek."""
    file.seek(0)
    if not isinstance(file, io.BytesIO):
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield copy


def _start(
    file: IO[bytes], log: IO[str], decoder: tuple[str, ...], arguments: tuple[str, ...]
) -> subprocess.Popen[bytes]:
    import imageio_ffmpeg

    options = ["-hide_banner", "-nostdin", "-loglevel", "error"]
    limits = ["-protocol_whitelist", "fd", "-format_whitelist", CONTAINERS]
    try:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, *limits, *decoder, "-i", "fd:"]
        outputs = [*arguments, "pipe:1", *_common_clock(file, command)]
        return subprocess.Popen([*command, *outputs], stdin=file, stdout=subprocess.PIPE, stderr=log)
    except (OSError, RuntimeError) as error:  # RuntimeError: imageio-ffmpeg has no program for this machine
        raise FfmpegError(f"the ffmpeg program cannot be started: {error}") from error


def _common_clock(file: IO[bytes], command: list[str]) -> tuple[str, ...]:
    """The output that makes `command` count from the start of both tracks, if `file` needs it and its tracks allow it.

    Those of a damaged or encrypted broadcast may not: its sound alone can still be read.
    """
    start = file.read(197)
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # of the file itself: ffmpeg goes on from there
    transport = start[::188] == b"GG" or start[4::192] == b"GG"  # 0x47 begins each packet of 188 bytes, m2ts adds 4
    if not (transport or start[:4] in (b"\0\0\1\xba", b"OggS")):
        return ()
    try:
        tried = subprocess.run([*command, *_COMMON_CLOCK], stdin=file, capture_output=True, timeout=STALL_SECONDS)
    except subprocess.TimeoutExpired:
        return ()
    finally:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    return _COMMON_CLOCK if tried.returncode == 0 else ()


def first_complaint(log: IO[str]) -> str:
    """The first line of an ffmpeg log, without the names and addresses of its parts; the rest follows from it."""
    return next(iter(_complaints(log)), "")


def last_complaint(log: IO[str]) -> str:
    """The last line of an ffmpeg log."""
    return next(iter(reversed(_complaints(log))), "")


def _complaints(log: IO[str]) -> list[str]:
    log.seek(0)
    lines = log.read(65536).splitlines()
    bare = [re.sub(r"^(\[[^]]* @ 0x[0-9a-f]+\] *)+", "", line).strip() for line in lines]
    return [line for line in bare if line]
