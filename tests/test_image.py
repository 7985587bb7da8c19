import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile
from skimage.data import astronaut

from talkinghead.errors import AnimatedImageWarning, ImageFormatRefused, ImageTooSmall, ImageUnreadable, InputError
from talkinghead.image import BACKGROUND, load_image

PORTRAIT = astronaut()  # [512, 512, 3] uint8


def saved(image: Image.Image, suffix: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def test_a_picture_is_the_same_from_everything_that_holds_it(bad_images: Path) -> None:
    path = bad_images / "good.png"
    with open(path, "rb") as file, Image.open(path) as opened:
        content = path.read_bytes()
        sources = (path, str(path), content, bytearray(content), io.BytesIO(content), file, opened, PORTRAIT)
        for source in (*sources, Image.fromarray(PORTRAIT)):
            found = load_image(source)

            np.testing.assert_array_equal(found, PORTRAIT)
            assert found.flags.c_contiguous
            assert found.flags.writeable
            assert not np.shares_memory(found, PORTRAIT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int, bad_images: Path) -> None:
    np.testing.assert_array_equal(load_image(bad_images / f"exif_{orientation}.png"), PORTRAIT)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_mode_equals_its_rgb_version(mode: str, bad_images: Path) -> None:
    path = bad_images / f"mode_{mode}.{'tiff' if mode == 'CMYK' else 'png'}"
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))

    np.testing.assert_array_equal(load_image(path), expected)


def test_sixteen_bits_are_scaled_to_eight(bad_images: Path) -> None:
    gray = np.asarray(Image.fromarray(PORTRAIT).convert("L"))
    deep = np.random.default_rng(0).integers(0, 2**16, (64, 64), dtype=np.uint16)

    np.testing.assert_array_equal(load_image(bad_images / "mode_I;16.png"), np.stack([gray] * 3, axis=2))
    for source in (saved(Image.fromarray(deep), "PNG"), saved(Image.fromarray(deep), "TIFF"), deep):
        found = load_image(source)[:, :, 1]
        assert np.abs(found - deep / 257).max() <= 0.5 + 1e-3


def test_transparent_pixels_are_laid_over_the_background(bad_images: Path) -> None:
    found = load_image(bad_images / "half_transparent.png")

    assert (found[:, :256] == BACKGROUND).all()
    np.testing.assert_array_equal(found[:, 256:], PORTRAIT[:, 256:])


def test_alpha_is_blended_alike_in_files_and_arrays() -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + np.array(BACKGROUND) * (1 - alpha)

    image = Image.fromarray(rgba)
    for source in (rgba, rgba / 255, rgba.astype(np.uint16) * 257, image, saved(image, "PNG")):
        assert np.abs(load_image(source) - expected).max() <= 1


def test_transparent_palette_and_gray_pictures_show_the_background() -> None:
    gray = Image.fromarray(np.full((64, 64), 100, np.uint8))
    palette = gray.convert("P")

    for image in (gray, palette):
        transparent = 100 if image is gray else palette.getpixel((0, 0))
        found = load_image(saved(image, "PNG", transparency=transparent))
        assert (found == BACKGROUND).all()


def test_a_colour_profile_is_converted_to_srgb() -> None:
    swapped = np.ascontiguousarray(PORTRAIT[:, :, ::-1])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # a profile whose red and blue primaries are exchanged
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    exchanged = bytearray(profile)
    exchanged[red : red + 4], exchanged[blue : blue + 4] = b"bXYZ", b"rXYZ"

    plain = load_image(saved(Image.fromarray(PORTRAIT), "PNG", icc_profile=profile))
    found = load_image(saved(Image.fromarray(swapped), "PNG", icc_profile=bytes(exchanged)))

    assert np.abs(plain.astype(int) - PORTRAIT).max() <= 1
    assert np.abs(found.astype(int) - PORTRAIT).mean() < 1


def test_a_damaged_colour_profile_is_left_aside() -> None:
    found = load_image(saved(Image.fromarray(PORTRAIT), "PNG", icc_profile=b"nonsense" * 50))

    np.testing.assert_array_equal(found, PORTRAIT)


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_is_left_aside(suffix: str) -> None:
    image = Image.fromarray(PORTRAIT)
    plain, damaged = (saved(image, suffix, **more) for more in ({}, {"exif": b"Exif\0\0nonsense"}))

    assert b"nonsense" in damaged
    np.testing.assert_array_equal(load_image(damaged), load_image(plain))


def test_a_damaged_picture_with_damaged_exif_is_refused() -> None:
    content = saved(Image.fromarray(PORTRAIT), "PNG", exif=b"Exif\0\0nonsense")

    with pytest.raises(ImageUnreadable, match="truncated"):
        load_image(content[: len(content) // 2])


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_used(suffix: str, bad_images: Path) -> None:
    with pytest.warns(AnimatedImageWarning, match="has 3 frames; the first one is used"):
        found = load_image(bad_images / f"animated.{suffix}")

    first = np.asarray(Image.fromarray(PORTRAIT).resize((128, 128)), int)
    assert np.abs(found - first).mean() < 10


def test_warnings_as_errors_stay_warnings(bad_images: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AnimatedImageWarning):
            load_image(bad_images / "animated.gif")


@pytest.mark.parametrize("shape", [(70, 65), (70, 65, 1)])
def test_gray_arrays_become_rgb(shape: tuple[int, ...]) -> None:
    gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    found = load_image(gray)

    assert found.shape == (70, 65, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found[:, :, channel], gray.reshape(70, 65))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_from_zero_to_one_become_bytes(dtype: str) -> None:
    tensor = torch.from_numpy((PORTRAIT / 255).astype(dtype))

    assert np.abs(load_image(tensor.numpy()).astype(int) - PORTRAIT).max() <= (1 if dtype == "float16" else 0)
    np.testing.assert_array_equal(load_image(tensor), load_image(tensor.numpy()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (None, TypeError, "image must be a path, bytes, a binary file, a PIL image or an array, not NoneType"),
        (PORTRAIT.astype(np.int64), TypeError, "not int64"),
        (io.StringIO("text"), TypeError, "binary mode"),
        (PORTRAIT.astype(np.float32), ValueError, r"from 0 to 1, not 0 to 255; divide by 255\?"),
        (np.full((64, 64), np.nan), ValueError, "from 0 to 1, not nan"),
        (PORTRAIT.transpose(2, 0, 1), ValueError, r"not \[3, 512, 512\]"),
        (PORTRAIT[None], ValueError, r"not \[1, 512, 512, 3\]"),
        (PORTRAIT[:63], ImageTooSmall, "is 512 x 63 pixels; at least 64 x 64 are needed"),
        (np.zeros((64, 0, 3), np.uint8), ImageTooSmall, "is 0 x 64 pixels"),
        (b"", ImageUnreadable, "0 bytes"),
        (Image.new("F", (64, 64)), ImageFormatRefused, "32-bit"),
    ],
)
def test_other_sources_are_refused(source: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_image(source)


def test_a_cut_picture_is_never_filled_with_gray(bad_images: Path) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES

    for name in ("cut.png", "cut.jpg"):
        with Image.open(bad_images / name) as cut, pytest.raises(ImageUnreadable, match="truncated"):
            load_image(cut)


@pytest.mark.parametrize("step", range(0, 40))
def test_a_damaged_file_is_an_error_of_ours_or_a_picture(step: int, bad_images: Path) -> None:
    rng = np.random.default_rng(step)
    content = bytearray(saved(Image.fromarray(PORTRAIT[:96, :96]), ("PNG", "JPEG", "WEBP", "GIF", "TIFF")[step % 5]))
    for place in rng.integers(0, min(len(content), 2000), 4):
        content[place] = rng.integers(256)

    try:
        found = load_image(bytes(content))
    except InputError:
        return
    assert found.dtype == np.uint8
    assert min(found.shape[:2]) >= 64
