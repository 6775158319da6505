"""Tables: a header, a few rows, grids or stripes or nothing between them.

The text of a table is its title, if any, then its rows from top to bottom, header first; the cells of a row are joined
by one blank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saccade.demo.world.answers import as_json, located, plain
from saccade.demo.world.canvas import Box, Canvas
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.paper import Asked, Look, Paper, choose, contrast, dress, finish, mix
from saccade.demo.world.sample import Sample, World
from saccade.demo.world.typefaces import Font, pick_font
from saccade.demo.world.vocabulary import CITIES, GOODS, LABELS, LAST, Vocabulary, money


@dataclass(frozen=True, slots=True)
class Table:
    """What the table says, before any layout; `numeric` columns are set to the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    @property
    def text(self) -> list[str]:
        return ([self.title] if self.title else []) + [" ".join(row) for row in (self.header, *self.rows)]

    @property
    def value(self) -> list[dict[str, str]]:
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]


def scene(rng: np.random.Generator, world: World) -> Sample:
    """A table with its questions."""
    write, paper = Vocabulary(rng, world.split), Paper.pick(rng, world)
    table = _table(write)
    cells = len(table.header) * len(table.rows)
    face = pick_font(rng, world, paper.px(min(paper.letter(rng), 17 if cells > 16 else 21 if cells > 8 else 30)))
    canvas, boxes = _print(rng, world, paper, table, face)
    row, column = write.below(len(table.rows)), 1 + write.below(len(table.header) - 1)
    name, heading, answer = table.rows[row][0], table.header[column], table.rows[row][column]
    texts = table.text
    n = write.below(len(texts))
    pool: list[Asked] = [
        (3.5, lambda: plain(rng, world, "read", "\n".join(texts))),
        (6.5, lambda: plain(rng, world, "field", answer, name=heading, row=name, what="cell")),
        (0.6, lambda: plain(rng, world, "line", texts[n], n=n + 1)),
        (0.2, lambda: refusal_turn(rng, world.wording)),
        (0.4, lambda: plain(rng, world, "count", str(len(table.rows)), what="rows")),
        (0.4, lambda: plain(rng, world, "count", str(len(table.header)), what="columns")),
        (0.4, lambda: plain(rng, world, "list", "\n".join(table.header), what="columns")),
        (0.8, lambda: located(rng, world, canvas, boxes[name], name, "word")),
    ]
    if cells <= 16:
        pool.append((5.5, lambda: as_json(rng, world, "table", table.value)))
    return finish(canvas, "table", choose(rng, pool, 3), rng, world)


def _table(write: Vocabulary) -> Table:
    rng = write.rng
    width, height = 2 + write.below(4), 2 + write.below(6)
    keys, header = list[str](), list[str]()
    for _ in range(50):
        makers = (lambda: write.among(GOODS).capitalize(), lambda: write.among(LAST), lambda: write.among(CITIES))
        if not keys:
            kind = write.below(4)
        key = makers[kind]() if kind < 3 and rng.random() < 0.7 else write.word().capitalize()
        if all(key.lower() not in other.lower() and other.lower() not in key.lower() for other in keys):
            keys.append(key)
        if len(keys) == height:
            break
    while len(header) < width:
        heading = write.among(LABELS) if rng.random() < 0.6 else write.word().capitalize()
        if heading not in header and heading not in keys:
            header.append(heading)
    columns: list[list[str]] = [keys]
    numeric = [False]
    for _ in header[1:]:
        dice = write.below(7)
        numeric.append(dice < 4)
        unit = ("{}", "{}", "${}", "{} EUR", "{}%")[write.below(5)]
        columns.append([_cell(write, dice, unit) for _ in keys])
    rows = tuple(zip(*columns, strict=True))
    return Table(write.title() if rng.random() < 0.25 else "", tuple(header), rows, tuple(numeric))


def _cell(write: Vocabulary, dice: int, unit: str) -> str:
    if dice < 2:
        return str(write.below((10, 100, 1000)[write.below(3)]))
    if dice == 2:
        return unit.format(money(write.amount(0.5, 500)))
    if dice == 3:
        return f"{write.rng.uniform(0, 100):.1f}"
    if dice == 4:
        return write.date()
    if dice == 5:
        return ("yes", "no")[write.below(2)] if write.rng.random() < 0.3 else write.word()
    return write.oddity() if write.rng.random() < 0.4 else write.word().capitalize()


def _print(
    rng: np.random.Generator, world: World, paper: Paper, table: Table, face: Font
) -> tuple[Canvas, dict[str, Box]]:
    """The drawn page, and the ink box of every cell of the first column."""
    look = Look.pick(rng)
    head = pick_font(rng, world, face.size * rng.uniform(1.0, 1.1)) if rng.random() < 0.25 else face
    edge, pad = paper.px(rng.uniform(3, 24)), face.size * rng.uniform(0.3, 1.1)
    everything = [table.header, *table.rows]
    fonts = [head] + [face] * len(table.rows)
    widths = [
        max(f.measure(row[i]) for row, f in zip(everything, fonts, strict=True)) + 2 * pad + 2
        for i in range(len(table.header))
    ]
    step = round(max(face.height, head.height) * rng.uniform(1.0, 1.6))
    top = step * 1.3 if table.title else 0
    wide = max(sum(widths), face.measure(table.title) + 4)
    canvas = paper.open(rng, wide + 2 * edge, top + step * len(everything) + 2 * edge + 2, look.ground, 0.2)
    dress(canvas, rng)
    x, y = edge + (canvas.width - 2 * edge - wide) * rng.random() * (rng.random() < 0.5), float(edge)
    if table.title:
        canvas.text(x + 2, y, table.title, face, look.accent)
        y += top
    right, bottom = x + sum(widths), y + step * len(everything)
    grid, line, thin = rng.random(), mix(look.ground, look.ink, 0.5), paper.px(1)
    shade, band = mix(look.ground, look.ink, 0.12), mix(look.ground, look.accent, rng.uniform(0.1, 1.0))
    head_ink = look.ink
    if rng.random() < 0.45:
        head_ink = max((look.ink, look.ground), key=lambda color: contrast(color, band))
        if contrast(head_ink, band) >= 3.0:
            canvas.rect((x, y, right, y + step), band)
        else:
            head_ink = look.ink
    if grid < 0.3 and contrast(look.ink, shade) >= 2.8:
        for i in range(2, len(everything), 2):
            canvas.rect((x, y + i * step, right, y + (i + 1) * step), shade)
    boxes: dict[str, Box] = {}
    for i, (row, f) in enumerate(zip(everything, fonts, strict=True)):
        at = x
        for j, (text, width) in enumerate(zip(row, widths, strict=True)):
            left = at + (width - pad - f.measure(text) if table.numeric[j] else pad)
            middle = y + i * step + (step - f.height) / 2
            box = canvas.text(left, middle, text, f, head_ink if i == 0 else look.ink)
            if i and not j:
                boxes[text] = box
            at += width
    if 0.3 <= grid < 0.85:
        for i in range(len(everything) + 1):
            canvas.hline(x, right + thin, y + i * step, line, thin)
    else:
        canvas.hline(x, right, y + step, line, thin)
    if 0.5 <= grid < 0.85:
        for edge_x in np.cumsum([x, *widths]):
            canvas.vline(float(edge_x), y, bottom + thin, line, thin)
    return canvas, boxes
