"""The bytes of one picture file -> upright RGB pixels on white; the only file that touches a decoder of stills.

Every decoder is named here: the table at the bottom is all that a hostile file can reach. The header is held against
the limits before anything is decoded.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from saccade.errors import MediaError
from saccade.media.limits import MediaLimits, check_area, damaged
from saccade.types import MediaRef, UInt8Array

try:
    import simplejpeg  # type: ignore[import-untyped]
except ImportError:  # no wheel for this platform: Pillow gives the same pixels in about 1.4 times the time
    simplejpeg = None


Room: TypeAlias = Callable[[int], UInt8Array]
"""Memory for so many bytes that pixels may be written to at once."""


def decode_still(name: str, data: bytes, ref: MediaRef, limits: MediaLimits, room: Room | None = None) -> UInt8Array:
    """[H, W, 3], upright, on white, of a file of the format `name`; in `room` if its decoder can write there, else in
    memory of its own. MediaError for one that is damaged or too large."""
    _hush_pillow()
    try:
        image = PICTURES[name](io.BytesIO(data))  # reads the header only
        width, height = image.size
    except Exception as error:  # decoders answer hostile bytes with exceptions of many kinds
        raise damaged(name, ref, error) from None
    check_area("picture", width, height, ref, limits)
    if name == "JPEG" and _num_scans(data) > _MAX_SCANS:
        raise MediaError(f"The JPEG file has more than {_MAX_SCANS} scans.", param=ref.param)
    try:
        turn = _UPRIGHT[_orientation(image)]
        pixels = _decode_jpeg(data, image, room if turn is _UPRIGHT[1] else None) if name == "JPEG" else _to_rgb(image)
        return np.ascontiguousarray(turn(pixels))
    except Exception as error:
        raise damaged(name, ref, error) from None


def _num_scans(data: bytes) -> int:
    """Markers of scans in a JPEG file, at even places and at odd ones: a tenth of the time of bytes.count."""
    return sum(
        int(np.count_nonzero(np.frombuffer(data, "<u2", (len(data) - start) // 2, start) == 0xDAFF)) for start in (0, 1)
    )


def _decode_jpeg(data: bytes, image: ImageFile.ImageFile, room: Room | None) -> UInt8Array:
    """By libjpeg-turbo directly where it can give RGB. A file that it finds fault with goes to Pillow, which overlooks
    small ones and has the last word; both use the same decoder and give the same pixels."""
    if simplejpeg is not None and image.mode in ("L", "RGB"):
        try:
            # Both must have read the same size, since only one was held against the limit.
            if simplejpeg.decode_jpeg_header(data)[:2] == (image.height, image.width):
                buffer = room(image.height * image.width * 3) if room else None
                return simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)  # type: ignore[no-any-return]
        except ValueError:
            pass
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> UInt8Array:
    """Pixels of any mode as RGB; what is transparent lets white through; 16 bits keep the upper 8."""
    image.load()
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        white = grey == image.info.get("transparency", -1)
        return np.repeat(np.where(white, 255, grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def as_png(pixels: UInt8Array) -> bytes:
    """[H, W, 3] as a file; quickly, since pages of documents are small at any level."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()


def on_white(pixels: npt.NDArray[Any]) -> UInt8Array:
    """[H, W, 4] RGBA -> [H, W, 3] over white."""
    return _on_white(Image.fromarray(pixels))


def _on_white(image: Image.Image) -> UInt8Array:
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return np.array(page)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # unreadable EXIF data says nothing about the picture
        return 1
    return value if value in _UPRIGHT else 1


def _hush_pillow() -> None:
    """Keep Pillow's warnings about odd metadata off the terminal. The filter holds for the whole process; adding it
    where it is missing is safe in threads, unlike catching warnings around each call."""
    if _HUSHED not in warnings.filters:
        warnings.filterwarnings("ignore", module=_HUSHED[3].pattern)


_UPRIGHT: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""What undoes each EXIF orientation (CIPA DC-008, tag 0x0112)."""

_MAX_SCANS = 100
"""Cameras and encoders write 1 to 14. Each scan of a progressive file passes over the whole picture again: a few
kilobytes could keep a decoder busy for hours."""

_HUSHED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

PICTURES: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
