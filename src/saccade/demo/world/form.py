"""Forms: labels with what was filled in, and check boxes.

The text of a form runs from top to bottom: the title, then "label value" of each field on one line (two lines when the
value stands below its label), then the label of each check box; the mark in a check box is not text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.demo.world.answers import absent, as_json, located, plain
from saccade.demo.world.canvas import Box, Canvas, union
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.marks import check_box
from saccade.demo.world.paper import Asked, Look, Paper, choose, dress, finish, mix
from saccade.demo.world.sample import Sample, World
from saccade.demo.world.typefaces import Font, pick_font
from saccade.demo.world.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Form:
    """What the form says, before any layout. `values` and `checks` keep their order."""

    title: str
    values: dict[str, str]
    checks: dict[str, bool]
    colon: str
    style: str
    """line: value behind its label; column: values aligned; boxed: aligned, in boxes; below: boxes below the labels."""

    @property
    def text(self) -> list[str]:
        joint = "\n" if self.style == "below" else " "
        pairs = [f"{label}{self.colon}{joint}{value}" for label, value in self.values.items()]
        return ([self.title] if self.title else []) + pairs + list(self.checks)

    @property
    def value(self) -> dict[str, Any]:
        return {**self.values, **self.checks}


def scene(rng: np.random.Generator, world: World) -> Sample:
    """A filled-in form with its questions."""
    write, paper = Vocabulary(rng, world.split), Paper.pick(rng, world)
    form = _form(write)
    rows = len(form.values) + len(form.checks)
    face = pick_font(rng, world, paper.px(min(paper.letter(rng), 19 if rows > 5 else 24 if rows > 2 else 32)))
    canvas, fields, checks = _print(rng, world, paper, form, face)
    labels = list(form.values)
    label = labels[write.below(len(labels))]
    boxed = form.style in ("boxed", "below")
    pool: list[Asked] = [
        (3.5, lambda: plain(rng, world, "read", "\n".join(form.text))),
        (6.0, lambda: plain(rng, world, "field", form.values[label], name=label)),
        (5.5, lambda: as_json(rng, world, "form", form.value)),
        (0.2, lambda: refusal_turn(rng, world.wording)),
        (0.3, lambda: plain(rng, world, "count", str(len(labels)), what="fields")),
        (0.4, lambda: plain(rng, world, "list", "\n".join(labels), what="fields")),
    ]
    if boxed:
        pool.append((1.5, lambda: located(rng, world, canvas, fields[label], label, "field")))
    other = write.label()
    if all(other.lower() not in line.lower() for line in form.text):
        pool.append((0.25, lambda: absent(rng, world, other, "field")))
    if checks:
        box = list(checks)[write.below(len(checks))]
        pool.append((3.6, lambda: plain(rng, world, "checked", "Yes." if form.checks[box] else "No.", name=box)))
        pool.append((1.0, lambda: located(rng, world, canvas, checks[box], box, "checkbox")))
    return finish(canvas, "form", choose(rng, pool), rng, world)


def _form(write: Vocabulary) -> Form:
    rng = write.rng
    labels: list[str] = []
    for _ in range(1 + write.below(4) + write.below(4)):
        label = write.label()
        if all(label.lower() not in other.lower() and other.lower() not in label.lower() for other in labels):
            labels.append(label)
    values: dict[str, str] = {}
    for label in labels:
        value = write.value(label)
        if value not in values.values():
            values[label] = value
    checks: dict[str, bool] = {}
    if rng.random() < 0.55:
        for _ in range(1 + write.below(4)):
            name = write.switch()
            if all(
                name.lower() not in known.lower() and known.lower() not in name.lower() for known in [*checks, *labels]
            ):
                checks[name] = bool(rng.random() < 0.5)
    title = write.title() if rng.random() < 0.6 else ""
    style = ("line", "column", "boxed", "boxed", "below")[write.below(5)]
    colon = ":" if rng.random() < (0.9 if style in ("line", "column") else 0.3) else ""
    return Form(title, values, checks, colon, style)


def _print(
    rng: np.random.Generator, world: World, paper: Paper, form: Form, face: Font
) -> tuple[Canvas, dict[str, Box], dict[str, Box]]:
    """The drawn page, the box of each field (its frame, where it has one), of each check box with its label."""
    look = Look.pick(rng)
    label_face = pick_font(rng, world, face.size) if rng.random() < 0.2 else face
    title_face = pick_font(rng, world, face.size * rng.uniform(1.0, 1.7)) if rng.random() < 0.6 else face
    edge, boxed, below = paper.px(rng.uniform(4, 28)), form.style in ("boxed", "below"), form.style == "below"
    pad = paper.px(rng.uniform(2, 7)) if boxed else 0
    named = {label: label_face.measure(label + form.colon) for label in form.values}
    column = 0.0 if below else max(named.values()) + face.size * rng.uniform(0.5, 2.5)
    filled = (
        max(face.measure(value) for value in form.values.values()) * rng.uniform(1.0, 1.4) + 2 * pad + face.size * 0.3
    )
    tall = max(face.height, label_face.height) + 2 * pad
    step = tall + face.size * rng.uniform(0.1, 0.8)
    row = step + (label_face.height if below else 0)
    side = round(face.size * rng.uniform(0.75, 1.1))
    wide = [column + filled, *(side * 1.6 + face.measure(name) for name in form.checks)]
    head = title_face.height + face.size * 0.6 if form.title else 0
    height = head + row * len(form.values) + (face.height + face.size * 0.4) * len(form.checks)
    width = max([*wide, title_face.measure(form.title)]) + face.size * 0.3
    canvas = paper.open(rng, width + 2 * edge, height + 2 * edge, look.ground, 0.2)
    dress(canvas, rng)
    x, y = edge + face.size * 0.15, float(edge)
    if form.title:
        canvas.text(x, y, form.title, title_face, look.accent)
        if rng.random() < 0.3:
            canvas.hline(x, canvas.width - edge, y + title_face.height + 1, look.ink, paper.px(1))
        y += head
    radius, border, inside = paper.px(rng.choice((0, 0, 3, 6))), mix(look.ground, look.ink, 0.6), look.ground
    if not look.dark and rng.random() < 0.4:
        inside = mix(look.ground, (255, 255, 255), 0.8)
    fields: dict[str, Box] = {}
    for label, value in form.values.items():
        canvas.text(x, y + (0 if below else pad), label + form.colon, label_face, look.ink)
        top = y + (label_face.height if below else 0)
        left = x + (named[label] + face.size * 0.4 if form.style == "line" else column)
        if boxed:
            box = (round(left), round(top), round(left + filled), round(top + tall))
            canvas.rounded(box, radius if radius > 1 else 0, inside, border, paper.px(1))
            canvas.text(left + pad + face.size * 0.1, top + pad, value, face, look.ink)
            fields[label] = box
        else:
            fields[label] = canvas.text(left, top, value, face, look.ink)
        y += row
    checks: dict[str, Box] = {}
    mark, round_ = ("check", "cross", "fill")[int(rng.integers(3))], paper.px(rng.choice((0, 2)))
    for name, on in form.checks.items():
        square = check_box(
            canvas, x, y + (face.height - side) / 2, side, on, mark, look.ink, inside, round_, paper.zoom
        )
        checks[name] = union((square, canvas.text(x + side * 1.6, y, name, face, look.ink)))
        y += face.height + face.size * 0.4
    return canvas, fields, checks
