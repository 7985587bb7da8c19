"""Pictures in: whatever the user has, checked, upright, as 8-bit RGB."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from .errors import (
    AnimatedImageWarning,
    ImageFormatRefused,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    TalkingHeadError,
    TalkingHeadWarning,
    warn,
)
from .files import local_path, open_regular
from .pixels import MAX_PIXELS, Frame

if TYPE_CHECKING:
    from PIL.Image import Image

ImageSource: TypeAlias = Union[str, PathLike[str], bytes, bytearray, memoryview, BinaryIO, NDArray[Any], "Image"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_SIDE = 30_000  # OpenCV's remap ends at 32,767
MIN_SIDE = 64  # pixels; a smaller picture cannot hold a face that could be animated
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # how FORMATS begin
BACKGROUND = (255, 255, 255)  # what transparent pixels are laid over


def load_image(source: ImageSource) -> Frame:
    """The picture in `source` as [H, W, 3] uint8 RGB.

    source: a path, the bytes of a file, a binary file, a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4] of uint8, uint16 or floats from 0 to 1 (gray, RGB, RGBA)

    Files are PNG, JPEG, WebP, GIF, BMP or TIFF. They are turned upright by their EXIF orientation, converted to sRGB
    by their colour profile, and laid over white where they are transparent. 16 bits are scaled to 8. The first frame
    of an animation is used, with an AnimatedImageWarning.

    Raises ImageUnreadable, ImageFormatRefused, ImageTooLarge (over 40 megapixels), ImageTooSmall (under 64 x 64);
    TypeError and ValueError for arrays of another type, shape or range.
    """
    from PIL.Image import Image

    if isinstance(source, Image):
        with _pillow_errors("the image"):
            return _pixels(source, "the image")
    if isinstance(source, str | PathLike):
        path = local_path(source, ImageFormatRefused)
        with open_regular(path, ImageUnreadable) as file:
            return _decode(file, path.name)
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        content = source.read() if hasattr(source, "read") else bytes(source)
        if not isinstance(content, bytes):
            raise TypeError(f"image files must be opened in binary mode, not give {type(content).__name__}")
        if not content:
            raise ImageUnreadable("the given bytes: are empty (0 bytes)", "give the content of an image file")
        return _decode(io.BytesIO(content), "the given bytes")
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    wanted = "a path, bytes, a binary file, a PIL image or an array"
    raise TypeError(f"image must be {wanted}, not {type(source).__name__}")


def _decode(file: BinaryIO, name: str) -> Frame:
    """Decode a file; only the formats listed, so that none of Pillow's other readers ever sees it."""
    from PIL import Image, UnidentifiedImageError

    with _pillow_errors(name):
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            file.seek(0)
            if file.read(4).startswith(_SIGNATURES):
                raise
            message = f"{name}: is not one of {', '.join(FORMATS)}"
            raise ImageFormatRefused(message, "convert it to PNG or JPEG") from error
        with image:
            frames = getattr(image, "n_frames", 1)
            # MPO files are JPEGs with a preview or a depth map behind the picture
            if frames > 1 and image.format != "MPO":
                warn(AnimatedImageWarning, f"{name}: has {frames} frames; the first one is used")
            return _pixels(image, name)


@contextlib.contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    """Raise our errors for those of Pillow's readers, which are of many kinds."""
    from PIL import Image

    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "over 89 megapixels") from error
    except (TalkingHeadError, TalkingHeadWarning):  # the latter where warnings are errors
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ImageUnreadable(f"{name}: is damaged: {reason}", "copy or download it again") from error


def _pixels(image: Image, name: str) -> Frame:
    """Check and convert an image whose header was read."""
    from PIL import Image as pillow
    from PIL import ImageOps

    _check_size(name, *image.size)
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        message = f"{name}: holds 32-bit pixels of no known range"
        raise ImageFormatRefused(message, "convert it to 8 or 16 bits")
    image.load()
    profile = image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image) if _has_exif(image) else image
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16))
    if upright.has_transparency_data:
        picture = _to_srgb(upright.convert("RGBA"), profile)
        canvas = pillow.new("RGBA", picture.size, BACKGROUND)
        return np.array(pillow.alpha_composite(canvas, picture).convert("RGB"))
    if upright.mode in ("P", "1"):
        upright = upright.convert("RGB")
    return np.array(_to_srgb(upright, profile).convert("RGB"))


def _has_exif(image: Image) -> bool:
    """Whether the orientation of a picture can be looked up; damaged EXIF is as good as none."""
    from PIL import ExifTags

    try:
        image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's readers raise errors of many kinds
        return False
    return True


def _to_srgb(image: Image, profile: bytes | None) -> Image:
    """Convert from the colour profile of the file; one that is damaged or of another mode is as good as none."""
    from PIL import ImageCms

    if not profile:
        return image
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=target)
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted or image


def _from_array(array: NDArray[Any]) -> Frame:
    """Scale an array to 8 bits, spread gray over three channels and lay alpha over the background."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ValueError(f"image arrays must be [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    _check_size("the array", array.shape[1], array.shape[0])
    if array.dtype != np.uint8 or array.shape[2] == 4:
        unit = _to_unit(array)
        if unit.shape[2] == 4:
            background = _to_unit(np.array(BACKGROUND, np.uint8))
            unit = background + (unit[:, :, :3] - background) * unit[:, :, 3:]
        array = np.round(unit * 255).astype(np.uint8)
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def _to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels as floats from 0 to 1."""
    if array.dtype in (np.uint8, np.uint16):
        return np.divide(array, np.iinfo(array.dtype).max, dtype=np.float32)
    if array.dtype.kind != "f":
        raise TypeError(f"image arrays must hold uint8, uint16 or floats from 0 to 1, not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise ValueError(f"floating-point images must be from 0 to 1, not {low:g} to {high:g}; divide by 255?")
    return array.astype(np.float32)


def _check_size(name: str, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height} pixels")
    if min(width, height) < MIN_SIDE:
        message = f"{name}: is {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed"
        raise ImageTooSmall(message, "give a larger picture")


def _too_large(name: str, size: str) -> ImageTooLarge:
    message = f"{name}: has {size}; at most {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE:,} a side are accepted"
    return ImageTooLarge(message, "scale it down")
