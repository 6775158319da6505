"""A seed becomes pictures that look like photographs, as JPEG, or like screens, as PNG; equal seeds give equal files.

Speed depends on size, on bytes and on the pixels never having been seen before, not on what is shown. So a photograph
is noise at several scales (a JPEG of usual weight), a screen flat areas with rows of text (a PNG that packs well).
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

_SCALES = ((64, 1.0), (16, 0.3), (4, 0.15))
"""(Pixels between grid points of the noise, its share over the coarser ones.)"""
_QUALITY = 90
_INK, _PAPER, _BAR, _BLUE = (34, 38, 46), (250, 250, 252), (226, 229, 236), (38, 98, 217)


class Pictures:
    """An endless supply; every call gives a picture that was not there before."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def photo(self, width: int, height: int) -> str:
        """A data: URL of a JPEG."""
        page = Image.new("RGB", (width, height))
        for scale, share in _SCALES:
            size = (max(2, height // scale), max(2, width // scale), 3)
            grid = Image.fromarray(self._random.integers(0, 256, size, dtype=np.uint8))
            page = Image.blend(page, grid.resize((width, height), Image.Resampling.BICUBIC), share)
        return _url(page, "jpeg", quality=_QUALITY)

    def screen(self, width: int, height: int) -> str:
        """A data: URL of a PNG: a window with a bar, a column of entries, rows of text and buttons."""
        page = Image.new("RGB", (width, height), _PAPER)
        draw = ImageDraw.Draw(page)
        draw.rectangle((0, 0, width, 36), fill=_BAR)
        draw.rectangle((0, 36, width // 5, max(36, height)), fill=(240, 242, 246))
        draw.text((12, 12), self._words(2), fill=_INK)
        for top in range(52, height - 12, 24):
            draw.text((12, top), self._words(2), fill=_INK)
            draw.text((width // 5 + 24, top), self._words(int(self._random.integers(4, 12))), fill=_INK)
        for left in range(width // 5 + 24, width - 100, 120):
            draw.rounded_rectangle((left, 6, left + 96, 30), 6, fill=_BLUE)
            draw.text((left + 12, 12), self._words(1), fill=_PAPER)
        return _url(page, "png", compress_level=6)

    def _words(self, count: int) -> str:
        letters = self._random.integers(97, 123, (count, 7))
        return " ".join("".join(map(chr, word[: 3 + word[0] % 5])) for word in letters)


def _url(picture: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
