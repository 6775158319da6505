"""Bar charts, upright or lying, whose values stand at the bars or lie exactly on lines of a grid; with questions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from saccade.demo.world import vocabulary
from saccade.demo.world.answers import as_json, located, plain
from saccade.demo.world.canvas import Box, Canvas, Color, Overflow
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.figures import colors_on, paint, pick
from saccade.demo.world.paper import Asked, Look, choose, dress, finish, mix
from saccade.demo.world.sample import Sample, Turn, World
from saccade.demo.world.typefaces import Font, pick_font

Number = int | float

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500)
_WIDTH, _HEIGHT = 608, 448
"""The largest chart in pixels."""
_SEEN = 6
"""Pixels of a bar from which on its colour may be asked."""


@dataclass(frozen=True, slots=True)
class _Data:
    """What the chart says."""

    title: str
    labels: tuple[str, ...]
    values: tuple[Number, ...]
    step: Number
    """Distance of the grid lines in values; 0 when the values are printed."""

    @property
    def highest(self) -> str:
        return self.labels[int(np.argmax(self.values))]

    @property
    def lowest(self) -> str:
        return self.labels[int(np.argmin(self.values))]


@dataclass(frozen=True, slots=True)
class _Style:
    """How the chart looks."""

    look: Look
    small: Font
    large: Font
    paints: tuple[Color, ...]
    names: tuple[str, ...]
    """Colour name of each bar; empty when all are alike."""
    bar: int
    gap: int
    pad: int


def scene(rng: np.random.Generator, world: World) -> Sample:
    """One chart of 2 to 8 bars. Raises Overflow when it would be larger than 608x448 pixels."""
    data = _data(rng, world)
    style = _style(rng, world, len(data.labels))
    canvas, boxes = (_upright if rng.random() < 0.6 else _lying)(rng, data, style)
    turns = choose(rng, _questions(rng, world, data, style, canvas, boxes), 5)
    return finish(canvas, "chart", turns, rng, world)


# --- what it says ----------------------------------------------------------------------------------------------------


def _data(rng: np.random.Generator, world: World) -> _Data:
    bars = int(rng.integers(2, 4 + round(5 * min(world.stage / 0.4, 1.0))))
    labels = _labels(rng, world, bars)
    step: Number = 0
    while True:
        values: tuple[Number, ...]
        if rng.random() < 0.35:
            step = _STEPS[int(rng.random() * len(_STEPS))]
            values = tuple(int(v) * step for v in rng.integers(1, 9, size=bars))
        else:
            step, top = 0, int(10 ** rng.uniform(1, 3.2))
            values = tuple(int(v) for v in rng.integers(1, top + 1, size=bars))
            if top < 100 and rng.random() < 0.3:
                values = tuple(round(float(v) / 10, 1) for v in rng.integers(2, 10 * top, size=bars))
        ordered = sorted(values)
        if ordered[0] < ordered[1] and ordered[-2] < ordered[-1]:
            return _Data(_title(rng, world), labels, values, step)


def _labels(rng: np.random.Generator, world: World, bars: int) -> tuple[str, ...]:
    dice = rng.random()
    if dice < 0.2:
        first = int(rng.integers(0, 13 - bars))
        return _MONTHS[first : first + bars]
    if dice < 0.28 and bars <= len(_DAYS):
        first = int(rng.integers(0, 8 - bars))
        return _DAYS[first : first + bars]
    if dice < 0.42:
        year = int(rng.integers(1985, 2030))
        return tuple(str(year + i) for i in range(bars))
    if dice < 0.5:
        return tuple("ABCDEFGH"[:bars])
    pool = (vocabulary.FIRST, vocabulary.CITIES, vocabulary.GOODS)[int(rng.integers(3))]
    names = vocabulary.words(world.split) if dice < 0.75 else vocabulary.share(pool, world.split)
    chosen: dict[str, None] = {}
    for _ in range(200):
        name = pick(rng, names)
        if 2 <= len(name) <= 10:
            chosen[name[0].upper() + name[1:] if dice < 0.9 else name] = None
        if len(chosen) == bars:
            return tuple(chosen)
    raise Overflow("too few short labels")


def _title(rng: np.random.Generator, world: World) -> str:
    """A title of one to three words, or none."""
    dice = rng.random()
    if dice < 0.15:
        return ""
    word = pick(rng, vocabulary.words(world.split)).capitalize()
    if dice < 0.35:
        return word
    if dice < 0.7:
        return f"{word} {pick(rng, ('by month', 'per year', 'per day', 'by city', 'sold', 'in total', 'by team'))}"
    if dice < 0.85:
        return f"{word} {pick(rng, vocabulary.words(world.split))}"
    return f"{word} {int(rng.integers(1990, 2030))}"


# --- how it looks ----------------------------------------------------------------------------------------------------


def _style(rng: np.random.Generator, world: World, bars: int) -> _Style:
    look = Look.pick(rng)
    colors = colors_on(look.ground)
    size = int(rng.integers(13, 21)) if world.stage > 0.2 else int(rng.integers(16, 23))
    if rng.random() < 0.4 and len(colors) >= bars:
        names = tuple(str(n) for n in rng.permutation(colors)[:bars])
        paints = tuple(paint(rng, name) for name in names)
    else:
        names, paints = (), (paint(rng, pick(rng, colors)),) * bars
    return _Style(
        look=look,
        small=pick_font(rng, world, size),
        large=pick_font(rng, world, size + int(rng.integers(0, 7))),
        paints=paints,
        names=names,
        bar=int(rng.integers(14, 37)),
        gap=int(rng.integers(6, 22)),
        pad=int(rng.integers(8, 21)),
    )


def _page(rng: np.random.Generator, data: _Data, style: _Style, width: float, height: float) -> tuple[Canvas, int, int]:
    """A canvas for a plot of width x height below the title, and where the plot's top left corner is."""
    head = style.large.height + 8 if data.title else 0
    title = style.large.measure(data.title) + 4
    cells = [int(np.ceil((n + 2 * style.pad) / 32)) for n in (max(width, title), height + head)]
    if cells[0] * 32 > _WIDTH or cells[1] * 32 > _HEIGHT:
        raise Overflow(f"chart of {cells[0] * 32}x{cells[1] * 32}")
    canvas = Canvas(cells[0] * 32, cells[1] * 32, style.look.ground)
    dress(canvas, rng)
    left = int((canvas.width - width) / 2)
    top = int((canvas.height - height - head) / 2)
    if data.title:
        x = left if rng.random() < 0.4 and left + title < canvas.width else (canvas.width - title) / 2
        canvas.text(x, top, data.title, style.large, style.look.ink)
    return canvas, left, top + head


def _scale(rng: np.random.Generator, data: _Data, shortest: int) -> tuple[float, int]:
    """Pixels for a value of 1, and how many grid lines there are (0 when values are printed)."""
    top = max(data.values)
    if not data.step:
        return rng.uniform(80, 200) / top, 0
    lines = round(top / data.step) + int(rng.integers(0, 2))
    return int(rng.integers(shortest, shortest + 14)) / data.step, lines


def _upright(rng: np.random.Generator, data: _Data, style: _Style) -> tuple[Canvas, list[Box]]:
    font, ink = style.small, style.look.ink
    printed = [str(v) for v in data.values]
    words = (*data.labels, *printed) if not data.step else data.labels
    slot = int(max(*(font.measure(w) + 8 for w in words), style.bar + style.gap))
    scale, lines = _scale(rng, data, font.height)
    axis = max((font.measure(str(i * data.step)) for i in range(lines + 1)), default=0) + 10 if lines else 4
    tall = round(max(max(data.values), lines * data.step) * scale)
    above = font.height + 2 if not data.step else font.height // 2 + 1
    canvas, left, top = _page(rng, data, style, axis + slot * len(data.labels), tall + above + font.height + 6)
    x0, floor = left + int(axis), top + above + tall
    for i in range(lines + 1 if lines else 0):
        y = floor - round(i * data.step * scale)
        canvas.hline(x0, x0 + slot * len(data.labels), y, mix(style.look.ground, ink, 0.3))
        text = str(i * data.step)
        canvas.text(x0 - 6 - font.measure(text), y - font.height / 2, text, font, ink)
    boxes: list[Box] = []
    bar = min(style.bar + (slot - style.bar) // 3, slot - 4)
    for i, (label, value) in enumerate(zip(data.labels, data.values, strict=True)):
        middle = x0 + slot * i + slot / 2
        left_edge = round(middle - bar / 2)
        box = (left_edge, floor - max(1, round(value * scale)), left_edge + bar, floor)
        canvas.rect(box, style.paints[i])
        boxes.append(box)
        canvas.text(middle - font.measure(label) / 2, floor + 4, label, font, ink)
        if not data.step:
            canvas.text(middle - font.measure(printed[i]) / 2, box[1] - font.height - 1, printed[i], font, ink)
    canvas.hline(x0, x0 + slot * len(data.labels), floor, ink)
    return canvas, boxes


def _lying(rng: np.random.Generator, data: _Data, style: _Style) -> tuple[Canvas, list[Box]]:
    font, ink = style.small, style.look.ink
    printed = [str(v) for v in data.values]
    slot = max(style.bar + min(style.gap, 14), font.height + 2)
    widest_tick = font.measure(str(8 * data.step)) + 8
    scale, lines = _scale(rng, data, int(widest_tick))
    axis = int(max(font.measure(label) for label in data.labels)) + 8
    long = round(max(max(data.values), lines * data.step) * scale)
    beyond = max(font.measure(text) for text in printed) + 8 if not data.step else widest_tick / 2
    below = font.height + 4 if lines else 2
    canvas, left, top = _page(rng, data, style, axis + long + beyond, slot * len(data.labels) + below)
    x0, floor = left + axis, top + slot * len(data.labels)
    for i in range(lines + 1 if lines else 0):
        x = x0 + round(i * data.step * scale)
        canvas.vline(x, top, floor, mix(style.look.ground, ink, 0.3))
        text = str(i * data.step)
        canvas.text(x - font.measure(text) / 2, floor + 3, text, font, ink)
    boxes: list[Box] = []
    for i, (label, value) in enumerate(zip(data.labels, data.values, strict=True)):
        middle = top + slot * i + slot / 2
        upper = round(middle - style.bar / 2)
        box = (x0, upper, x0 + max(1, round(value * scale)), upper + style.bar)
        canvas.rect(box, style.paints[i])
        boxes.append(box)
        canvas.text(x0 - 5 - font.measure(label), middle - font.height / 2, label, font, ink)
        if not data.step:
            canvas.text(box[2] + 4, middle - font.height / 2, printed[i], font, ink)
    canvas.vline(x0, top, floor, ink)
    return canvas, boxes


# --- questions -------------------------------------------------------------------------------------------------------


def _questions(
    rng: np.random.Generator, world: World, data: _Data, style: _Style, canvas: Canvas, boxes: list[Box]
) -> list[Asked]:
    ask_plain = partial(plain, rng, world)
    value = dict(zip(data.labels, data.values, strict=True))
    pool: list[Asked] = [
        (3.0, partial(ask_plain, "chart_highest", data.highest)),
        (3.0, partial(ask_plain, "chart_lowest", data.lowest)),
        (1.6, partial(as_json, rng, world, "chart", value)),
        (0.8, partial(ask_plain, "count", str(len(value)), what="bars")),
        (0.7, partial(ask_plain, "list", "\n".join(data.labels), what="labels" if rng.random() < 0.6 else "bars")),
        (0.7, partial(_describe, rng, world, data)),
        (0.3, partial(refusal_turn, rng, world.wording)),
    ]
    if data.title:
        pool.append((0.8, partial(ask_plain, "field", data.title, name="title", what="plain")))
    for i, label in enumerate(data.labels):
        pool.append((1.0, partial(ask_plain, "chart_value", str(value[label]), name=label)))
        pool.append((0.15, partial(located, rng, world, canvas, boxes[i], label, "bar")))
        x0, y0, x1, y1 = boxes[i]
        if style.names and min(x1 - x0, y1 - y0) >= _SEEN:
            pool.append((0.15, partial(ask_plain, "color", style.names[i].capitalize() + ".", name=f"bar {label}")))
    return pool


def _describe(rng: np.random.Generator, world: World, data: _Data) -> Turn:
    titled = f' titled "{data.title}"' if data.title else ""
    text = (
        f"A bar chart{titled} with {len(data.labels)} bars. The highest is {data.highest}, the lowest is {data.lowest}."
    )
    return plain(rng, world, "describe", text)
