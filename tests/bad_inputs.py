"""Files that are damaged, malicious or odd; `test_bad_inputs.py` says what must happen to each.

`python -m tests.bad_inputs FOLDER` writes them all.
"""

import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import soundfile
from PIL import Image
from skimage.data import astronaut

RATE = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)).astype(np.float32)  # 1 s
SECRET = "SECRET-CONTENT-12345"


def write_audio(folder: Path) -> None:
    """Rows A1 to A15."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_lengths(folder)
    _write_encodings(folder)
    _write_levels(folder)
    _write_damage(folder)
    _write_mp3(folder)
    _write_playlists(folder)


def _write_lengths(folder: Path) -> None:
    (folder / "empty.wav").touch()
    lengths = {"no_samples": 0, "one_sample": 1, "10ms": 160, "40ms": 640}
    for name, length in lengths.items():
        soundfile.write(folder / f"{name}.wav", TONE[:length], RATE)


def _write_encodings(folder: Path) -> None:
    rates = {"8k": 8000, "22k": 22050, "44k": 44100}
    for name, rate in rates.items():
        soundfile.write(folder / f"{name}.wav", _tone(rate), rate)
    soundfile.write(folder / "48k_stereo.wav", np.stack([_tone(48000)] * 2, axis=1), 48000)
    soundfile.write(folder / "192k_8ch.wav", np.stack([_tone(192_000)] * 8, axis=1), 192_000)
    soundfile.write(folder / "16_channels.wav", np.stack([TONE] * 16, axis=1), RATE)
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"):
        soundfile.write(folder / f"{subtype.lower()}.wav", TONE, RATE, subtype=subtype)


def _tone(rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(rate) / rate)).astype(np.float32)


def _write_levels(folder: Path) -> None:
    noise = 1e-4 * np.random.default_rng(0).standard_normal(2 * RATE)  # -80 dB
    click = np.zeros(RATE)
    click[8000:8320] = 0.5
    levels = {
        "loud": 4 * TONE,
        "silent": np.zeros(2 * RATE),
        "constant": np.full(RATE, 0.9),
        "faint_noise": noise,
        "click": click,
        "opposed_stereo": np.stack([TONE, -TONE], axis=1),
    }
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        levels[name] = TONE.copy()
        levels[name][8000] = value
    for name, samples in levels.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")


def _write_damage(folder: Path) -> None:
    soundfile.write(folder / "good.wav", TONE, RATE)
    good = (folder / "good.wav").read_bytes()
    (folder / "cut_header.wav").write_bytes(good[:20])
    (folder / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "lying_size.wav").write_bytes(_patched(good, 40, 0xFFFFFFF0))
    (folder / "from_a_pipe.wav").write_bytes(_patched(good, 40, 0xFFFFFFFF))
    (folder / "three_hours.wav").write_bytes(_patched(good[:2048], 40, 3 * 3600 * RATE * 2))
    (folder / "rate_0.wav").write_bytes(_patched(good, 24, 0))
    soundfile.write(folder / "rate_1.wav", TONE[:10], 1)
    (folder / "text.wav").write_text("not audio")
    (folder / "random.wav").write_bytes(np.random.default_rng(0).bytes(5000))


def _patched(content: bytes, offset: int, number: int) -> bytes:
    return content[:offset] + struct.pack("<I", number) + content[offset + 4 :]


def _write_mp3(folder: Path) -> None:
    soundfile.write(folder / "good.mp3", np.tile(TONE, 3), RATE)
    good = (folder / "good.mp3").read_bytes()
    (folder / "cut.mp3").write_bytes(good[: len(good) // 2])
    (folder / "tiny.mp3").write_bytes(good[:100])
    soundfile.write(folder / "good.flac", np.tile(TONE, 3), RATE)
    good = (folder / "good.flac").read_bytes()
    (folder / "cut.flac").write_bytes(good[: len(good) // 2])


def _write_playlists(folder: Path) -> None:
    hls = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n{}\n#EXT-X-ENDLIST\n"
    (folder / "local.m3u8").write_text(hls.format((folder / "good.mp3").as_uri()))
    (folder / "local_playlist.wav").write_text(hls.format((folder / "good.mp3").as_uri()))
    (folder / "remote_playlist.wav").write_text(hls.format("http://127.0.0.1:9/x.wav"))
    (folder / "concat.wav").write_text(f"ffconcat version 1.0\nfile '{folder / 'good.wav'}'\n")
    (folder / "dash.wav").write_text('<?xml version="1.0"?><MPD><Period><BaseURL>good.wav</BaseURL></Period></MPD>')
    session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n"
    (folder / "sdp.wav").write_text(session)
    (folder / "secret.txt").write_text(f"{SECRET}\n" * 50)


def write_images(folder: Path) -> None:
    """Rows I3 to I9 and I12."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait = Image.fromarray(astronaut())
    _write_sizes(folder)
    _write_modes(folder, portrait)
    _write_image_damage(folder, portrait)
    portrait.save(folder / "名前 ünï 💬 'quoted'.png")
    portrait.save(folder / "-dash.png")
    (folder / "link.png").symlink_to(folder / "good.png")


def _write_sizes(folder: Path) -> None:
    for width, height in ((1, 1), (16, 16), (63, 63), (64, 64)):
        Image.new("RGB", (width, height)).save(folder / f"{width}x{height}.png")
    Image.new("1", (7000, 7000)).save(folder / "49_megapixels.png", compress_level=1)
    for name, side in (("169_megapixels", 13_000), ("400_megapixels", 20_000), ("10000_megapixels", 100_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(100))) + _chunk(b"IEND", b"")
        (folder / f"{name}_promised.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _write_modes(folder: Path, portrait: Image.Image) -> None:
    portrait.save(folder / "good.png")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        _turned(portrait, orientation).save(folder / f"exif_{orientation}.png", exif=exif, compress_level=1)
    for mode in ("L", "LA", "P", "RGBA", "1"):
        portrait.convert(mode).save(folder / f"mode_{mode}.png")
    portrait.convert("CMYK").save(folder / "mode_CMYK.tiff")
    Image.fromarray(np.asarray(portrait.convert("L")).astype(np.uint16) * 257).save(folder / "mode_I;16.png")
    Image.fromarray(np.zeros((64, 64), np.float32)).save(folder / "mode_F.tiff")
    half = portrait.convert("RGBA")
    half.putalpha(Image.fromarray(np.repeat([[0, 255]], 512, axis=0).repeat(256, axis=1).astype(np.uint8)))
    half.save(folder / "half_transparent.png")
    frames = [portrait.resize((128, 128)).rotate(angle) for angle in (0, 90, 180)]
    for suffix in ("gif", "webp", "png"):
        frames[0].save(folder / f"animated.{suffix}", save_all=True, append_images=frames[1:])


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """`image` as a camera stores it that was held so: what orientation 1 to 8 of EXIF undoes."""
    turns = Image.Transpose
    stored: dict[int, Image.Transpose] = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    return image.transpose(stored[orientation]) if orientation in stored else image


def _write_image_damage(folder: Path, portrait: Image.Image) -> None:
    good = (folder / "good.png").read_bytes()
    flipped = bytearray(good)
    flipped[5000] ^= 255
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "cut_header.png").write_bytes(good[:20])
    (folder / "flipped.png").write_bytes(flipped)
    portrait.save(folder / "good.jpg")
    jpeg = (folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "svg.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>')
    (folder / "eps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n")
    (folder / "pdf.png").write_text("%PDF-1.4\n1 0 obj <</Type/Catalog>> endobj\ntrailer <</Root 1 0 R>>\n")
    (folder / "heic.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def write_checkpoints(folder: Path) -> None:
    """Rows C1 to C5; unpickling the bombs makes a folder named `exploded`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("bomb.pt", "bomb.bin", "bomb.ckpt", "bomb.safetensors"):
        torch.save({"w": Bomb(folder / "exploded")}, folder / name)
    torch.save({"w": torch.zeros(3, 3)}, folder / "wrong_shape.pt")
    torch.save({"w": torch.full((2, 2), float("nan"))}, folder / "nan.pt")
    (folder / "cut.pt").write_bytes((folder / "wrong_shape.pt").read_bytes()[:200])
    (folder / "text.pt").write_text("not a checkpoint")
    (folder / "empty.pt").touch()
    _write_safetensors(folder)
    index = {"metadata": {}, "weight_map": {"w": "../../../../etc/passwd"}}
    (folder / "escaping.safetensors.index.json").write_text(json.dumps(index))
    (folder / "escaping_link.safetensors").symlink_to("/etc/passwd")


def _write_safetensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2, 2)}, folder / "good.safetensors")
    for value in ("nan", "inf"):
        save_file({"w": torch.full((2, 2), float(value))}, folder / f"{value}.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:-4])
    (folder / "huge_header.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    two = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    huge = {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}
    for name, header in {"overlapping": {"a": two, "b": two}, "huge_shape": {"w": huge}}.items():
        text = json.dumps(header).encode()
        (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    twice = b'{"w":' + json.dumps(two).encode() + b',"w":' + json.dumps(two).encode() + b"}"
    (folder / "same_name_twice.safetensors").write_bytes(struct.pack("<Q", len(twice)) + twice + bytes(8))


def ffmpeg(*arguments: object) -> None:
    """Make an odd media file with the bundled program."""
    import subprocess

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    write_audio(root / "audio")
    write_images(root / "images")
    write_checkpoints(root / "checkpoints")
