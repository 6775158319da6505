"""The bytes of a PDF file -> one of its pages as upright RGB pixels on white; the only file that touches PDFium, which
the extra `saccade[pdf]` brings.

The size of a page is held against the limits before anything is drawn; scripts and forms are not run.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from saccade.errors import MediaError
from saccade.media.limits import MediaLimits, check_area, damaged
from saccade.types import MediaRef, UInt8Array

DOTS = 144 / 72
"""Pixels for each point, which is 1/72 inch: 144 to the inch, at which letters of a printed page have about 20."""
_ONE_AT_A_TIME = threading.Lock()
"""PDFium may be in one thread only. Under `saccade serve` each decoder is a process of its own."""


def can_read() -> bool:
    """Whether PDFium is installed."""
    return find_spec("pypdfium2") is not None


def load() -> None:
    """Have PDFium at hand, before the first file comes."""
    with suppress(ImportError):
        import pypdfium2  # noqa: F401


def decode_page(data: bytes, ref: MediaRef, limits: MediaLimits) -> tuple[UInt8Array, int]:
    """[H, W, 3] of page `ref.page` (from 1) at 144 dots to the inch, or what fits into `ref.max_pixels`; and how many
    pages there are. MediaError for a file that is damaged or locked, and for a page that is not there."""
    try:
        import pypdfium2
    except ImportError:
        raise missing(ref) from None
    with _ONE_AT_A_TIME:
        return _decoded(pypdfium2, data, ref, limits)


def _decoded(pypdfium2: Any, data: bytes, ref: MediaRef, limits: MediaLimits) -> tuple[UInt8Array, int]:
    assert ref.page is not None
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise MediaError("The PDF file is locked with a password.", param=ref.param) from None
        raise damaged("PDF", ref, error) from None
    try:
        count = len(document)
        if not 1 <= ref.page <= count:
            raise MediaError(f"The PDF file has {count} pages; there is no page {ref.page}.", param=ref.param)
        page = document[ref.page - 1]
        width, height = page.get_size()
        scale = _scale(width, height, min(ref.max_pixels or limits.max_pixels, limits.max_image_pixels))
        check_area("page", math.ceil(width * scale), math.ceil(height * scale), ref, limits)
        pixels = page.render(scale=scale, rev_byteorder=True).to_numpy()
        return pixels[..., :3].copy(), count  # what PDFium drew on is gone with the document
    except MediaError:
        raise
    except Exception as error:
        raise damaged("PDF", ref, error) from None
    finally:
        document.close()


def _scale(width: float, height: float, most: int) -> float:
    """DOTS, or what makes at most `most` pixels of a page in points. Each side is rounded up to whole pixels, so it
    solves (width s + 1) (height s + 1) = most."""
    area, sides = width * height, width + height
    if not 0 < area < math.inf:
        return DOTS
    return min(DOTS, (math.sqrt(sides**2 + 4 * area * (most - 1)) - sides) / (2 * area))


def missing(ref: MediaRef) -> MediaError:
    """What is said where PDFium is not installed."""
    hint = "Install the extra: pip install 'saccade[pdf]'."
    return MediaError("This server cannot read PDF files.", param=ref.param, hint=hint)
