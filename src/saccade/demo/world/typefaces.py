"""Fonts as cached glyph bitmaps: a face and a size come in, masks with their advances go out; it knows no page."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ImageFont

from saccade.demo.world.faces import COMMON, FAMILIES
from saccade.demo.world.sample import UInt8Array, World

FOLDER = Path(__file__).resolve().parent.parent / "fonts"
_EM = 1024
_X_ROWS = 5
_CACHED_FONTS = 6000


class Glyph(NamedTuple):
    """One character's coverage, and where its edges lie from the pen on the baseline; all 0 when it has no ink."""

    mask: UInt8Array
    left: int
    top: int
    right: int
    bottom: int
    advance: float


class Line(NamedTuple):
    """A run of text as one coverage mask; `left`, `top` place it relative to the pen's start on the baseline."""

    mask: UInt8Array
    left: int
    top: int
    codes: bytes
    centres: npt.NDArray[np.float64]
    """[n, 2] centre (x, y) of each character that has ink, relative to the pen's start."""


class _Bitmaps:
    """The masks of one face at one size, rendered when first needed: (mask, left, top, rounded advance)."""

    def __init__(self, file: str, size: int) -> None:
        self.freetype = ImageFont.truetype(str(FOLDER / file), size, layout_engine=ImageFont.Layout.BASIC)
        self.known: dict[str, Glyph] = {}

    def render(self, char: str) -> Glyph:
        advance = self.freetype.getlength(char)
        core, (left, top) = self.freetype.getmask2(char, "L", anchor="ls")
        width, height = core.size
        mask = np.array(core, np.uint8).reshape(height, width)
        ink = mask > 0
        columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
        if not len(rows):
            return Glyph(np.zeros((0, 0), np.uint8), 0, 0, 0, 0, advance)
        mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        x, y = int(left + columns[0]), int(top + rows[0])
        return Glyph(mask, x, y, x + mask.shape[1], y + mask.shape[0], advance)


class Font:
    """A face at a size in pixels. With `linear`, advances are the outline's own; else rounded to whole pixels."""

    def __init__(self, file: str, size: int, linear: bool) -> None:
        self.file, self.size, self.linear = file, size, linear
        self._bitmaps = _bitmaps(file, size)
        self.ascent, self.descent = self._bitmaps.freetype.getmetrics()
        self._glyphs: dict[str, Glyph] = {} if linear else self._bitmaps.known

    @property
    def small(self) -> bool:
        """Whether an x has fewer than five rows of pixels: too few to tell e from c."""
        x = self.glyph("x")
        return x.bottom - x.top < _X_ROWS

    @property
    def height(self) -> int:
        """Pixels from the top of the tallest letter to the bottom of the lowest."""
        return self.ascent + self.descent

    def glyph(self, char: str) -> Glyph:
        found = self._glyphs.get(char)
        if found is None:
            known = self._bitmaps.known
            found = known.get(char) or known.setdefault(char, self._bitmaps.render(char))
            if self.linear:
                found = found._replace(advance=_advance(self.file, char) * self.size)
            self._glyphs[char] = found
        return found

    def measure(self, text: str, tracking: float = 0.0) -> float:
        """Width of `text` in pixels, with `tracking` more pixels between letters."""
        known = self._glyphs
        return sum([(known.get(c) or self.glyph(c)).advance for c in text]) + tracking * max(len(text) - 1, 0)

    def set(self, text: str, tracking: float = 0.0, start: float = 0.0) -> Line:
        """Compose one line; `start` is the fraction of a pixel at which the pen begins. Blanks vanish."""
        known, pen, placed = self._glyphs, start + 0.5, []
        left = top = 1 << 20
        right = bottom = -left
        for char in text:
            mask, x0, y0, x1, y1, advance = known.get(char) or self.glyph(char)
            if x1 > x0:
                at = int(pen)
                placed.append((at + x0, y0, at + x1, y1, mask))
                left, right = min(left, at + x0), max(right, at + x1)
                top, bottom = min(top, y0), max(bottom, y1)
            pen += advance + tracking
        if not placed:
            return Line(np.zeros((0, 0), np.uint8), 0, 0, b"", np.zeros((0, 2)))
        page = np.zeros((bottom - top, right - left), np.uint8)
        for x0, y0, x1, y1, mask in placed:
            spot = page[y0 - top : y1 - top, x0 - left : x1 - left]
            np.maximum(spot, mask, out=spot)
        codes = text.replace(" ", "").encode("cp1252")
        centres = np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1, _ in placed])
        return Line(page, left, top, codes, centres)


@lru_cache(maxsize=_CACHED_FONTS)
def font(file: str, size: int, linear: bool = False) -> Font:
    """The font of `file` (a name in demo/fonts) at `size` pixels; kept per process, the least used are dropped."""
    return Font(file, size, linear)


@lru_cache(maxsize=_CACHED_FONTS)
def _bitmaps(file: str, size: int) -> _Bitmaps:
    return _Bitmaps(file, size)


@lru_cache(maxsize=512)
def _em_font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FOLDER / file), _EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=32768)
def _advance(file: str, char: str) -> float:
    """Advance in em, as good as unhinted."""
    return _em_font(file).getlength(char) / _EM


@lru_cache(maxsize=2)
def files(split: str) -> tuple[str, ...]:
    """Font files of "known" or "unseen" families."""
    return tuple(file for family, where, names in FAMILIES if where == split for file in names)


@lru_cache(maxsize=2)
def _monospaced(split: str) -> tuple[str, ...]:
    return tuple(file for file in files(split) if _advance(file, "i") == _advance(file, "W"))


def pick_face(rng: np.random.Generator, world: World) -> str:
    """A random face of the world's font set; the everyday families come more often."""
    names = files(world.fonts)
    if world.fonts == "known" and rng.random() < 0.22:
        names = COMMON
    return names[int(rng.integers(len(names)))]


def pick_font(rng: np.random.Generator, world: World, size: float, mono: bool = False) -> Font:
    """A random face at `size` pixels (rounded; above 40 to even sizes, so that the cache stays small).

    A face with small letters comes a little larger, so that it can be read.
    With `mono`, a face whose characters are all as wide.
    """
    file = pick_face(rng, world)
    if mono:
        names = _monospaced(world.fonts)
        file = names[int(rng.integers(len(names)))]
    whole = max(8, round(size) if size <= 40 else 2 * round(size / 2))
    linear = bool(rng.random() < 0.4)
    while (found := font(file, whole, linear)).small:
        whole += 1
    return found
