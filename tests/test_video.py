import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from talkinghead.audio import Sound, open_sound
from talkinghead.errors import (
    AudioEmpty,
    OutputError,
    OutputExists,
    OutputNotWritable,
    VideoUnreadable,
)
from talkinghead.types import Frame
from talkinghead.video import open_video, write_video

from .bad_inputs import ffmpeg

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 210), (230, 220, 60), (128, 128, 128), (0, 0, 0), (255, 255, 255)]


def frames(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[Frame]:
    """Frames of one colour each."""
    for index in range(count):
        yield np.full((size[1], size[0], 3), COLOURS[index % len(COLOURS)], np.uint8)


def sound(seconds: float, rate: int = 44100, channels: int = 1) -> Sound:
    """A quiet tone with a click of 5 ms at every half second, and one at the very end."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.05 * np.sin(2 * np.pi * 300 * time)
    for start in (*np.arange(0.5, seconds - 0.1, 0.5), seconds - 0.005):
        wave[(time >= start) & (time < start + 0.005)] = 0.5
    return Sound.of_array(np.stack([wave] * channels, axis=1).astype(np.float32), rate)


def write(path: Path, count: int = 25, **changes: Any) -> Path:
    options: dict[str, Any] = {"size": (64, 48), "fps": Fraction(25), "count": count, "sound": None, "progress": False}
    return write_video(path, frames(count, changes.get("size", (64, 48))), **{**options, **changes})


@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 47), (101, 77)])
def test_a_video_gives_back_its_frames(size: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "out.mp4", 7, size=size)

    video = open_video(path)
    read = list(video.frames())

    width, height = size
    assert video.size == (width + width % 2, height + height % 2)
    assert (video.fps, video.count, len(read)) == (25, 7, 7)
    for found, colour in zip(read, COLOURS, strict=True):
        assert np.abs(found.astype(int) - colour).max() <= 5  # the whole frame: what was added is an edge again


@pytest.mark.parametrize(
    "fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(2997, 100), Fraction(12)]
)
def test_the_frame_rate_is_exact(fps: Fraction, tmp_path: Path) -> None:
    video = open_video(write(tmp_path / "out.mp4", 50, fps=fps))

    assert (video.fps, video.count) == (fps, 50)
    assert sum(1 for _ in video.frames()) == 50


@pytest.mark.parametrize(
    ("rate", "channels", "kept"),
    [
        (44100, 2, (44100, 2)),
        (48000, 1, (48000, 1)),
        (16000, 1, (16000, 1)),
        (8000, 2, (8000, 2)),
        (4000, 1, (7350, 1)),
        (37800, 1, (44100, 1)),
        (192_000, 6, (96000, 2)),
    ],
)
def test_the_sound_keeps_its_rate_and_its_length(
    rate: int, channels: int, kept: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / "out.mp4", 55, sound=sound(2.2, rate, channels))

    _, found = open_sound(path)

    assert (found.rate, found.channels) == kept
    assert found.frames / found.rate == pytest.approx(2.2, abs=1e-3)
    wave = np.abs(np.concatenate(list(found.blocks()))[:, 0])
    for start in (0.5, 1.0, 1.5, 2.0, 2.195):
        click = np.flatnonzero(wave > 0.25) / found.rate
        assert np.abs(click - start).min() < 0.002  # nothing is shifted or cut
    assert wave[: found.rate // 4].max() < 0.2


def test_sound_that_ends_within_a_frame_is_not_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "out.mp4", 26, sound=sound(1.0125))

    _, found = open_sound(path)

    assert found.frames / found.rate == pytest.approx(1.0125, abs=1e-3)
    assert open_video(path).count == 26


def test_a_video_without_sound_has_no_sound_track(tmp_path: Path) -> None:
    with pytest.raises(AudioEmpty, match="holds no sound track"):
        open_sound(write(tmp_path / "out.mp4"))


def test_the_index_is_at_the_beginning_so_that_browsers_can_start(tmp_path: Path) -> None:
    content = write(tmp_path / "out.mp4", sound=sound(1)).read_bytes()

    assert content.index(b"moov") < content.index(b"mdat")


def test_existing_videos_are_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    with pytest.raises(OutputExists):
        write(path)
    assert path.read_bytes() == b"old"
    write(path, force=True)

    assert open_video(path).count == 25


@pytest.mark.parametrize("name", ["out.webm", "out.gif", "out", "out.mkv"])
def test_other_containers_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match=r"must be named \.mp4, \.m4v or \.mov"):
        write(tmp_path / name)


@pytest.mark.parametrize("name", ["-dash.mp4", "名前 ünï 💬.mp4", "a b'c\n%03d:[d].mp4", "x" * 251 + ".MP4"])
def test_any_name_is_written_and_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, 3, sound=sound(0.12))

    assert os.listdir(tmp_path) == [name]
    assert open_video(path).count == 3
    assert open_sound(path)[1].frames / 44100 == pytest.approx(0.12, abs=1e-3)


def ffmpegs() -> list[psutil.Process]:
    """The running ffmpeg processes of this one; other tests may have left helpers of their own."""
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


class Stop(Exception):
    pass


def failing(error: BaseException) -> Iterator[Frame]:
    yield from frames(10)
    assert ffmpegs()
    raise error


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt(), OSError("of the frames")])
def test_a_failing_frame_leaves_no_file_and_no_process(error: BaseException, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"old")

    with pytest.raises(type(error)) as caught:
        write_video(
            tmp_path / "out.mp4",
            failing(error),
            size=(64, 48),
            fps=Fraction(25),
            count=20,
            sound=sound(0.8),
            force=True,
        )

    assert caught.value is error
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert not ffmpegs()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "at least one frame"),
        ([np.zeros((47, 64, 3), np.uint8)], r"must be \[48, 64, 3\] uint8, not \[47, 64, 3\] uint8"),
        ([np.zeros((48, 64, 3), np.float32)], "not .* float32"),
        ([None], "not NoneType"),
    ],
)
def test_wrong_frames_are_refused(made: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        write_video(tmp_path / "out.mp4", made, size=(64, 48), fps=Fraction(25), count=1, sound=None)

    assert os.listdir(tmp_path) == []


def killing() -> Iterator[Frame]:
    """Frames of a run whose ffmpeg is killed by another program."""
    for index, frame in enumerate(frames(500, (256, 256))):
        if index == 20:
            for child in ffmpegs():
                child.kill()
        yield frame


def test_a_killed_encoder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.mp4: ffmpeg ended with status -9: it was killed"):
        write_video(
            tmp_path / "out.mp4", killing(), size=(256, 256), fps=Fraction(25), count=500, sound=None, progress=False
        )

    assert os.listdir(tmp_path) == []


def test_a_failing_encoder_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkinghead.video.QUALITY", "nonsense")

    with pytest.raises(OutputError, match=r"out\.mp4: ffmpeg ended with status \d+: .*Invalid argument"):
        write(tmp_path / "out.mp4", 200)

    assert os.listdir(tmp_path) == []


LIMITED = """
import resource, sys, signal
from fractions import Fraction
import numpy as np
from talkinghead.audio import Sound
from talkinghead.errors import DiskFull
from talkinghead.video import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rng = np.random.default_rng(0)
frames = (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(100))
sound = Sound.of_array(rng.normal(0, 0.1, 44100 * 4), 44100) if sys.argv[2] == "sound" else None
try:
    write_video(sys.argv[1], frames, size=(128, 128), fps=Fraction(25), count=100, sound=sound, force=True)
except DiskFull as error:
    print("DiskFull", error)
"""


@pytest.mark.parametrize("what", ["sound", "picture"])
def test_a_full_disk_is_told_and_keeps_the_old_video(what: str, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    command = [sys.executable, "-c", LIMITED, path, what]
    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert run.stdout.startswith("DiskFull"), run.stderr
    assert "no space left" in run.stdout
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"old"


ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a script ignores it
import sys
from fractions import Fraction
import numpy as np
from talkinghead.video import write_video
def frames():
    for index in range(10**9):
        if index == 30:
            print("running", flush=True)
        yield np.full((48, 64, 3), index % 256, np.uint8)
write_video(sys.argv[1], frames(), size=(64, 48), fps=Fraction(25), count=10**9, sound=None, progress=False)
"""


def test_ctrl_c_stops_at_once_and_cleans_up(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", ENDLESS, tmp_path / "out.mp4"], stdout=-1, stderr=-1)
    assert run.stdout is not None
    assert run.stdout.readline() == b"running\n"
    children = psutil.Process(run.pid).children()
    assert children

    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=10)

    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert os.listdir(tmp_path) == []
    assert not any(child.is_running() for child in children)


def test_no_system_ffmpeg_is_needed(tmp_path: Path) -> None:
    code = """
import shutil, sys
from fractions import Fraction
import numpy as np
from talkinghead.audio import Sound, open_sound
from talkinghead.video import open_video, write_video
assert shutil.which("ffmpeg") is None
sound = Sound.of_array(np.sin(np.arange(16000) / 9), 16000)
black = np.zeros((48, 64, 3), np.uint8)
path = write_video(sys.argv[1], [black] * 25, size=(64, 48), fps=Fraction(25), count=25, sound=sound)
print(sum(1 for _ in open_video(path).frames()), len(open_sound(path)[0]))
"""
    environment = {**os.environ, "PATH": ""}
    command = [sys.executable, "-c", code, tmp_path / "out.mp4"]
    run = subprocess.run(command, env=environment, cwd=Path.cwd(), capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["25", "16000"]


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    code = """
import resource, sys
from fractions import Fraction
import numpy as np
from talkinghead.audio import open_sound
from talkinghead.video import open_video, write_video
from talkinghead.sound import Sound
frame = np.zeros((480, 640, 3), np.uint8)
def peak(count):
    sound = Sound.of_array(np.broadcast_to(np.float32(0), (48000 * count // 25, 2)), 48000)
    path = write_video(
        sys.argv[1], (frame for _ in range(count)),
        size=(640, 480), fps=Fraction(25), count=count, sound=sound, force=True)
    assert sum(1 for _ in open_video(path).frames()) == count
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
short = peak(10)
print(peak(500) - short)
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "out.mp4"], capture_output=True, text=True, check=True)

    assert int(run.stdout) < 10_000  # kB; the long one has 460 MB of frames


def test_a_turned_phone_video_is_upright(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.4", "-pix_fmt", "yuv420p", tmp_path / "flat.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4")

    flat, turned = (open_video(tmp_path / f"{name}.mp4") for name in ("flat", "turned"))

    assert (flat.size, turned.size) == ((96, 64), (64, 96))
    for before, after in zip(flat.frames(), turned.frames(), strict=True):
        assert np.abs(np.rot90(before).astype(int) - after).mean() < 3


def test_stretched_pixels_become_square(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.2", "-vf", "setsar=2", "-pix_fmt", "yuv420p", tmp_path / "dv.mp4")

    video = open_video(tmp_path / "dv.mp4")

    assert video.size == (192, 64)
    assert next(video.frames()).shape == (64, 192, 3)


@pytest.mark.parametrize("suffix", ["webm", "mkv", "avi", "mpg", "mov", "flv", "ts"])
def test_common_containers_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"in.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=1", "-pix_fmt", "yuv420p", path)

    video = open_video(path)

    assert (video.size, video.fps) == ((96, 64), 25)
    assert abs(video.count - 25) <= 1
    assert abs(sum(1 for _ in video.frames()) - 25) <= 1


def test_a_variable_frame_rate_becomes_constant_and_keeps_its_length(tmp_path: Path) -> None:
    choose = "select='lt(n,30)+not(mod(n,5))'"  # one second at 30, then four at 6
    source = ["-f", "lavfi", "-i", "testsrc=s=96x64:r=30:d=5", "-vf", choose, "-fps_mode", "vfr"]
    ffmpeg(*source, "-pix_fmt", "yuv420p", tmp_path / "in.mp4")

    video = open_video(tmp_path / "in.mp4")
    read = list(video.frames())

    assert len(read) == pytest.approx(video.count, abs=2)
    assert float(len(read) / video.fps) == pytest.approx(5, abs=0.25)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:d=0.04", tmp_path / "cover.png")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "song.mp3")
    cover = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic"]
    ffmpeg("-i", tmp_path / "song.mp3", "-i", tmp_path / "cover.png", *cover, tmp_path / "in.mp3")

    with pytest.raises(VideoUnreadable, match=r"in\.mp3: cannot be read as video: it holds no picture track"):
        open_video(tmp_path / "in.mp3")


HUGE = """
import resource, sys
from talkinghead.errors import VideoUnreadable
from talkinghead.video import open_video
try:
    open_video(sys.argv[1])
except VideoUnreadable as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def test_huge_frames_are_refused_before_one_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.mov"
    ffmpeg("-f", "lavfi", "-i", "color=s=9000x9000:r=1:d=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", path)

    run = subprocess.run([sys.executable, "-c", HUGE, path], capture_output=True, text=True, check=True)

    message, memory = run.stdout.splitlines()
    assert message.startswith("huge.mov: has frames of 9000 x 9000 pixels; at most 40 megapixels are accepted")
    assert int(memory) < 150_000  # kB; a decoded frame takes over 240,000


def test_bad_video_files_are_unreadable(tmp_path: Path) -> None:
    good = write(tmp_path / "good.mp4").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(9999))
    (tmp_path / "header.mp4").write_bytes(good[:600])
    (tmp_path / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:1.0,\n{(tmp_path / 'good.mp4').as_uri()}\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'good.mp4'}'\n")
    bad = ["pipe", "empty.mp4", "text.mp4", "random.mp4", "header.mp4", "playlist.mp4", "concat.mp4", "missing.mp4", ""]

    for name in bad:
        with pytest.raises(VideoUnreadable) as caught:
            open_video(tmp_path / name)
        assert str(caught.value).startswith(f"{name or tmp_path.name}: ")
        assert len(str(caught.value).splitlines()) == 1


def test_a_cut_video_gives_its_frames_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:d=4", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read: list[Frame] = []

    with pytest.raises(VideoUnreadable, match=r"cut\.mp4: is damaged"):
        read.extend(open_video(path).frames())

    assert 10 < len(read) < 80


def test_an_abandoned_video_leaves_no_process(tmp_path: Path) -> None:
    read = open_video(write(tmp_path / "in.mp4", 200, size=(320, 240))).frames()
    next(read)
    assert ffmpegs()

    read.close()  # type: ignore[attr-defined]

    assert not ffmpegs()


def test_the_bar_is_shown_only_on_request_or_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "quiet.mp4", progress=None)
    assert capsys.readouterr().err == ""

    write(tmp_path / "loud.mp4", progress=True)
    assert "25/25" in capsys.readouterr().err
