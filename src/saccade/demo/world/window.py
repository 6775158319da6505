"""Windows and dialogs: a title, controls and their states come in as a plan; text, HTML and questions go out.

The text of a window runs from top to bottom, one row of controls a line, texts of a row joined by one blank; a field
reads "label value", on two lines when the value stands below its label. Marks, icons and arrows are not text. As
HTML, each element stands on its own line: h1 the title, nav the menus, p a text, label with input a field, check box
or radio button, ul a list, button a button.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from saccade.demo.world.answers import absent, located, plain
from saccade.demo.world.ask import ask
from saccade.demo.world.canvas import Canvas
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.paper import Asked, Paper, choose, finish
from saccade.demo.world.sample import Sample, Turn, World
from saccade.demo.world.typefaces import pick_font
from saccade.demo.world.vocabulary import MENUS, Vocabulary
from saccade.demo.world.widgets import Control, Element, paint


@dataclass(frozen=True, slots=True)
class Plan:
    """What the window says, before any layout: title and elements from top to bottom."""

    title: str
    elements: tuple[Element, ...]
    above: bool = False
    """Labels stand above their fields."""

    @property
    def text(self) -> str:
        rows = [line for element in self.elements for line in lines_of(element, self.above)]
        return "\n".join([self.title, *rows])

    @property
    def html(self) -> str:
        return "\n".join([f"<h1>{escape(self.title)}</h1>"] + [html_of(element) for element in self.elements])

    @property
    def texts(self) -> list[str]:
        """Every label and value in reading order."""
        out = [self.title]
        for element in self.elements:
            out += [*element.texts, *([element.value] if element.what == "field" else [])]
        return out


def lines_of(element: Element, above: bool) -> list[str]:
    """The rows of an element as text."""
    if element.what == "field":
        return [element.texts[0], element.value] if above else [f"{element.texts[0]} {element.value}"]
    if element.what in ("list", "text", "check") or (element.what in ("radio", "buttons") and not element.across):
        return list(element.texts)
    return [" ".join(element.texts)]


def html_of(element: Element) -> str:
    """One line of HTML for an element."""
    names = [escape(text) for text in element.texts]
    if element.what == "field":
        return f'<label>{names[0]}<input value="{escape(element.value)}"></label>'
    if element.what in ("check", "radio"):
        kind = "checkbox" if element.what == "check" else "radio"
        return "\n".join(
            f'<label><input type="{kind}"{" checked" if on else ""}>{name}</label>'
            for name, on in zip(names, element.on, strict=True)
        )
    if element.what == "menu":
        return "<nav>" + "".join(f"<a>{name}</a>" for name in names) + "</nav>"
    if element.what == "list":
        return "<ul>" + "".join(f"<li>{name}</li>" for name in names) + "</ul>"
    if element.what == "text":
        return "<p>" + " ".join(names) + "</p>"
    return "\n".join(f"<button>{name}</button>" for name in names)


def scene(rng: np.random.Generator, world: World) -> Sample:
    """A window that fits its page, with its questions."""
    write, paper = Vocabulary(rng, world.split), Paper.pick(rng, world)
    plan = _plan(write)
    rows = len(plan.text.split("\n"))
    face = pick_font(rng, world, paper.px(min(paper.letter(rng), 17 if rows > 7 else 19 if rows > 4 else 26)))
    canvas, controls = paint(rng, world, paper, plan.title, plan.elements, face, plan.above)
    return finish(canvas, "window", choose(rng, _pool(rng, world, write, plan, canvas, controls)), rng, world)


def _pool(
    rng: np.random.Generator, world: World, write: Vocabulary, plan: Plan, canvas: Canvas, controls: list[Control]
) -> list[Asked]:
    by = {what: [c for c in controls if c.what == what] for what in ("button", "field", "checkbox", "radio")}
    buttons = [c.name for c in by["button"]]
    pool: list[Asked] = [
        (2.2, lambda: plain(rng, world, "read", plan.text)),
        (7.0, lambda: _html(rng, world, plan)),
        (0.2, lambda: refusal_turn(rng, world.wording)),
        (1.6, lambda: _at(rng, world, canvas, controls[write.below(len(controls))])),
        (0.5, lambda: plain(rng, world, "field", plan.title, name="title", what="plain")),
    ]
    for what, weight in (("button", 2.2), ("field", 1.5), ("checkbox", 1.3), ("radio", 0.9)):
        if by[what]:
            one = by[what][write.below(len(by[what]))]
            pool.append((weight, lambda c=one: located(rng, world, canvas, c.box, c.name, c.what)))  # type: ignore[misc]
    if buttons:
        pool.append((1.5, lambda: plain(rng, world, "list", "\n".join(buttons), what="buttons")))
        pool.append((0.4, lambda: plain(rng, world, "count", str(len(buttons)), what="buttons")))
    fields = [element for element in plan.elements if element.what == "field"]
    if fields:
        field = fields[write.below(len(fields))]
        pool.append((2.5, lambda: plain(rng, world, "field", field.value, name=field.texts[0])))
    states = [pair for e in plan.elements for pair in zip(e.texts, e.on, strict=False) if e.what in ("check", "radio")]
    if states:
        name, on = states[write.below(len(states))]
        pool.append((2.8, lambda: plain(rng, world, "checked", "Yes." if on else "No.", name=name)))
    what = ("button", "button", "field", "checkbox")[write.below(4)]
    other = {"button": write.action, "field": write.label, "checkbox": write.switch}[what]()
    if other.lower() not in plan.text.lower():
        pool.append((0.5, lambda: absent(rng, world, other, what)))
    return pool


def _html(rng: np.random.Generator, world: World, plan: Plan) -> Turn:
    return Turn("html", ask("html", rng, world.wording), plan.html, {"texts": plan.texts})


def _at(rng: np.random.Generator, world: World, canvas: Canvas, control: Control) -> Turn:
    """What is at a point well inside a control? Its own text, the label for a field."""
    x0, y0, x1, y1 = canvas.share(control.box)
    x, y = round(x0 + (x1 - x0) * rng.uniform(0.15, 0.85)), round(y0 + (y1 - y0) * rng.uniform(0.2, 0.8))
    return plain(rng, world, "at", control.name, x=x, y=y)


def _plan(write: Vocabulary) -> Plan:
    rng, taken = write.rng, list[str]()

    def fresh(make: str) -> str:
        for _ in range(20):
            text = str(getattr(write, make)())
            if all(text.lower() not in other.lower() and other.lower() not in text.lower() for other in taken):
                break
        taken.append(text)
        return text

    title = fresh("title")
    dialog = rng.random() < 0.25
    elements: list[Element] = []
    if not dialog and rng.random() < 0.3:
        count = 2 + write.below(4)
        menus = list(dict.fromkeys(write.among(MENUS) for _ in range(count)))
        taken += menus
        elements.append(Element("menu", tuple(menus)))
    if dialog or rng.random() < 0.25:
        words = write.sentence().split(" ")
        half = (len(words) + 1) // 2
        lines = [" ".join(words)] if len(words) < 5 else [" ".join(words[:half]), " ".join(words[half:])]
        taken.append(" ".join(words))
        elements.append(Element("text", tuple(lines)))
    body: list[Element] = []
    for _ in range(write.below(2) if dialog else 1 + write.below(3)):
        dice = rng.random()
        if dice < 0.5:
            for _ in range(1 + write.below(3)):
                label = fresh("label")
                value = write.value(label)
                taken.append(value)
                body.append(Element("field", (label,), value))
        elif dice < 0.78:
            names = tuple(fresh("switch") for _ in range(1 + write.below(3)))
            body.append(Element("check", names, on=tuple(bool(rng.random() < 0.5) for _ in names)))
        elif dice < 0.9:
            names = tuple(fresh("switch") for _ in range(2 + write.below(2)))
            chosen = write.below(len(names))
            on = tuple(i == chosen for i in range(len(names)))
            body.append(Element("radio", names, on=on, across=bool(rng.random() < 0.35)))
        else:
            items = tuple(fresh("filename" if rng.random() < 0.4 else "title") for _ in range(2 + write.below(3)))
            body.append(Element("list", items))
    elements += body
    if dialog or not body or rng.random() < 0.9:
        names = tuple(fresh("action") for _ in range(1 + write.below(3)))
        elements.append(Element("buttons", names, across=bool(rng.random() < 0.88)))
    if not dialog and rng.random() < 0.15 and elements[-1].what == "buttons":
        names = tuple(fresh("action") for _ in range(1 + write.below(2)))
        elements.insert(-1, Element("buttons", names, across=True))
    return Plan(title, tuple(elements), above=bool(rng.random() < 0.25))
