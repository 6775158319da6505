"""How a page looks and wears: sizes, colours and background before the drawing, wear after it.

A scene asks `Paper.pick` for a paper, draws at `paper.zoom` times the final size, opens a canvas as large as its
content needs, and hands the canvas to `finish`, which resizes it to multiples of 32 and wears it mildly in four of ten
cases.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from saccade.demo.world.canvas import Canvas, Color, Overflow
from saccade.demo.world.sample import Letters, Sample, Turn, UInt8Array, World

_CELL = 32
_SMALL, _FULL, _LARGE, _SIDE = 320, 1200, 1900, 832
"""Patches of 16x16 of a picture at stage 0, of an ordinary and of a large one, and the longest side in pixels."""

_ROOMY = ((25, 19), (25, 17), (24, 18), (23, 17), (22, 20), (20, 20), (19, 25), (18, 24), (26, 18), (20, 16), (25, 14))
"""Sizes of large pictures in cells of 32 pixels, width and height."""


# --- colours ---------------------------------------------------------------------------------------------------------


def luminance(color: Color) -> float:
    """Relative luminance as WCAG 2 defines it, 0..1."""
    parts = [v / 255 for v in color]
    r, g, b = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: Color, b: Color) -> float:
    """Contrast ratio as WCAG 2 defines it, 1..21."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def any_color(rng: np.random.Generator, low: int = 0, high: int = 256) -> Color:
    """Each channel even in low..high-1."""
    r, g, b = (int(v) for v in rng.integers(low, high, size=3))
    return r, g, b


def ink_for(rng: np.random.Generator, ground: Color, least: float = 3.2) -> Color:
    """A random colour that reads well on `ground`."""
    for _ in range(24):
        color = any_color(rng)
        if contrast(color, ground) >= least:
            return color
    return (0, 0, 0) if luminance(ground) > 0.18 else (255, 255, 255)


def mix(a: Color, b: Color, share: float) -> Color:
    """`share` of b in a."""
    r, g, c = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, c


@dataclass(frozen=True, slots=True)
class Look:
    """Colours that go together: everything written in `ink` or `accent` reads on `ground`."""

    ground: Color
    ink: Color
    accent: Color

    @classmethod
    def pick(cls, rng: np.random.Generator) -> Look:
        dice = rng.random()
        if dice < 0.5:
            ground = any_color(rng, 244, 256) if dice < 0.25 else (255, 255, 255)
            ink = any_color(rng, 0, 40) if rng.random() < 0.75 else ink_for(rng, ground, 4.0)
        elif dice < 0.68:
            ground = any_color(rng, 195, 256)
            ink = any_color(rng, 0, 50) if rng.random() < 0.5 else ink_for(rng, ground)
        elif dice < 0.86:
            ground = any_color(rng, 0, 60)
            ink = any_color(rng, 205, 256) if rng.random() < 0.7 else ink_for(rng, ground)
        else:
            ground = any_color(rng)
            ink = ink_for(rng, ground)
        return cls(ground, ink, ink_for(rng, ground))

    @property
    def dark(self) -> bool:
        return luminance(self.ground) < luminance(self.ink)


# --- sizes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paper:
    """The limits of one picture; `zoom` is how many pixels are drawn for one of the final picture."""

    zoom: float
    patches: int
    stage: float
    practice: bool = False
    """Pages to learn from have more small letters than those of a test: these are what is misread."""

    @classmethod
    def pick(cls, rng: np.random.Generator, world: World) -> Paper:
        stage = world.stage
        if stage >= 0.5:
            patches = _LARGE if rng.random() < 0.06 else _FULL
        else:
            patches = round(_SMALL + (_FULL - _SMALL) * stage / 0.5)
        dice = rng.random() if stage >= 0.2 else 1.0
        zoom = rng.uniform(0.86, 1.16) if dice < 0.11 else rng.uniform(1.2, 2.1) if dice < 0.2 else 1.0
        return cls(float(zoom), patches, stage, world.split == "train")

    def px(self, pixels: float) -> int:
        """Pixels to draw for `pixels` of the final picture, at least 1."""
        return max(1, round(pixels * self.zoom))

    def letter(self, rng: np.random.Generator) -> int:
        """A letter size in final pixels, 11 to 40, mostly 14 to 30; large ones at an early stage."""
        if self.stage < 0.3:
            return int(rng.integers(15, 31))
        least = 11 if self.zoom < 1.3 else 13
        if self.practice and rng.random() < 0.3:
            return int(rng.integers(least, 17))
        dice = rng.random()
        if dice < 0.06:
            return int(rng.integers(least, 14))
        if dice < 0.55:
            return int(rng.integers(14, 20))
        if dice < 0.78:
            return int(rng.integers(19, 25))
        return int(rng.integers(24, 33)) if dice < 0.96 else int(rng.integers(33, 41))

    def open(self, rng: np.random.Generator, width: float, height: float, ground: Color, slack: float = 0.28) -> Canvas:
        """A canvas for content of width x height drawn pixels, and with chance `slack` on each side some more.

        Raises Overflow when the final picture would be larger than this paper allows.
        """
        cells = [max(1, int(np.ceil(need / self.zoom / _CELL))) for need in (width, height)]
        if cells == [1, 1]:
            cells[0] = 2
        if not self._fits(cells):
            raise Overflow(f"{cells[0] * _CELL}x{cells[1] * _CELL}")
        roomy = [room for room in _ROOMY if self._fits(room) and room[0] >= cells[0] and room[1] >= cells[1]]
        if self.patches == _LARGE and roomy:
            cells = [*roomy[int(rng.integers(len(roomy)))]]
        else:
            for side in (0, 1):
                more = [*cells]
                more[side] += int(rng.integers(1, 4)) if rng.random() < slack else 0
                cells = more if self._fits(more) else cells
        sides = [count * _CELL for count in cells]
        drawn = [int(np.ceil(side * self.zoom)) for side in sides]
        if self.zoom != 1.0:
            drawn[int(rng.integers(2))] += int(rng.integers(0, 24))
        canvas = Canvas(drawn[0], drawn[1], ground)
        canvas.final = (sides[0], sides[1])
        return canvas

    def _fits(self, cells: Sequence[int]) -> bool:
        return cells[0] * cells[1] * 4 <= self.patches and max(cells) * _CELL <= _SIDE


def dress(canvas: Canvas, rng: np.random.Generator) -> None:
    """Now and then a slight gradient or grain on an empty page, too faint to hide ink."""
    dice = rng.random()
    if dice < 0.07:
        length, axis = ((canvas.width, 1), (canvas.height, 0))[int(rng.integers(2))]
        slope = np.linspace(-1, 1, length) * rng.uniform(4, 16, size=(1, 3)).T * rng.choice((-1, 1))
        tint = slope.T[None, :, :] if axis == 1 else slope.T[:, None, :]
        canvas.pixels[:] = np.clip(canvas.pixels + tint, 0, 255)
    elif dice < 0.12:
        canvas.pixels[:] = _grain(rng, canvas.pixels, float(rng.uniform(1.5, 5)))


# --- wear ------------------------------------------------------------------------------------------------------------


def finish(canvas: Canvas, kind: str, turns: Sequence[Turn], rng: np.random.Generator, world: World) -> Sample:
    """The final picture: resized to `canvas.final`, worn, with the letters' places following.

    Pictures whose questions carry coordinates are never turned; everything else leaves thousandths as they are.
    """
    codes, places = canvas.places()
    pixels, (width, height) = canvas.pixels, canvas.final
    if (canvas.width, canvas.height) != (width, height):
        how = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)[
            int(rng.choice(3, p=(0.6, 0.25, 0.15)))
        ]
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), how))
        places = places * (width / canvas.width, height / canvas.height)
    if world.stage >= 0.15 and rng.random() < 0.36:
        upright = any(turn.task in ("locate", "at", "absent") for turn in turns)
        pixels, places = _wear(pixels, places, rng, upright)
    letters: Letters = codes, places[:, 0].astype(np.int16), places[:, 1].astype(np.int16)
    return Sample(kind, np.ascontiguousarray(pixels)[None], (), tuple(turns), letters)


def _wear(
    pixels: UInt8Array, places: npt.NDArray[np.float64], rng: np.random.Generator, upright: bool
) -> tuple[UInt8Array, npt.NDArray[np.float64]]:
    dice = rng.random()
    if dice < 0.16 and not upright:
        return _turned(pixels, places, float(rng.uniform(-1.5, 1.5)))
    if dice < 0.40:
        pixels = _jpeg(pixels, int(rng.integers(40, 96)))
    elif dice < 0.58:
        pixels = _grain(rng, pixels, float(rng.uniform(2, 12)))
    elif dice < 0.76:
        pixels = _blurred(pixels, float(rng.uniform(0.35, 0.8)))
    else:
        pixels = _faded(pixels, rng)
    if rng.random() < 0.12:
        pixels = _jpeg(pixels, int(rng.integers(50, 96)))
    return pixels, places


def _turned(
    pixels: UInt8Array, places: npt.NDArray[np.float64], degrees: float
) -> tuple[UInt8Array, npt.NDArray[np.float64]]:
    """Turned about the centre; left as it is when a letter would leave the page."""
    height, width = pixels.shape[:2]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = np.array((width / 2, height / 2))
    moved = (places - middle) @ np.array(((c, -s), (s, c))) + middle
    room = np.array((14.0, 18.0))
    if len(moved) and ((moved < room) | (moved > (width, height) - room)).any():
        return pixels, places
    edge = pixels[0, 0]
    fill = (int(edge[0]), int(edge[1]), int(edge[2]))
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.asarray(image), moved


def _jpeg(pixels: UInt8Array, quality: int) -> UInt8Array:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _blurred(pixels: UInt8Array, sigma: float) -> UInt8Array:
    """A 3x3 kernel with the weights of a normal distribution."""
    side = np.exp(-0.5 / sigma**2)
    row = np.array((side, 1.0, side))
    kernel = ImageFilter.Kernel((3, 3), np.outer(row, row).ravel().tolist())
    return np.asarray(Image.fromarray(pixels).filter(kernel))


def _faded(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Less contrast, or another brightness."""
    gain, shift = rng.uniform(0.7, 1.1), rng.uniform(-20, 20)
    table = np.clip((np.arange(256) - 128) * gain + 128 + shift, 0, 255).astype(np.uint8)
    worn: UInt8Array = table[pixels]
    return worn


def _grain(rng: np.random.Generator, pixels: UInt8Array, sigma: float) -> UInt8Array:
    """Normal noise with standard deviation `sigma`, cut from one fixed bank at a random place; a picture larger than
    the bank repeats it."""
    bank = _noise()
    start = int(rng.integers(max(1, len(bank) - pixels.size)))
    noise = np.resize(bank[start:], pixels.size)
    return np.clip(pixels + noise.reshape(pixels.shape) * np.float32(sigma), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)


# --- questions -------------------------------------------------------------------------------------------------------

Asked = tuple[float, Callable[[], Turn]]
"""How often to ask it, and how to make the turn."""


def choose(rng: np.random.Generator, pool: Sequence[Asked], most: int = 4) -> tuple[Turn, ...]:
    """One to `most` different questions of the pool in random order, so that the first may be any of them."""
    weights = np.array([weight for weight, _ in pool])
    count = min(1 + int(rng.integers(most)), len(pool))
    keys = rng.random(len(pool)) ** (1 / weights)
    return tuple(pool[i][1]() for i in np.argsort(-keys)[:count])
