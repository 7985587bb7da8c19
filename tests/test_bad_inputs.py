"""Every bad file gives the error or the warning that is promised for it, and leaves nothing behind."""

import os
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from talkinghead import errors
from talkinghead.audio import open_sound
from talkinghead.image import load_image
from talkinghead.video import open_video

AUDIO: dict[str, type[Exception] | None] = {
    "empty.wav": errors.AudioUnreadable,
    "no_samples.wav": errors.AudioEmpty,
    "one_sample.wav": errors.AudioTooShort,
    "10ms.wav": errors.AudioTooShort,
    "40ms.wav": None,
    "8k.wav": None,
    "22k.wav": None,
    "44k.wav": None,
    "48k_stereo.wav": None,
    "192k_8ch.wav": None,
    "16_channels.wav": errors.AudioFormatRefused,
    "pcm_u8.wav": None,
    "pcm_24.wav": None,
    "pcm_32.wav": None,
    "float.wav": None,
    "double.wav": None,
    "ulaw.wav": None,
    "loud.wav": errors.ClippedAudioWarning,
    "nan.wav": errors.AudioNonFinite,
    "infinite.wav": errors.AudioNonFinite,
    "cut.wav": errors.TruncatedAudioWarning,
    "cut.mp3": errors.TruncatedAudioWarning,
    "cut.flac": errors.TruncatedAudioWarning,
    "lying_size.wav": errors.TruncatedAudioWarning,
    "three_hours.wav": errors.TruncatedAudioWarning,
    "from_a_pipe.wav": None,
    "cut_header.wav": errors.AudioUnreadable,
    "tiny.mp3": errors.AudioUnreadable,
    "random.wav": errors.AudioUnreadable,
    "text.wav": errors.AudioUnreadable,
    "rate_0.wav": errors.AudioUnreadable,
    "rate_1.wav": errors.AudioFormatRefused,
    "silent.wav": errors.SilentAudioWarning,
    "constant.wav": errors.SilentAudioWarning,
    "faint_noise.wav": errors.SilentAudioWarning,
    "opposed_stereo.wav": errors.PhaseCancelledWarning,
    "click.wav": None,
    "local.m3u8": errors.AudioFormatRefused,
    "local_playlist.wav": errors.AudioFormatRefused,
    "remote_playlist.wav": errors.AudioFormatRefused,
    "concat.wav": errors.AudioFormatRefused,
    "dash.wav": errors.InputError,
    "sdp.wav": errors.InputError,
    "secret.txt": errors.AudioUnreadable,
    "missing.wav": errors.AudioUnreadable,
    "": errors.AudioUnreadable,  # the folder itself
    "pipe": errors.AudioUnreadable,
}

IMAGES: dict[str, type[Exception] | None] = {
    "1x1.png": errors.ImageTooSmall,
    "16x16.png": errors.ImageTooSmall,
    "63x63.png": errors.ImageTooSmall,
    "64x64.png": None,
    "49_megapixels.png": errors.ImageTooLarge,
    "169_megapixels_promised.png": errors.ImageTooLarge,
    "400_megapixels_promised.png": errors.ImageTooLarge,
    "10000_megapixels_promised.png": errors.ImageTooLarge,
    **{f"exif_{orientation}.png": None for orientation in range(1, 9)},
    **{f"mode_{mode}.png": None for mode in ("L", "LA", "P", "RGBA", "1", "I;16")},
    "mode_CMYK.tiff": None,
    "mode_F.tiff": errors.ImageFormatRefused,
    "half_transparent.png": None,
    "animated.gif": errors.AnimatedImageWarning,
    "animated.webp": errors.AnimatedImageWarning,
    "animated.png": errors.AnimatedImageWarning,
    "cut.png": errors.ImageUnreadable,
    "cut.jpg": errors.ImageUnreadable,
    "cut_header.png": errors.ImageUnreadable,
    "flipped.png": errors.ImageUnreadable,
    "empty.png": errors.ImageUnreadable,
    "text.png": errors.ImageFormatRefused,
    "svg.png": errors.ImageFormatRefused,
    "eps.png": errors.ImageFormatRefused,
    "pdf.png": errors.ImageFormatRefused,
    "heic.jpg": errors.ImageFormatRefused,
    "名前 ünï 💬 'quoted'.png": None,
    "-dash.png": None,
    "link.png": None,
    "missing.png": errors.ImageUnreadable,
    "": errors.ImageUnreadable,
    "pipe": errors.ImageUnreadable,
}


def outcome(call: Callable[[], Any]) -> Exception | None:
    """The error or the warning of `call`; None if it went through quietly."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.TalkingHeadWarning)
        try:
            call()
        except errors.TalkingHeadError as error:
            return error
    assert len(caught) <= 1
    assert all(warning.filename == __file__ for warning in caught), "a warning must point at the caller"
    return caught[0].message if caught else None  # type: ignore[return-value]


def check(found: Exception | None, wanted: type[Exception] | None, name: str) -> None:
    """`found` is of the wanted kind, and one line that names the file."""
    assert isinstance(found, wanted or type(None))
    if found is not None:
        assert str(found).startswith(f"{name}: ")
        assert len(str(found).splitlines()) == 1
    if isinstance(found, errors.TalkingHeadError):
        assert found.code != "talking_head_error"
        assert len(found.hint.splitlines()) == 1


@pytest.mark.parametrize("name", AUDIO)
def test_bad_audio(name: str, bad_audio: Path) -> None:
    before = sorted(os.listdir(bad_audio))

    found = outcome(lambda: open_sound(bad_audio / name))

    check(found, AUDIO[name], name or bad_audio.name)
    assert sorted(os.listdir(bad_audio)) == before


@pytest.mark.parametrize("name", IMAGES)
def test_bad_images(name: str, bad_images: Path) -> None:
    before = sorted(os.listdir(bad_images))

    found = outcome(lambda: load_image(bad_images / name))

    check(found, IMAGES[name], name or bad_images.name)
    assert sorted(os.listdir(bad_images)) == before


@pytest.mark.parametrize("name", [name for name in AUDIO if AUDIO[name] is errors.TruncatedAudioWarning])
def test_strict_refuses_cut_audio(name: str, bad_audio: Path) -> None:
    with pytest.raises(errors.AudioUnreadable, match=r"promises|damaged"):
        open_sound(bad_audio / name, strict=True)


def test_the_message_for_a_missing_number_gives_its_time(bad_audio: Path) -> None:
    with pytest.raises(errors.AudioNonFinite, match=r"nan\.wav: holds NaN at 0\.5000 s"):
        open_sound(bad_audio / "nan.wav")


def test_a_promise_of_three_hours_is_refused_before_memory_is_taken(bad_audio: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(errors.AudioTooLong, match="lasts over 600 s"):
            open_sound(bad_audio / "three_hours.wav", max_duration=600)
        with pytest.raises(errors.AudioFormatRefused, match="1 Hz"):
            open_sound(bad_audio / "rate_1.wav")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in IMAGES if IMAGES[name] is errors.ImageTooLarge])
def test_huge_images_are_refused_at_once(name: str, bad_images: Path) -> None:
    start = time.process_time()

    with pytest.raises(errors.ImageTooLarge, match="at most 40 megapixels"):
        load_image(bad_images / name)

    assert time.process_time() - start < 0.5  # decoding one takes seconds


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A web server: its address, and the paths it was asked for."""
    seen: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def test_nothing_reaches_the_network(visits: tuple[str, list[str]], tmp_path: Path) -> None:
    address, seen = visits
    playlist = tmp_path / "playlist.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:10.0,\n{address}/x.wav\n#EXT-X-ENDLIST\n")
    concat = tmp_path / "list.wav"
    concat.write_text(f"ffconcat version 1.0\nfile '{address}/x.wav'\n")

    for source in (playlist, concat, f"{address}/x.wav"):
        for read in (open_sound, load_image, open_video):
            with pytest.raises(errors.InputError):
                read(source)  # type: ignore[operator]

    assert seen == []


@pytest.mark.parametrize("read", [open_sound, load_image, open_video])
@pytest.mark.parametrize("prefix", ["file://", "FILE://", "http://", "concat://"])
def test_urls_are_refused_as_urls(read: Callable[[str], object], prefix: str, bad_images: Path) -> None:
    with pytest.raises(errors.InputError, match="is a URL, not a file"):
        read(f"{prefix}{bad_images}/good.png")


@pytest.mark.parametrize("read", [open_sound, load_image, open_video])
def test_devices_are_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(errors.InputError, match="not a regular file"):
        read("/dev/zero")
