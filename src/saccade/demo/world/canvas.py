"""A page to draw on: boxes, text, shapes in pixels come in; an RGB array, ink boxes and letter places go out.

Coordinates are pixels of the page while it is drawn, origin top left, boxes (x0, y0, x1, y1) with x1, y1 exclusive.
Text that does not lie fully on the page raises Overflow, so no answer can name what was not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from saccade.demo.world.sample import UInt8Array
from saccade.demo.world.typefaces import Font

Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
_OVER = 4
"""Polygons and ellipses are drawn this many times larger and averaged down, for smooth edges."""


class Overflow(Exception):
    """What was to be drawn does not fit; `draw` throws the dice again."""


class Canvas:
    """`width` x `height` pixels of `background`; `pixels` is the uint8 [height, width, 3] array itself."""

    def __init__(self, width: int, height: int, background: Color) -> None:
        self.width, self.height = width, height
        self.pixels: UInt8Array = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = _row(width, background)
        self.final = (width, height)
        """Width and height of the picture that this page is resized to when it is done."""
        self._codes = bytearray()
        self._centres: list[npt.NDArray[np.float64]] = []

    # --- text --------------------------------------------------------------------------------------------------------

    def text(self, x: float, y: float, text: str, font: Font, color: Color, tracking: float = 0.0) -> Box:
        """Draw one line whose line box (font.height tall) has its top left corner at (x, y); returns the ink's box.

        Records the centre of every character. Raises Overflow when ink would leave the page.
        """
        whole = int(np.floor(x))
        line = font.set(text, tracking, x - whole)
        baseline = round(y) + font.ascent
        x0, y0 = whole + line.left, baseline + line.top
        h, w = line.mask.shape
        if x0 < 0 or y0 < 0 or x0 + w > self.width or y0 + h > self.height:
            raise Overflow(f"{text!r} at ({x:.0f}, {y:.0f}) on {self.width}x{self.height}")
        self.blend(x0, y0, line.mask, color)
        self._codes += line.codes
        self._centres.append(line.centres + np.array((whole, baseline)))
        return x0, y0, x0 + w, y0 + h

    def blend(self, x: int, y: int, mask: UInt8Array, color: Color) -> None:
        """Paint `color` through a coverage mask [h, w] (255 = opaque) at (x, y); parts outside the page are dropped."""
        h, w = mask.shape
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, self.width), min(y + h, self.height)
        if x0 >= x1 or y0 >= y1:
            return
        if (x1 - x0, y1 - y0) != (w, h):
            mask = mask[y0 - y : y1 - y, x0 - x : x1 - x]
        spot = self.pixels[y0:y1, x0:x1]
        paint = np.array(color, np.float32) - spot
        paint *= (mask * np.float32(1 / 255))[..., None]
        paint += spot
        paint += 0.5
        spot[:] = paint

    # --- straight things ----------------------------------------------------------------------------------------------

    def rect(self, box: Box, fill: Color) -> None:
        """Fill a box, clipped to the page."""
        x0, y0, x1, y1 = self._clip(box)
        if x1 > x0 and y1 > y0:
            self.pixels[y0:y1, x0:x1] = _row(x1 - x0, fill)

    def frame(self, box: Box, color: Color, width: int = 1) -> None:
        """The border of a box, `width` pixels wide, inside it."""
        x0, y0, x1, y1 = (round(v) for v in box)
        for side in (
            (x0, y0, x1, y0 + width),
            (x0, y1 - width, x1, y1),
            (x0, y0, x0 + width, y1),
            (x1 - width, y0, x1, y1),
        ):
            self.rect(side, color)

    def hline(self, x0: float, x1: float, y: float, color: Color, width: int = 1, dash: int = 0) -> None:
        """A level line from x0 to x1 with its top edge at y; `dash` pixels on, `dash` off when not 0."""
        if not dash:
            self.rect((x0, y, x1, y + width), color)
            return
        for x in range(round(x0), round(x1), 2 * dash):
            self.rect((x, y, min(x + dash, x1), y + width), color)

    def vline(self, x: float, y0: float, y1: float, color: Color, width: int = 1) -> None:
        """An upright line from y0 to y1 with its left edge at x."""
        self.rect((x, y0, x + width, y1), color)

    def rounded(self, box: Box, radius: int, fill: Color, outline: Color | None = None, width: int = 1) -> None:
        """A box with round corners, with a border of `width` pixels when `outline` is given."""
        x0, y0, x1, y1 = (round(v) for v in box)
        if outline is not None:
            self.rounded((x0, y0, x1, y1), radius, outline)
            x0, y0, x1, y1 = x0 + width, y0 + width, x1 - width, y1 - width
            radius = max(radius - width, 0)
        radius = min(radius, (x1 - x0) // 2, (y1 - y0) // 2)
        if radius < 1:
            self.rect((x0, y0, x1, y1), fill)
            return
        self.rect((x0, y0 + radius, x1, y1 - radius), fill)
        self.rect((x0 + radius, y0, x1 - radius, y0 + radius), fill)
        self.rect((x0 + radius, y1 - radius, x1 - radius, y1), fill)
        corner = _corner(radius)
        self.blend(x0, y0, corner, fill)
        self.blend(x1 - radius, y0, corner[:, ::-1], fill)
        self.blend(x0, y1 - radius, corner[::-1], fill)
        self.blend(x1 - radius, y1 - radius, corner[::-1, ::-1], fill)

    # --- round and slanted things -------------------------------------------------------------------------------------

    def ellipse(self, box: Box, fill: Color) -> None:
        """A filled ellipse inside `box`, with smooth edges."""
        corners = [(box[0], box[1]), (box[2], box[3])]
        self._smooth(corners, 0, fill, lambda pen, at: pen.ellipse([at[0], at[1]], fill=255))

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        """A filled polygon with smooth edges."""
        self._smooth(points, 0, fill, lambda pen, at: pen.polygon(at, fill=255))

    def line(self, points: Sequence[Point], color: Color, width: float = 1.0) -> None:
        """A polyline with smooth edges, `width` pixels wide."""
        thick = max(1, round(width * _OVER))
        self._smooth(points, width, color, lambda pen, at: pen.line(at, fill=255, width=thick, joint="curve"))

    def _smooth(
        self,
        points: Sequence[Point],
        pad: float,
        color: Color,
        draw: Callable[[ImageDraw.ImageDraw, list[Point]], None],
    ) -> None:
        x0, y0, x1, y1 = bounds(points)
        left, top = int(np.floor(x0 - pad)), int(np.floor(y0 - pad))
        width, height = int(np.ceil(x1 + pad)) - left + 1, int(np.ceil(y1 + pad)) - top + 1
        sheet = Image.new("L", (width * _OVER, height * _OVER))
        draw(ImageDraw.Draw(sheet), [((x - left) * _OVER, (y - top) * _OVER) for x, y in points])
        self.blend(left, top, np.asarray(sheet.reduce(_OVER)), color)

    # --- looking back -------------------------------------------------------------------------------------------------

    def share(self, box: Box) -> list[int]:
        """A box in thousandths of the page, as questions and answers give it: [x1, y1, x2, y2] in 0..1000."""
        x0, y0, x1, y1 = box
        return [
            min(max(round(1000 * v / full), 0), 1000)
            for v, full in ((x0, self.width), (y0, self.height), (x1, self.width), (y1, self.height))
        ]

    def places(self) -> tuple[UInt8Array, npt.NDArray[np.float64]]:
        """cp1252 codes [n] and centres (x, y) [n, 2] of the characters drawn so far, in pixels of the page."""
        codes = np.frombuffer(bytes(self._codes), np.uint8)
        return codes, np.concatenate(self._centres) if self._centres else np.zeros((0, 2))

    def _clip(self, box: Box) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = (round(v) for v in box)
        return max(x0, 0), max(y0, 0), max(min(x1, self.width), 0), max(min(y1, self.height), 0)


def _row(width: int, color: Color) -> UInt8Array:
    """[width, 3] of one colour: copied whole into each row, far faster than broadcasting three values."""
    return np.frombuffer(bytes(color) * width, np.uint8).reshape(width, 3)


def bounds(points: Sequence[Point]) -> Box:
    """The smallest box around points."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around boxes."""
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


@lru_cache(maxsize=64)
def _corner(radius: int) -> UInt8Array:
    """Coverage of the upper left quarter of a disc, [radius, radius]."""
    at = (np.arange(radius * _OVER) + 0.5) / _OVER - radius
    inside = at[:, None] ** 2 + at[None, :] ** 2 <= radius * radius
    cover = inside.reshape(radius, _OVER, radius, _OVER).mean(axis=(1, 3))
    return np.asarray(cover * 255 + 0.5, np.uint8)
