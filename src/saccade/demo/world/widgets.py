"""Windows painted: a title, elements and a face come in; a canvas and the box of every control go out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saccade.demo.world.canvas import Box, Canvas, Color, union
from saccade.demo.world.marks import check_box, radio
from saccade.demo.world.paper import Paper, any_color, contrast, ink_for, mix
from saccade.demo.world.sample import World
from saccade.demo.world.typefaces import Font, pick_font


@dataclass(frozen=True, slots=True)
class Element:
    """A row or block of a window: menu, text, field (one label and its `value`), check, radio, list or buttons."""

    what: str
    texts: tuple[str, ...]
    value: str = ""
    on: tuple[bool, ...] = ()
    across: bool = False
    """Radio buttons beside each other instead of below."""


@dataclass(frozen=True, slots=True)
class Control:
    """Something to point at: button, field, checkbox, radio, menu or item, with its text and its box in pixels."""

    what: str
    name: str
    box: Box


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a window; every ink reads on the ground it is used on."""

    ground: Color
    ink: Color
    bar: Color
    bar_ink: Color
    well: Color
    well_ink: Color
    border: Color
    button: Color
    button_ink: Color
    main: Color
    main_ink: Color
    mark: Color

    @classmethod
    def pick(cls, rng: np.random.Generator) -> Theme:
        dark = rng.random() < 0.32
        ground = any_color(rng, 20, 62) if dark else any_color(rng, 225, 256)
        if rng.random() < 0.5:
            level = int(rng.integers(24, 58)) if dark else int(rng.integers(228, 256))
            ground = (level, level, level)
        ink: Color = (235, 235, 235) if dark else (25, 25, 28)
        if rng.random() < 0.2:
            ink = ink_for(rng, ground, 5.0)
        well = mix(ground, (0, 0, 0), 0.35) if dark else (255, 255, 255)
        main = any_color(rng, 20, 220)
        bar = main if rng.random() < 0.4 else mix(ground, ink, float(rng.uniform(0.0, 0.15)))
        button = mix(ground, ink, float(rng.uniform(0.03, 0.2)))
        mark = main if contrast(main, ground) >= 2.5 and contrast(main, well) >= 2.5 else ink
        border = mix(ground, ink, float(rng.uniform(0.3, 0.7)))
        return cls(ground, ink, bar, _on(bar), well, _on(well), border, button, _on(button), main, _on(main), mark)


def _on(ground: Color) -> Color:
    """Near black or near white, whichever reads better."""
    return max(((18, 18, 20), (250, 250, 250)), key=lambda ink: contrast(ink, ground))


class _Painter:
    """Sizes and draws elements in one style: the same numbers serve measuring and painting."""

    def __init__(
        self, rng: np.random.Generator, paper: Paper, face: Font, elements: tuple[Element, ...], above: bool
    ) -> None:
        size = face.size
        self.paper, self.face, self.theme = paper, face, Theme.pick(rng)
        self.gap = size * rng.uniform(0.35, 0.9)
        self.pad = max(2, round(size * rng.uniform(0.15, 0.45)))
        self.side = round(size * rng.uniform(0.8, 1.1))
        self.radius = paper.px(int(rng.choice((0, 0, 3, 5, 9))))
        self.line = paper.px(1)
        self.mark = ("check", "cross", "fill")[int(rng.integers(3))]
        self.above = above
        self.align = rng.random()
        self.outlined, self.primary = rng.random() < 0.6, rng.random() < 0.5
        self.button_pad = size * rng.uniform(0.6, 1.6)
        self.arrow = rng.random() < 0.2
        fields = [element for element in elements if element.what == "field"]
        labels = [face.measure(e.texts[0]) for e in fields] or [0.0]
        self.column = 0.0 if self.above else max(labels) + size * rng.uniform(0.5, 1.5)
        self.value = max([face.measure(e.value) for e in fields] or [0.0]) * rng.uniform(1.0, 1.3) + size * 1.6
        self.selected = int(rng.integers(4))

    def size(self, element: Element) -> tuple[float, float]:
        """Width and height an element needs, without the gap below it."""
        face, high = self.face, self.face.height
        widths = [face.measure(text) for text in element.texts]
        if element.what == "field":
            box = high + 2 * self.pad
            return max(self.column + self.value, widths[0] + 4), box + (high if self.above else 0)
        if element.what == "buttons":
            box, count = high + 2 * self.pad, len(widths)
            if element.across:
                return sum(widths) + count * 2 * self.button_pad + (count - 1) * self.gap, box
            return max(widths) + 2 * self.button_pad, box * count + self.gap * (count - 1)
        if element.what == "menu" or element.across:
            mark = 0.0 if element.what == "menu" else 1.6 * self.side
            return sum(widths) + len(widths) * (mark + face.size * 1.2), high + 2
        if element.what == "list":
            return max(widths) + 4 * self.pad + 4, (high + self.pad) * len(widths) + 2 * self.pad
        mark = 0.0 if element.what == "text" else 1.6 * self.side
        step = 0.0 if element.what == "text" else self.gap * 0.6
        return max(widths) + mark + 4, high * len(widths) + step * (len(widths) - 1)

    def draw(self, canvas: Canvas, element: Element, x: float, y: float, width: float) -> list[Control]:
        """Paint an element with its top left corner at (x, y) into `width`; returns its controls in reading order."""
        if element.what == "field":
            return [self._field(canvas, element, x, y, width)]
        if element.what == "buttons":
            return self._buttons(canvas, element, x, y, width)
        if element.what == "list":
            return self._list(canvas, element, x, y, width)
        if element.what == "menu":
            return self._menu(canvas, element, x, y)
        if element.what == "text":
            for i, text in enumerate(element.texts):
                canvas.text(x, y + i * self.face.height, text, self.face, self.theme.ink)
            return []
        return self._marks(canvas, element, x, y)

    def _field(self, canvas: Canvas, element: Element, x: float, y: float, width: float) -> Control:
        theme, face, label = self.theme, self.face, element.texts[0]
        high = face.height + 2 * self.pad
        canvas.text(x, y + (0 if self.above else self.pad), label, face, theme.ink)
        top, left = y + (face.height if self.above else 0), x + self.column
        right = x + width if self.align < 0.5 else left + self.value
        box = (round(left), round(top), round(right), round(top + high))
        canvas.rounded(box, min(self.radius, 6), theme.well, theme.border, self.line)
        canvas.text(left + face.size * 0.4, top + self.pad, element.value, face, theme.well_ink)
        if self.arrow:
            at, s = box[2] - face.size * 0.7, face.size * 0.2
            middle = top + high / 2
            canvas.polygon([(at - s, middle - s / 2), (at + s, middle - s / 2), (at, middle + s)], theme.well_ink)
        return Control("field", label, box)

    def _buttons(self, canvas: Canvas, element: Element, x: float, y: float, width: float) -> list[Control]:
        theme, face, high = self.theme, self.face, self.face.height + 2 * self.pad
        widths = [face.measure(text) + 2 * self.button_pad for text in element.texts]
        spare = width - sum(widths) - self.gap * (len(widths) - 1)
        at = x + (0 if self.align < 0.35 else spare if self.align < 0.7 else spare / 2)
        out = []
        for i, (text, wide) in enumerate(zip(element.texts, widths, strict=True)):
            if not element.across:
                at, wide = x, width
            box = (round(at), round(y), round(at + wide), round(y + high))
            main = self.primary and i == 0
            outline = theme.border if self.outlined or contrast(theme.button, theme.ground) < 1.15 else None
            canvas.rounded(box, self.radius, theme.main if main else theme.button, None if main else outline, self.line)
            left = at + (wide - face.measure(text)) / 2
            canvas.text(left, y + self.pad, text, face, theme.main_ink if main else theme.button_ink)
            out.append(Control("button", text, box))
            if element.across:
                at += wide + self.gap
            else:
                y += high + self.gap
        return out

    def _list(self, canvas: Canvas, element: Element, x: float, y: float, width: float) -> list[Control]:
        theme, face, step = self.theme, self.face, self.face.height + self.pad
        wide, high = self.size(element)
        right = round(x + (width if self.align < 0.5 else max(wide, width * 0.6)))
        canvas.rounded((round(x), round(y), right, round(y + high)), 0, theme.well, theme.border, self.line)
        out = []
        for i, text in enumerate(element.texts):
            top = y + self.pad + i * step
            row = (round(x + self.line), round(top), right - self.line, round(top + step))
            chosen = i == self.selected
            if chosen:
                canvas.rect(row, theme.main)
            canvas.text(x + 2 * self.pad, top + self.pad / 2, text, face, theme.main_ink if chosen else theme.well_ink)
            out.append(Control("item", text, row))
        return out

    def _menu(self, canvas: Canvas, element: Element, x: float, y: float) -> list[Control]:
        out = []
        for text in element.texts:
            out.append(Control("menu", text, canvas.text(x, y, text, self.face, self.theme.ink)))
            x += self.face.measure(text) + self.face.size * 1.2
        return out

    def _marks(self, canvas: Canvas, element: Element, x: float, y: float) -> list[Control]:
        theme, face, side = self.theme, self.face, self.side
        out = []
        for text, on in zip(element.texts, element.on, strict=True):
            top = y + (face.height - side) / 2
            if element.what == "check":
                rim = min(self.radius, 3)
                box = check_box(canvas, x, top, side, on, self.mark, theme.mark, theme.well, rim, self.paper.zoom)
            else:
                box = radio(canvas, x, top, side, on, theme.mark, theme.well)
            box = union((box, canvas.text(x + side * 1.5, y, text, face, theme.ink)))
            out.append(Control("checkbox" if element.what == "check" else "radio", text, box))
            if element.across:
                x += side * 1.5 + face.measure(text) + face.size
            else:
                y += face.height + self.gap * 0.6
        return out


def paint(
    rng: np.random.Generator, world: World, paper: Paper, title: str, elements: tuple[Element, ...], face: Font,
    above: bool,
) -> tuple[Canvas, list[Control]]:  # fmt: skip
    """The drawn window, alone or on a desktop, labels above their fields or before them; its controls in reading
    order."""
    painter = _Painter(rng, paper, face, elements, above)
    theme, edge = painter.theme, paper.px(rng.uniform(6, 22))
    head = pick_font(rng, world, face.size * rng.uniform(0.95, 1.3)) if rng.random() < 0.3 else face
    bar = head.height + 2 * painter.pad
    buttons = face.size * 3.2 if rng.random() < 0.6 else 0.0
    sizes = [painter.size(element) for element in elements]
    width = max([head.measure(title) + buttons, *(wide for wide, _ in sizes)]) + face.size * 0.4
    height = bar + sum(high + painter.gap for _, high in sizes) + 2 * edge
    desk = paper.px(rng.uniform(8, 40)) if rng.random() < 0.3 else 0
    canvas = paper.open(
        rng, width + 2 * (edge + desk), height + 2 * desk, any_color(rng) if desk else theme.ground, 0.2
    )
    spare_x, spare_y = canvas.width - 2 * (edge + desk) - width, canvas.height - 2 * desk - height
    left, top, right, bottom = 0, 0, canvas.width, canvas.height
    if desk:
        left, top = desk + round(spare_x * rng.random()), desk + round(spare_y * rng.random())
        right, bottom = round(left + width + 2 * edge), round(top + height)
        canvas.rect((left, top, right, bottom), theme.ground)
    canvas.rect((left, top, right, top + bar), theme.bar)
    x, inner = left + edge, right - left - 2 * edge
    middle = x + (inner - buttons - head.measure(title)) / 2 if rng.random() < 0.3 else x
    canvas.text(middle, top + painter.pad, title, head, theme.bar_ink)
    if buttons:
        _corner_marks(
            canvas, right - face.size * 0.9, top + bar / 2, face.size, theme.bar_ink, bool(rng.random() < 0.4)
        )
    canvas.hline(left, right, top + bar, theme.border, painter.line)
    if desk or rng.random() < 0.5:
        canvas.frame((left, top, right, bottom), theme.border, painter.line)
    y, controls = float(top + bar + edge), list[Control]()
    for element, (_, high) in zip(elements, sizes, strict=True):
        controls += painter.draw(canvas, element, x, y, inner)
        y += high + painter.gap
    return canvas, controls


def _corner_marks(canvas: Canvas, x: float, y: float, size: int, ink: Color, dots: bool) -> None:
    """The marks that close, enlarge and hide a window, from the right end of its bar; no letters."""
    s = size * 0.28
    if dots:
        for i, color in enumerate(((235, 80, 70), (240, 180, 50), (60, 190, 80))):
            at = x - i * size
            canvas.ellipse((at - s, y - s, at + s, y + s), color)
        return
    canvas.line([(x - s, y - s), (x + s, y + s)], ink, max(1.0, size / 12))
    canvas.line([(x - s, y + s), (x + s, y - s)], ink, max(1.0, size / 12))
    at = x - size
    canvas.frame((at - s, y - s, at + s, y + s), ink)
    at = x - 2 * size
    canvas.hline(at - s, at + s, y, ink)
