"""Coloured figures: a kind, a colour and a box come in, ink on a canvas goes out; it knows no questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.demo.world.canvas import Box, Canvas, Color, Point

COLORS: dict[str, Color] = {
    "red": (218, 30, 36),
    "orange": (248, 140, 20),
    "yellow": (250, 222, 40),
    "green": (38, 158, 62),
    "blue": (32, 78, 214),
    "purple": (128, 44, 172),
    "pink": (252, 140, 192),
    "brown": (126, 68, 36),
    "gray": (128, 128, 128),
    "black": (18, 18, 18),
    "white": (250, 250, 250),
    "cyan": (56, 206, 224),
}
_ASPECT = {"rectangle": (0.45, 0.62), "oval": (0.5, 0.65)}
KINDS = ("circle", "square", "triangle", "rectangle", "star", "diamond", "hexagon", "cross", "heart", "oval")
_SPREAD = 12
"""How far a channel may lie from its colour's name."""
_LEAST = 110.0
"""How far, as the straight line in RGB, a figure must stand out from the ground."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `box` is what its ink fills, in pixels."""

    kind: str
    color: str
    paint: Color
    box: Box

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}"

    @property
    def centre(self) -> Point:
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def label(self) -> str:
        """With its article: "an orange star"."""
        return f"{'an' if self.color[0] in 'aeiou' else 'a'} {self.name}"


def pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.random() * len(items))]


def ground(rng: np.random.Generator) -> tuple[Color, str | None]:
    """A background and its name when it has a plain one: mostly white or light, sometimes dark."""
    dice = rng.random()
    if dice < 0.35:
        return (255, 255, 255), "white"
    if dice < 0.5:
        return (8, 8, 10), "black"
    low, high = (222, 256) if dice < 0.85 else (28, 76)
    r, g, b = (int(v) for v in rng.integers(low, high, size=3))
    return (r, g, b), None


def colors_on(paper: Color) -> tuple[str, ...]:
    """The colours that stand out from `paper`."""
    return tuple(name for name, color in COLORS.items() if math.dist(color, paper) > _LEAST)


def paint(rng: np.random.Generator, color: str) -> Color:
    """A colour that everybody would call `color`."""
    shift = rng.integers(-_SPREAD, _SPREAD + 1, size=3)
    if color in ("gray", "black", "white"):
        shift[:] = shift[0]
    r, g, b = (min(max(c + int(s), 0), 255) for c, s in zip(COLORS[color], shift, strict=True))
    return r, g, b


def sides(rng: np.random.Generator, kind: str, size: int) -> tuple[int, int]:
    """Width and height of a figure whose longer side is `size`."""
    if kind not in _ASPECT:
        return size, size
    short = round(size * rng.uniform(*_ASPECT[kind]))
    return (size, short) if rng.random() < 0.65 else (short, size)


def draw(canvas: Canvas, figure: Figure) -> None:
    """Paint the figure; its ink touches all four sides of its box and stays inside it."""
    if figure.kind in ("circle", "oval"):
        canvas.ellipse(figure.box, figure.paint)
    elif figure.kind in ("square", "rectangle"):
        canvas.rect(figure.box, figure.paint)
    else:
        x0, y0, x1, y1 = figure.box
        canvas.polygon([(x0 + u * (x1 - x0), y0 + v * (y1 - y0)) for u, v in _OUTLINES[figure.kind]], figure.paint)


def _stretched(points: Sequence[Point]) -> tuple[Point, ...]:
    """Points moved and stretched until they fill the unit square."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return tuple(((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys))) for x, y in points)


def _ring(corners: int, inner: float = 1.0) -> list[Point]:
    """Corners of a regular polygon, first at the top; every second at radius `inner`."""
    turns = [2 * math.pi * i / corners for i in range(corners)]
    radii = [1.0 if i % 2 == 0 else inner for i in range(corners)]
    return [(r * math.sin(t), -r * math.cos(t)) for r, t in zip(radii, turns, strict=True)]


def _heart() -> list[Point]:
    """The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    turns = [2 * math.pi * i / 40 for i in range(40)]
    return [
        (
            16 * math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
        )
        for t in turns
    ]


_THIRD = 0.32
_OUTLINES: dict[str, tuple[Point, ...]] = {
    "triangle": ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "diamond": ((0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)),
    "hexagon": ((0.27, 0.0), (0.73, 0.0), (1.0, 0.5), (0.73, 1.0), (0.27, 1.0), (0.0, 0.5)),
    "star": _stretched(_ring(10, 0.42)),
    "heart": _stretched(_heart()),
    "cross": (
        *((_THIRD, 0.0), (1 - _THIRD, 0.0), (1 - _THIRD, _THIRD), (1.0, _THIRD), (1.0, 1 - _THIRD)),
        *((1 - _THIRD, 1 - _THIRD), (1 - _THIRD, 1.0), (_THIRD, 1.0), (_THIRD, 1 - _THIRD)),
        *((0.0, 1 - _THIRD), (0.0, _THIRD), (_THIRD, _THIRD)),
    ),
}
