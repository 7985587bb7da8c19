import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch

from talkinghead.audio import SAMPLE_RATE, Sound, open_sound
from talkinghead.errors import (
    AudioEmpty,
    AudioFormatRefused,
    AudioTooLong,
    AudioTooShort,
    AudioUnreadable,
    ClippedAudioWarning,
    InputError,
    PhaseCancelledWarning,
    TruncatedAudioWarning,
)
from talkinghead.video import open_video

from .bad_inputs import ffmpeg


def tone(rate: int, seconds: float = 1.0, hertz: float = 220) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


HEARD = tone(SAMPLE_RATE)


def rms(samples: Any) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def whole(sound: Sound) -> Any:
    return np.concatenate(list(sound.blocks()))


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 44100, 48000, 192000, 384000])
def test_any_rate_is_heard_as_the_same_tone(rate: int) -> None:
    samples, sound = open_sound((rate, tone(rate)))

    assert (sound.rate, sound.channels, sound.frames) == (rate, 1, rate)
    assert samples.shape == (SAMPLE_RATE,)
    assert samples.dtype == np.float32
    assert rms((samples - HEARD)[500:-500]) < 1e-3


@pytest.mark.parametrize("frames", [1764, 1765, 44099, 44101, 97020])
def test_the_length_is_exact(frames: int) -> None:
    samples, sound = open_sound((44100, tone(44100, 3)[:frames]))

    assert len(samples) == -(-frames * SAMPLE_RATE // 44100)
    assert sum(len(block) for block in sound.blocks(1000)) == sound.frames == frames


@pytest.mark.parametrize(
    ("dtype", "scale", "middle"),
    [("float16", 1, 0), ("float64", 1, 0), ("int16", 2**15, 0), ("int32", 2**31, 0), ("uint8", 128, 128)],
)
def test_samples_of_any_kind_sound_the_same(dtype: str, scale: int, middle: int) -> None:
    given = (tone(SAMPLE_RATE).astype(np.float64) * scale + middle).astype(dtype)
    kept = given.copy()
    given.flags.writeable = False

    samples, sound = open_sound(given, SAMPLE_RATE)

    assert np.abs(samples - HEARD).max() < (1 / 64 if dtype == "uint8" else 1e-3)
    np.testing.assert_array_equal(whole(sound)[:, 0], samples)
    np.testing.assert_array_equal(given, kept)


def as_list() -> Any:
    return HEARD.tolist()


def as_columns() -> Any:
    return np.stack([HEARD] * 2, axis=1)


def as_rows() -> Any:
    return np.stack([HEARD] * 2)


def as_every_other_sample() -> Any:
    return np.repeat(HEARD, 2)[::2]


def as_tensor() -> Any:
    return torch.from_numpy(HEARD.copy())


@pytest.mark.parametrize("make", [as_list, as_columns, as_rows, as_every_other_sample, as_tensor])
def test_arrays_of_any_layout_sound_the_same(make: Any) -> None:
    for arguments in [(make(), SAMPLE_RATE), ((SAMPLE_RATE, make()),)]:
        samples, _ = open_sound(*arguments)

        np.testing.assert_allclose(samples, HEARD, atol=1e-6)


@pytest.mark.parametrize(
    ("audio", "rate", "words"),
    [
        (None, None, "audio must be a path, bytes, a binary file"),
        (3.5, 16000, "not float"),
        (HEARD, None, "needs its sample_rate"),
        ("a.wav", 16000, "a file tells its own"),
        ((16000, HEARD), 16000, "once"),
        (HEARD, 16000.5, "whole number of Hz"),
        (HEARD.astype(np.int64), 16000, "not int64"),
        (HEARD > 0, 16000, "not bool"),
        (np.zeros((2, 2, 2)), 16000, r"not \[2, 2, 2\]"),
        ([[0.0], [0.0, 0.0]], 16000, "this list is none"),
        (torch.zeros(9, requires_grad=True), 16000, "requires grad"),
        (torch.zeros(9, device="meta"), 16000, "this Tensor is none"),
        (io.StringIO("text"), None, "binary mode"),
    ],
)
def test_other_types_are_refused_with_what_is_accepted(audio: Any, rate: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        open_sound(audio, rate)


@pytest.mark.parametrize("rate", [0, -1, 1, 3999, 384_001, 10**9])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioFormatRefused, match="4,000 to 384,000 Hz are accepted"):
        open_sound(HEARD, rate)


def test_a_file_is_heard_alike_from_its_path_its_bytes_and_a_file_object(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, HEARD, SAMPLE_RATE)
    content = path.read_bytes()

    with open(path, "rb") as file:
        for source in (path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), file):
            samples, sound = open_sound(source)

            np.testing.assert_allclose(samples, HEARD, atol=1e-4)
            np.testing.assert_array_equal(whole(sound), whole(sound))  # it can be read again


def test_an_empty_file_object_is_unreadable() -> None:
    for source in (b"", io.BytesIO()):
        with pytest.raises(AudioUnreadable, match="0 bytes"):
            open_sound(source)


COMPRESSED = ["m4a", "mp4", "webm", "mkv", "mpg", "mov", "aac", "mp3", "ogg", "opus", "flac", "wma", "aiff"]


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_files_are_heard(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", np.stack([tone(48000, 2)] * 2, axis=1), 48000)
    path = tmp_path / f"tone.{suffix}"
    ffmpeg("-i", tmp_path / "tone.wav", path)

    for source in (path, path.read_bytes()):
        samples, sound = open_sound(source)

        assert (sound.rate, sound.channels) == (48000, 2)
        assert sound.frames / sound.rate == pytest.approx(2, abs=0.1)
        spectrum = np.abs(np.fft.rfft(samples[4000:20000]))
        assert np.argmax(spectrum) == 220
        assert rms(samples[4000:20000]) == pytest.approx(rms(HEARD), rel=0.05)
        assert len(whole(sound)) == sound.frames


def piped(given: Path, suffix: str) -> bytes:
    """What ffmpeg makes of a file when it cannot go back to write the length."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", given, "-f", suffix, "pipe:1"]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True).stdout


@pytest.mark.parametrize("suffix", ["flac", "wav", "aiff", "au", "ogg"])
@pytest.mark.parametrize("seconds", [0.25, 2])
def test_a_file_that_was_written_into_a_pipe_is_heard_to_its_end(suffix: str, seconds: float, tmp_path: Path) -> None:
    given = tone(SAMPLE_RATE, seconds)
    soundfile.write(tmp_path / "tone.wav", given, SAMPLE_RATE)
    content = piped(tmp_path / "tone.wav", suffix)

    samples, sound = open_sound(content, max_duration=seconds, strict=True)

    assert sound.frames == len(whole(sound)) == len(samples) == len(given)
    assert rms(samples - given) < (0.02 if suffix == "ogg" else 1e-4)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF - 36, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_wav_file_of_unknown_length_is_heard_whole(length: int, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, HEARD, SAMPLE_RATE, format="WAV", subtype=subtype)
    content = bytearray(file.getvalue())
    width = 2 if subtype == "PCM_16" else 3
    start = content.index(b"data") + 4
    # SoX writes whole frames
    content[start : start + 4] = struct.pack("<I", length // width * width if length == 0x7FFFF000 else length)

    samples, sound = open_sound(content, max_duration=1, strict=True)

    assert sound.frames == len(whole(sound)) == SAMPLE_RATE
    np.testing.assert_allclose(samples, HEARD, atol=1e-4)


def test_a_wav_file_that_promises_another_huge_length_is_cut(bad_audio: Path) -> None:
    content = (bad_audio / "good.wav").read_bytes()

    for length in (0x7FFFF002, 0xFFFFFFF0):
        with pytest.warns(TruncatedAudioWarning, match="promises .* more than it holds"):
            open_sound(content[:40] + struct.pack("<I", length) + content[44:])


def test_a_file_without_samples_is_empty() -> None:
    for suffix in ("wav", "aiff"):
        file = io.BytesIO()
        soundfile.write(file, HEARD[:0], SAMPLE_RATE, format=suffix)

        with pytest.raises(AudioEmpty, match="holds no samples"):
            open_sound(file.getvalue())


def test_an_m4a_keeps_its_index_at_the_end_or_at_the_beginning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", HEARD, SAMPLE_RATE)
    ffmpeg("-i", tmp_path / "tone.wav", tmp_path / "end.m4a")
    ffmpeg("-i", tmp_path / "tone.wav", "-movflags", "+faststart", tmp_path / "start.m4a")
    content = {name: (tmp_path / f"{name}.m4a").read_bytes() for name in ("start", "end")}
    assert content["start"].index(b"moov") < content["start"].index(b"mdat")
    assert content["end"].index(b"moov") > content["end"].index(b"mdat")

    heard = [open_sound(content[name])[0] for name in content]

    np.testing.assert_array_equal(*heard)


def with_alias(movie: bytes, path: bytes) -> bytes:
    """A QuickTime movie whose samples lie in another file: its data reference becomes an alias to `path`."""
    levels = struct.pack(">hh", 1, 1) + bytes(16)  # folders up and down to the file
    strings = struct.pack(">hH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">h", -1)
    content = bytes(10) + b"\1v" + bytes(26 + 12) + b"\1f" + bytes(62 + 16) + levels + strings
    alias = struct.pack(">I4sI", 12 + len(content), b"alis", 0) + content
    own = struct.pack(">I4sI", 12, b"url ", 1)  # how ffmpeg writes "in this file"
    longer = len(alias) - len(own)
    assert movie.count(own) >= 1
    movie = movie.replace(own, alias, 1)
    for atom in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = movie.rindex(atom, 0, movie.index(alias)) - 4
        size = int.from_bytes(movie[start : start + 4], "big") + longer
        movie = movie[:start] + size.to_bytes(4, "big") + movie[start + 4 :]
    return movie


def test_a_movie_cannot_borrow_the_sound_of_another_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", HEARD, SAMPLE_RATE)
    ffmpeg("-i", tmp_path / "secret.wav", "-c:a", "pcm_s16le", tmp_path / "own.mov")
    movie = with_alias((tmp_path / "own.mov").read_bytes(), bytes(tmp_path / "secret.wav"))
    (tmp_path / "thief.mov").write_bytes(movie.replace(b"mdat", b"free"))
    # ffmpeg itself follows it when told to, so the movie is a real danger
    ffmpeg("-enable_drefs", 1, "-use_absolute_path", 1, "-i", tmp_path / "thief.mov", tmp_path / "stolen.wav")
    assert rms(soundfile.read(tmp_path / "stolen.wav")[0]) > 0.1

    with pytest.raises(InputError):
        open_sound(tmp_path / "thief.mov")


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.2", tmp_path / "mute.mp4")

    with pytest.raises(AudioEmpty, match=r"mute\.mp4: holds no sound track"):
        open_sound(tmp_path / "mute.mp4")


def film_with_sound(path: Path, picture: float, sound: float) -> Path:
    """A flash 1 s into the picture and a click 1 s into the sound, which start at these times (s)."""
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[SAMPLE_RATE : SAMPLE_RATE + 80] = 0.8
    soundfile.write(path.with_suffix(".wav"), click, SAMPLE_RATE)
    flash = "color=black:s=64x64:r=25:d=2,geq=lum='if(eq(N,25),235,16)':cb=128:cr=128"
    tracks = ["-itsoffset", picture, "-f", "lavfi", "-i", flash, "-itsoffset", sound, "-i", path.with_suffix(".wav")]
    ffmpeg(*tracks, "-pix_fmt", "yuv420p", path)
    return path


def flash_and_click(path: Path) -> tuple[float, float]:
    """When the flash of `film_with_sound` is seen and its click heard (s)."""
    film = open_video(path)
    flash = np.argmax([frame.mean() for frame in film.frames()]) / float(film.fps)
    return flash, np.argmax(np.abs(open_sound(path)[0]) > 0.2) / SAMPLE_RATE


@pytest.mark.parametrize("suffix", ["mp4", "webm", "ogv"])
@pytest.mark.parametrize(("picture", "sound"), [(0, 0), (0, 0.5), (0.5, 0)])
def test_the_sound_of_a_film_is_in_step_with_its_picture(
    picture: float, sound: float, suffix: str, tmp_path: Path
) -> None:
    path = film_with_sound(tmp_path / f"film.{suffix}", picture, sound)

    flash, click = flash_and_click(path)
    given = open_sound(path)[1]

    assert click == pytest.approx(1 + sound, abs=0.005)
    assert np.argmax(np.abs(whole(given)) > 0.2) / given.rate == pytest.approx(1 + sound, abs=0.005)
    assert flash == pytest.approx(1 + picture, abs=0.021)


@pytest.mark.parametrize("suffix", ["ts", "m2ts", "mpg"])
@pytest.mark.parametrize(("picture", "sound"), [(0, 0), (0, 0.5), (0.5, 0)])
def test_the_sound_of_a_broadcast_is_in_step_with_its_picture(
    picture: float, sound: float, suffix: str, tmp_path: Path
) -> None:
    """Within a frame: their time 0 is where the sound encoder's delay begins, 30 ms that are no whole frame."""
    flash, click = flash_and_click(film_with_sound(tmp_path / f"film.{suffix}", picture, sound))

    assert click - flash == pytest.approx(sound - picture, abs=0.04)


def test_the_sound_of_a_broadcast_whose_picture_is_lost_can_be_read(tmp_path: Path) -> None:
    path = film_with_sound(tmp_path / "film.ts", 0, 0)
    packets = bytearray(path.read_bytes())
    for start in range(0, len(packets), 188):
        if int.from_bytes(packets[start + 1 : start + 3], "big") & 0x1FFF == 0x100:  # ffmpeg's number of the picture
            packets[start + 40 : start + 188] = bytes(148)
    path.write_bytes(packets)

    with pytest.raises(InputError):
        open_video(path)
    assert np.abs(open_sound(path)[0]).max() > 0.5


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
@pytest.mark.parametrize("kind", ["film", "sound"])
def test_sound_that_starts_at_once_is_what_ffmpeg_decodes(kind: str, suffix: str, tmp_path: Path) -> None:
    path = film_with_sound(tmp_path / f"film.{suffix}", 0, 0)
    if kind == "sound":
        path = tmp_path / f"sound.{suffix}"
        ffmpeg("-i", tmp_path / "film.wav", path)
    ffmpeg("-i", path, "-c:a", "pcm_f32le", tmp_path / "decoded.wav")

    decoded, _ = soundfile.read(tmp_path / "decoded.wav", dtype="float32", always_2d=True)

    np.testing.assert_array_equal(whole(open_sound(path)[1]), decoded)


def test_a_pause_in_a_film_is_silent_but_an_absurd_one_is_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", HEARD, SAMPLE_RATE)
    lengths = []
    for second in (3, 3600):
        (tmp_path / "list").write_text(f"ffconcat version 1.0\nfile tone.wav\nduration {second}\nfile tone.wav\n")
        ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c:a", "aac", tmp_path / "film.mp4")
        lengths.append(open_sound(tmp_path / "film.mp4")[1].frames / SAMPLE_RATE)

    assert lengths == pytest.approx([4, 2], abs=0.1)


@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_a_cut_download_is_used_with_a_warning(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(48000, 4), 48000)
    path = tmp_path / f"tone.{suffix}"
    ffmpeg("-i", tmp_path / "tone.wav", *(["-movflags", "+faststart"] if suffix == "m4a" else []), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    with pytest.warns(TruncatedAudioWarning, match="is damaged: .* are used"):
        samples, sound = open_sound(path)

    assert 1.5 < len(samples) / SAMPLE_RATE < 3.5
    assert len(whole(sound)) == sound.frames
    with pytest.raises(AudioUnreadable, match="is damaged"):
        open_sound(path, strict=True)


def test_loud_sound_is_scaled_down_for_the_models_and_for_the_video() -> None:
    with pytest.warns(ClippedAudioWarning, match="peaks at 1.5 times full scale"):
        samples, sound = open_sound(5 * HEARD, SAMPLE_RATE)

    assert np.abs(samples).max() == pytest.approx(1)
    assert np.abs(whole(sound)).max() == pytest.approx(1)
    np.testing.assert_allclose(samples / np.abs(samples).max(), HEARD / np.abs(HEARD).max(), atol=1e-6)


def test_opposed_channels_are_heard_through_the_stronger_one() -> None:
    stereo = np.stack([0.95 * HEARD, -HEARD], axis=1)

    with pytest.warns(PhaseCancelledWarning, match="channel 2 is used alone"):
        samples, sound = open_sound(stereo, SAMPLE_RATE)

    np.testing.assert_allclose(samples, -HEARD, atol=1e-6)
    assert sound.channels == 2


def test_a_voice_on_one_of_two_channels_is_no_cancellation() -> None:
    samples, _ = open_sound(np.stack([HEARD, 0 * HEARD], axis=1), SAMPLE_RATE)

    np.testing.assert_allclose(samples, HEARD / 2, atol=1e-6)


def test_limits_of_length() -> None:
    with pytest.raises(AudioTooShort, match=r"lasts 39\.9 ms"):
        open_sound(HEARD[:639], SAMPLE_RATE)
    assert len(open_sound(HEARD[:640], SAMPLE_RATE)[0]) == 640
    with pytest.raises(AudioEmpty):
        open_sound(HEARD[:0], SAMPLE_RATE)
    with pytest.raises(AudioTooLong, match=r"lasts over 0\.5 s"):
        open_sound(HEARD, SAMPLE_RATE, max_duration=0.5)
    assert len(open_sound(HEARD, SAMPLE_RATE, max_duration=1)[0]) == SAMPLE_RATE


def test_a_long_compressed_file_is_refused_without_decoding_it_all(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=60", "-c:a", "aac", "-b:a", "32k", tmp_path / "long.m4a")

    with pytest.raises(AudioTooLong, match="lasts over 1 s"):
        open_sound(tmp_path / "long.m4a", max_duration=1)


MEASURE = """
import resource, sys
import numpy as np
from talkinghead.audio import open_sound
open_sound(np.sin(np.arange(48000.0)), 48000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
samples, sound = open_sound(sys.argv[1])
frames = sum(len(block) for block in sound.blocks())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(frames, samples.nbytes, (after - before) * (1 if sys.platform == "darwin" else 1024))
"""


def test_ten_minutes_of_stereo_take_little_more_memory_than_their_result(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48000, 2, "PCM_16") as file:
        second = np.random.default_rng(0).normal(0, 0.1, (48000, 2))
        for _ in range(600):
            file.write(second)

    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)

    frames, result, grown = map(int, run.stdout.split())
    assert frames == 600 * 48000
    assert result == 600 * SAMPLE_RATE * 4
    assert grown < 1.5 * result + 20e6


def test_an_abandoned_sound_leaves_no_process(tmp_path: Path) -> None:
    import psutil

    soundfile.write(tmp_path / "tone.wav", tone(48000, 60), 48000)
    ffmpeg("-i", tmp_path / "tone.wav", tmp_path / "tone.m4a")
    _, sound = open_sound(tmp_path / "tone.m4a")
    blocks = sound.blocks(1000)
    next(blocks)
    assert psutil.Process().children()

    blocks.close()

    assert not psutil.Process().children()


@pytest.mark.parametrize("samples", [HEARD, as_columns()])
def test_good_sound_raises_no_warning(samples: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_sound(samples, SAMPLE_RATE)
