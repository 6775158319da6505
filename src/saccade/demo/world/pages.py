"""Pages of plain text: `words` (a few large ones), `lines` (anything written in lines), `repeats` (the same again).

The text of a page is its lines from top to bottom, joined by a newline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saccade.demo.world.answers import absent, located, plain
from saccade.demo.world.canvas import Box, Canvas, Color, Overflow
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.faces import COMMON
from saccade.demo.world.paper import Asked, Look, Paper, choose, dress, finish
from saccade.demo.world.sample import Sample, World
from saccade.demo.world.typefaces import Font, font, pick_font
from saccade.demo.world.vocabulary import Vocabulary

_PLAIN_SIZES = (
    *((448, 448), (320, 224), (640, 480), (512, 384), (256, 256), (384, 384), (224, 224)),
    *((320, 320), (320, 96), (480, 320), (640, 320), (384, 256), (800, 608)),
)


@dataclass(frozen=True, slots=True)
class Written:
    """One drawn line: enough to find each of its words again."""

    text: str
    x: float
    y: float
    font: Font
    tracking: float

    def box(self, index: int) -> Box:
        """Ink box of the word `index` of the line, in pixels of the canvas."""
        words = self.text.split(" ")
        before = " ".join(words[:index]) + " " if index else ""
        pen = self.x + sum(self.font.glyph(char).advance + self.tracking for char in before)
        whole = int(np.floor(pen))
        line = self.font.set(words[index], self.tracking, pen - whole)
        left, top = whole + line.left, round(self.y) + self.font.ascent + line.top
        return left, top, left + line.mask.shape[1], top + line.mask.shape[0]


def words(rng: np.random.Generator, world: World) -> Sample:
    """One to six large words, one or two a line, each line with its own place and sometimes its own size."""
    paper, look, write = Paper.pick(rng, world), Look.pick(rng), Vocabulary(rng, world.split)
    small = world.stage < 0.3
    base = int(rng.integers(20, 41)) if small or rng.random() < 0.7 else int(rng.integers(14, 24))
    face = pick_font(rng, world, paper.px(base))
    rows: list[tuple[str, Font]] = []
    left = 1 + write.below(5 if small else 6)
    while left > 0:
        count = min(left, 1 + int(rng.random() < 0.35))
        if rows and rng.random() < 0.2:
            face = pick_font(rng, world, paper.px(max(13, base * rng.uniform(0.6, 1.3))))
        rows.append((" ".join(write.token() for _ in range(count)), face))
        left -= count
    edge = paper.px(rng.uniform(3, 24))
    gap = paper.px(rng.uniform(1, 20))
    widths = [f.measure(text) + f.size * 0.3 for text, f in rows]
    height = sum(f.height + gap for _, f in rows)
    canvas = paper.open(rng, max(widths) + 2 * edge, height + 2 * edge, look.ground)
    dress(canvas, rng)
    y = edge + rng.uniform(0, canvas.height - height - 2 * edge + 1)
    align, written = rng.random(), []
    for (text, f), width in zip(rows, widths, strict=True):
        room = canvas.width - 2 * edge - width
        x = edge + f.size * 0.15 + max(room, 0) * (rng.random() if align < 0.4 else 0.5 if align < 0.7 else 0)
        written.append(_put(canvas, x, y, text, f, look.ink))
        y += f.height + gap
    return _ask(canvas, "words", written, rng, world, write)


def lines(rng: np.random.Generator, world: World) -> Sample:
    """One to twelve lines: sentences, a wrapped paragraph, or codes, prices, names and numbers."""
    write = Vocabulary(rng, world.split)
    if world.stage >= 0.3 and rng.random() < 0.16:
        return _plain(rng, world, write)
    paper = Paper.pick(rng, world)
    face = pick_font(rng, world, paper.px(paper.letter(rng)))
    count = 1 + write.below(12 if rng.random() < 0.8 and face.size <= 26 * paper.zoom else 5)
    limit = paper.px(
        rng.uniform(90, 540 if rng.random() < 0.8 else 700) if paper.stage >= 0.5 else rng.uniform(90, 320)
    )
    return _page(rng, world, write, paper, face, _lines(write, face, limit, count), "lines")


def repeats(rng: np.random.Generator, world: World) -> Sample:
    """Pages that say the same again: few words used over and over, or one line with small changes."""
    write, paper = Vocabulary(rng, world.split), Paper.pick(rng, world)
    face = pick_font(rng, world, paper.px(paper.letter(rng)))
    count, limit = 2 + write.below(9), paper.px(rng.uniform(140, 560))
    if world.split == "train" and rng.random() < 0.4:
        return _page(rng, world, write, paper, face, _runs(write, face, limit), "repeats")
    few = [write.word() if rng.random() < 0.8 else write.oddity() for _ in range(2 + write.below(4))]
    few += ["the", "and", "of", "to", "a", "is"][: write.below(7)]
    dice, texts = rng.random(), list[str]()
    base = _fit([write.word() if rng.random() < 0.6 else few[write.below(len(few))] for _ in range(7)], face, limit)
    for _ in range(count):
        if dice < 0.45:
            texts.append(_fit([few[write.below(len(few))] for _ in range(1 + write.below(9))], face, limit))
        elif dice < 0.8:
            texts.append(_changed(base, write) if rng.random() < 0.75 else base)
        else:
            texts.append(f"{few[0]} {write.below(20)} {few[write.below(len(few))]}")
    kept = [text for text in texts if text and face.measure(text) <= limit * 1.2]
    if not kept:
        raise Overflow("no line short enough")
    return _page(rng, world, write, paper, face, kept, "repeats")


def _runs(write: Vocabulary, face: Font, limit: float) -> list[str]:
    """Two to sixteen lines in which only counting tells where one is: runs of one word, or a line again and again with
    another among them now and then."""
    one, other = (write.word() if write.rng.random() < 0.8 else write.oddity() for _ in range(2))
    count, run = 2 + write.below(9) + write.below(7), write.rng.random() < 0.5
    line = _fit([one, *(write.word() for _ in range(write.below(5)))], face, limit)
    if not line or face.measure(other) > limit:
        raise Overflow("no line short enough")
    texts = []
    for _ in range(count):
        if run:
            parts = [one] * (1 + write.below(9)) + [other] * write.below(4) + [one] * write.below(3)
            texts.append(_fit(parts, face, limit))
        else:
            dice = write.rng.random()
            texts.append(line if dice < 0.75 else _fit(_changed(line, write).split(" "), face, limit) or other)
    return texts


def _changed(text: str, write: Vocabulary) -> str:
    """The line with one word dropped, doubled or replaced."""
    parts = text.split(" ")
    at, dice = write.below(len(parts)), write.below(4)
    if dice == 0 and len(parts) > 1:
        parts.pop(at)
    elif dice == 1:
        parts.insert(at, parts[at])
    else:
        parts[at] = write.word() if dice == 2 else str(write.below(100))
    return " ".join(parts)


def _fit(parts: list[str], face: Font, limit: float) -> str:
    """As many of the words as fit into `limit` pixels, at least one when it fits itself, else none."""
    text = ""
    for part in parts:
        longer = f"{text} {part}" if text else part
        if face.measure(longer) > limit:
            break
        text = longer
    return text


def _lines(write: Vocabulary, face: Font, limit: float, count: int) -> list[str]:
    rng, out = write.rng, list[str]()
    dice = rng.random()
    if dice < 0.22:
        stream: list[str] = []
        while len(stream) < 8 * count:
            stream += write.sentence().split(" ")
        while stream and len(out) < count:
            line = _fit(stream, face, limit)
            if not line:
                stream.pop(0)
                continue
            out.append(line)
            stream = stream[len(line.split(" ")) :]
        return out or _lines(write, face, limit * 1.3, count)
    for _ in range(4 * count):
        if len(out) == count:
            break
        if dice < 0.5:
            line = _fit(write.sentence().split(" "), face, limit)
            if line and line[-1].isalnum() and rng.random() < 0.4:
                line += "."  # A sentence cut short is one all the same.
        elif dice < 0.8:
            line = _fit([write.token() for _ in range(1 + write.below(7))], face, limit * rng.uniform(0.3, 1))
        else:
            line = _fit(_entry(write).split(" "), face, limit)
        if line:
            out.append(line)
    return out or _lines(write, face, limit * 1.3, count)


def _entry(write: Vocabulary) -> str:
    """One line of a note: a label with a value, a person, a title, an address ..."""
    makers = (
        write.person,
        write.email,
        write.title,
        write.address,
        write.code,
        write.price,
        write.date,
        write.filename,
    )
    text = makers[write.below(len(makers))]()
    if write.rng.random() < 0.4:
        text = f"{write.label()}{(':', ' -', ' =', '')[write.below(4)]} {text}"
    return (
        f"{('-', '*', str(1 + write.below(12)) + '.', '>')[write.below(4)]} {text}"
        if write.rng.random() < 0.2
        else text
    )


def _page(
    rng: np.random.Generator, world: World, write: Vocabulary, paper: Paper, face: Font, texts: list[str], kind: str
) -> Sample:
    """Lines under each other on a page as large as they need, or now and then larger."""
    look = Look.pick(rng)
    tracking = float(rng.uniform(0.2, 1.5)) * paper.zoom if rng.random() < 0.08 else 0.0
    edge, step = paper.px(rng.uniform(3, 32)), face.height * rng.uniform(0.95, 1.5)
    widths = [face.measure(text, tracking) + face.size * 0.3 for text in texts]
    canvas = paper.open(rng, max(widths) + 2 * edge, step * (len(texts) - 1) + face.height + 2 * edge, look.ground)
    dress(canvas, rng)
    room = canvas.height - 2 * edge - step * (len(texts) - 1) - face.height
    y = edge + max(room, 0) * (rng.random() if rng.random() < 0.5 else 0)
    align, indent = rng.random(), rng.random() if rng.random() < 0.3 else 0.0
    written = []
    for text, width in zip(texts, widths, strict=True):
        spare = max(canvas.width - 2 * edge - width, 0)
        free = max(canvas.width - 2 * edge - max(widths), 0)
        x = edge + face.size * 0.15 + (indent * free if align < 0.75 else spare / 2 if align < 0.9 else spare)
        written.append(_put(canvas, x, y, text, face, look.accent if rng.random() < 0.04 else look.ink, tracking))
        y += step
    return _ask(canvas, kind, written, rng, world, write)


def _plain(rng: np.random.Generator, world: World, write: Vocabulary) -> Sample:
    """Few lines, mostly dark on white in an everyday face, anywhere on a larger page of a usual size."""
    width, height = _PLAIN_SIZES[write.below(len(_PLAIN_SIZES) if world.stage >= 0.5 else 2)]
    if width > 640 and rng.random() < 0.6:
        width, height = 640, 480
    size = int(rng.integers(18, 30))
    if world.fonts == "known" and rng.random() < 0.6:
        face = font(COMMON[write.below(len(COMMON))], size, bool(rng.random() < 0.3))
    else:
        face = pick_font(rng, world, size)
    ground: Color = (255, 255, 255) if rng.random() < 0.7 else (242, 242, 238)
    ink: Color = (0, 0, 0) if rng.random() < 0.6 else (30, 30, 40)
    canvas = Canvas(width, height, ground)
    edge, step = int(rng.integers(4, 24)), round(face.height * rng.uniform(1.0, 1.6))
    count = 1 + write.below(max(1, min(7, (height - 2 * edge) // step)))
    texts = _lines(write, face, min(width - 2 * edge - face.size // 2, face.size * rng.uniform(7, 22)), count)
    widest = max(face.measure(text) for text in texts)
    if widest > width - 2 * edge or step * (len(texts) - 1) + face.height > height - 2 * edge:
        raise Overflow("plain page")
    x = edge + rng.uniform(0, width - 2 * edge - widest) * (rng.random() < 0.6)
    y = edge + rng.uniform(0, height - 2 * edge - step * (len(texts) - 1) - face.height) * (rng.random() < 0.6)
    written = [_put(canvas, x, y + i * step, text, face, ink) for i, text in enumerate(texts)]
    return _ask(canvas, "lines", written, rng, world, write)


def _put(canvas: Canvas, x: float, y: float, text: str, face: Font, ink: Color, tracking: float = 0.0) -> Written:
    canvas.text(x, y, text, face, ink, tracking)
    return Written(text, x, y, face, tracking)


def _ask(
    canvas: Canvas, kind: str, written: list[Written], rng: np.random.Generator, world: World, write: Vocabulary
) -> Sample:
    texts = [line.text for line in written]
    every = [word for text in texts for word in text.split(" ")]
    once = [(i, j) for i, text in enumerate(texts) for j, word in enumerate(text.split(" ")) if every.count(word) == 1]
    pool: list[Asked] = [
        (5.0, lambda: plain(rng, world, "read", "\n".join(texts))),
        (0.2, lambda: refusal_turn(rng, world.wording)),
    ]
    if len(texts) > 1:
        n = write.below(len(texts))
        pool.append((2.0, lambda: plain(rng, world, "line", texts[n], n=n + 1)))
        pool.append((0.3, lambda: plain(rng, world, "count", str(len(texts)), what="lines")))
    if once:
        i, j = once[write.below(len(once))]
        word = texts[i].split(" ")[j].strip('.,;:!?"()')
        if len(word) > 1 and every.count(word) <= 1 and word == texts[i].split(" ")[j]:
            pool.append((1.2, lambda: located(rng, world, canvas, written[i].box(j), word, "word")))
    other = write.word()
    if other not in " ".join(texts).lower():
        pool.append((0.2, lambda: absent(rng, world, other, "word")))
    return finish(canvas, kind, choose(rng, pool, 3), rng, world)
