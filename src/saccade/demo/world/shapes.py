"""Pictures of coloured figures with questions on colour, kind, number and place; figures never overlap.

Only what has one right answer is asked: names that fit one figure, places well inside a ninth of the picture,
neighbours that no second figure rivals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from saccade.demo.world.answers import located, plain
from saccade.demo.world.ask import ask
from saccade.demo.world.canvas import Canvas, Overflow
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.figures import COLORS, KINDS, Figure, colors_on, draw, ground, paint, pick, sides
from saccade.demo.world.paper import Asked, choose, dress, finish
from saccade.demo.world.sample import Sample, Turn, World
from saccade.demo.world.typefaces import pick_font

_GAP = 6
_EDGE = 0.035
"""Share of the picture by which a centre stays away from the lines between the ninths."""
_SIGNS = "ABCDEFGHKLMNPRSTUVXYZ23456789"
_SIDES: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True, slots=True)
class _Scene:
    """What stands in the picture, for the questions."""

    canvas: Canvas
    figures: tuple[Figure, ...]
    signs: tuple[str, ...]
    """The letter or digit on each figure, or nothing."""
    background: str | None


def scene(rng: np.random.Generator, world: World) -> Sample:
    """One picture: a single large figure at stage 0, up to six in pictures of up to 480x384 pixels at stage 1."""
    shade, name = ground(rng)
    many = 1 + int(rng.random() * (1 + 5 * min(world.stage / 0.4, 1.0)))
    cells = 3 + rng.integers(0, 2 + round(9 * min(world.stage / 0.4, 1.0)), size=2)
    canvas = Canvas(32 * min(int(cells[0]), 15), 32 * min(int(cells[1]), 12), shade)
    dress(canvas, rng)
    colors = colors_on(shade)
    if rng.random() < 0.5:  # few colours and kinds, so that several figures share them
        colors = tuple(pick(rng, colors) for _ in range(2))
    kinds = KINDS if rng.random() < 0.5 else (pick(rng, KINDS), pick(rng, KINDS))
    figures = _place(rng, canvas, many, kinds, colors)
    for figure in figures:
        draw(canvas, figure)
    signs = _sign(rng, world, canvas, figures)
    turns = choose(rng, _questions(rng, world, _Scene(canvas, figures, signs, name)), 5)
    return finish(canvas, "shapes", turns, rng, world)


# --- drawing ---------------------------------------------------------------------------------------------------------


def _place(
    rng: np.random.Generator, canvas: Canvas, many: int, kinds: tuple[str, ...], colors: tuple[str, ...]
) -> tuple[Figure, ...]:
    """Up to `many` figures apart from each other, centres clear of the lines between ninths; at least one."""
    room = min(canvas.width, canvas.height)
    largest = min(120, room - 16) if many == 1 else max(28, min(120, int(1.1 * room / many**0.5)))
    figures: list[Figure] = []
    for _ in range(many):
        kind, color = pick(rng, kinds), pick(rng, colors)
        size = int(rng.integers(24, max(largest, 25)))
        for _ in range(12):
            width, height = sides(rng, kind, size)
            if width + 8 > canvas.width or height + 8 > canvas.height:
                size = max(24, size - 12)
                continue
            x = int(rng.integers(4, canvas.width - width - 3))
            y = int(rng.integers(4, canvas.height - height - 3))
            figure = Figure(kind, color, paint(rng, color), (x, y, x + width, y + height))
            if _settled(canvas, figure) and not any(_touch(figure, other) for other in figures):
                figures.append(figure)
                break
            size = max(24, int(size * 0.9))
    if not figures:
        raise Overflow("no figure found a place")
    return tuple(figures)


def _settled(canvas: Canvas, figure: Figure) -> bool:
    x, y = figure.centre
    return _clear(x / canvas.width) and _clear(y / canvas.height)


def _touch(a: Figure, b: Figure) -> bool:
    ax0, ay0, ax1, ay1 = a.box
    bx0, by0, bx1, by1 = b.box
    return ax0 < bx1 + _GAP and bx0 < ax1 + _GAP and ay0 < by1 + _GAP and by0 < ay1 + _GAP


def _sign(rng: np.random.Generator, world: World, canvas: Canvas, figures: tuple[Figure, ...]) -> tuple[str, ...]:
    """In every fifth picture a letter or digit in the middle of each figure that is large enough."""
    if rng.random() > 0.2:
        return tuple("" for _ in figures)
    signs = []
    names = iter(rng.permutation(list(_SIGNS)))
    for figure in figures:
        x0, y0, x1, y1 = figure.box
        room = min(x1 - x0, y1 - y0)
        if room < 34 or figure.kind in ("star", "cross"):
            signs.append("")
            continue
        sign = str(next(names))
        font = pick_font(rng, world, min(max(room * 0.42, 14), 36))
        bright = sum(figure.paint) > 380
        x, y = figure.centre
        y += (y1 - y0) * {"triangle": 0.16, "heart": -0.04}.get(figure.kind, 0.0)
        canvas.text(
            x - font.measure(sign) / 2, y - font.height / 2, sign, font, (10, 10, 10) if bright else (250, 250, 250)
        )
        signs.append(sign)
    return tuple(signs)


# --- places ----------------------------------------------------------------------------------------------------------


def _clear(share: float) -> bool:
    """Whether a coordinate is well away from the lines between thirds."""
    return min(abs(share - 1 / 3), abs(share - 2 / 3)) >= _EDGE


def _ninth(canvas: Canvas, figure: Figure) -> str:
    """The ninth of the picture in which the figure's centre lies, in words."""
    x, y = figure.centre
    column, row = int(3 * x / canvas.width), int(3 * y / canvas.height)
    if row == 1:
        return ("on the left", "in the center", "on the right")[column]
    return "at the " + ("top", "", "bottom")[row] + (" left", "", " right")[column]


def _neighbour(figures: Sequence[Figure], figure: Figure, side: str) -> str | None:
    """What lies on a side of the figure: its label, "nothing", or None when two could be meant or it is not clear."""
    ux, uy = _SIDES[side]
    x, y = figure.centre
    sure: list[Figure] = []
    for other in figures:
        if other is figure:
            continue
        dx, dy = other.centre[0] - x, other.centre[1] - y
        along, across = dx * ux + dy * uy, abs(dx * uy) + abs(dy * ux)
        if along > 0 and across <= 0.7 * along:
            sure.append(other)
        elif along > -4 and across <= 2.2 * along + 8:
            return None
    if len(sure) > 1:
        return None
    return sure[0].label if sure else "nothing"


# --- questions -------------------------------------------------------------------------------------------------------


def _questions(rng: np.random.Generator, world: World, scene: _Scene) -> list[Asked]:
    kinds = Counter(f.kind for f in scene.figures)
    colors = Counter(f.color for f in scene.figures)
    names = Counter(f.name for f in scene.figures)
    ask_plain = partial(plain, rng, world)
    pool: list[Asked] = [
        (2.2, partial(_count, rng, world, scene.figures)),
        (0.2, partial(_absent, rng, world, names)),
        (0.25, partial(refusal_turn, rng, world.wording)),
    ]
    if _in_order(scene.figures):
        pool.append((1.5, partial(_describe, rng, world, scene)))
    if scene.background:
        pool.append((0.2, partial(ask_plain, "color", said(scene.background), name="background")))
    for figure, sign in zip(scene.figures, scene.signs, strict=True):
        if kinds[figure.kind] == 1:
            pool.append((0.9, partial(ask_plain, "color", said(figure.color), name=figure.kind)))
        if colors[figure.color] == 1:
            pool.append((0.9, partial(ask_plain, "kind", said(figure.kind), color=figure.color)))
        if names[figure.name] == 1:
            pool.append((0.8, partial(_locate, rng, world, scene.canvas, figure)))
            pool.append((0.8, partial(ask_plain, "position", said(_ninth(scene.canvas, figure)), name=figure.name)))
            pool += [
                (0.7, partial(ask_plain, "position", said(there), name=figure.name, side=side))
                for side in _SIDES
                if (there := _neighbour(scene.figures, figure, side)) and (there != "nothing" or rng.random() < 0.06)
            ]
            if sign:
                name = f"{'digit' if sign.isdigit() else 'letter'} on the {figure.name}"
                pool.append((0.6, partial(ask_plain, "field", sign, name=name, what="plain")))
        if sign:
            pool.append((0.4, partial(ask_plain, "color", said(figure.color), name=f"shape labeled {sign}")))
    return pool


def said(words: str) -> str:
    """Words as an answer: capital letter, full stop."""
    return words[0].upper() + words[1:] + "."


def _in_order(figures: Sequence[Figure]) -> bool:
    """Whether nobody can doubt which figure stands further left than which."""
    xs = sorted(figure.centre[0] for figure in figures)
    return all(b - a >= _GAP for a, b in pairwise(xs))


def _describe(rng: np.random.Generator, world: World, scene: _Scene) -> Turn:
    """All figures from left to right, each with its place."""
    figures = sorted(scene.figures, key=lambda f: f.centre[0])
    parts = [f"{f.label} {_ninth(scene.canvas, f)}" for f in figures]
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return plain(rng, world, "describe", said(text))


def _count(rng: np.random.Generator, world: World, figures: Sequence[Figure]) -> Turn:
    """Of all, of a colour, of a kind, or of both; now and then of what is not there."""
    dice = rng.random()
    one = figures[int(rng.random() * len(figures))]
    color, kind = (pick(rng, tuple(COLORS)), pick(rng, KINDS)) if rng.random() < 0.15 else (one.color, one.kind)
    if dice < 0.4:
        what, number = "shapes", len(figures)
    elif dice < 0.65:
        what, number = f"{color} shapes", sum(f.color == color for f in figures)
    elif dice < 0.9:
        what, number = plural(kind), sum(f.kind == kind for f in figures)
    else:
        what, number = f"{color} {plural(kind)}", sum((f.color, f.kind) == (color, kind) for f in figures)
    return plain(rng, world, "count", str(number), what=what)


def plural(kind: str) -> str:
    return kind + ("es" if kind.endswith("s") else "s")


def _locate(rng: np.random.Generator, world: World, canvas: Canvas, figure: Figure) -> Turn:
    return located(rng, world, canvas, figure.box, figure.name, "shape")


def _absent(rng: np.random.Generator, world: World, names: Counter[str]) -> Turn:
    """Where is a figure that is not there?"""
    name = pick(rng, [n for n in (f"{color} {kind}" for color in COLORS for kind in KINDS) if n not in names])
    return Turn("absent", ask("locate", rng, world.wording, name=name, what="shape"), f"There is no {name}.")
