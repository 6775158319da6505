"""Receipts: shop, date, items, subtotal, tax, total, payment; sums add up, and each row reads left to right.

The text of a receipt is its rows from top to bottom; the parts of a row are joined by one blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.demo.world.answers import as_json, located, plain
from saccade.demo.world.canvas import Box, Canvas, Color
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.paper import Asked, Look, Paper, any_color, choose, dress, finish
from saccade.demo.world.sample import Sample, World
from saccade.demo.world.typefaces import Font, pick_font
from saccade.demo.world.vocabulary import CITIES, GOODS, SHOPS, Vocabulary, money

_CURRENCIES = ("${}", "${}", "{}", "{}", "{} EUR", "\u20ac{}", "{} \u20ac", "\u00a3{}", "{} GBP", "{} USD", "EUR {}")
_TAXES, _TOTALS, _PAID = ("Tax", "VAT", "Sales tax", "MwSt"), ("Total", "TOTAL", "Total due", "Sum", "Grand total"), (
    "Cash", "Card", "VISA", "Mastercard", "Debit")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    quantity: int
    name: str
    cents: int
    """Of the whole row, not of one piece."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What the receipt says, before any layout."""

    shop: str
    date: str | None
    items: tuple[Item, ...]
    tax: int | None
    form: str
    comma: bool

    @property
    def subtotal(self) -> int:
        return sum(item.cents for item in self.items)

    @property
    def total(self) -> int:
        return self.subtotal + (self.tax or 0)

    def money(self, cents: int) -> str:
        text = money(cents)
        return self.form.format(text.replace(".", ",") if self.comma else text)


@dataclass(frozen=True, slots=True)
class Row:
    """One printed row: text at the left and maybe at the right, or in the middle; or a rule without text."""

    style: str
    left: str = ""
    right: str = ""

    @property
    def text(self) -> str:
        return f"{self.left} {self.right}" if self.right else self.left


def scene(rng: np.random.Generator, world: World) -> Sample:
    """A receipt that fits its page, with its questions."""
    write, paper = Vocabulary(rng, world.split), Paper.pick(rng, world)
    bill = _bill(write)
    counted = rng.random() < 0.45
    rows = _rows(bill, write, counted)
    size = paper.px(min(paper.letter(rng), 19 if len(rows) > 9 else 30))
    face = pick_font(rng, world, size, mono=rng.random() < 0.35)
    canvas, boxes = _print(rng, world, paper, rows, face)
    texts = [row.text for row in rows if row.style != "rule"]
    item = bill.items[write.below(len(bill.items))]
    total = bill.money(bill.total)
    pool: list[Asked] = [
        (4.0, lambda: plain(rng, world, "read", "\n".join(texts))),
        (3.5, lambda: plain(rng, world, "total", total)),
        (2.5, lambda: plain(rng, world, "field", bill.money(item.cents), name=item.name, what="price")),
        (6.5, lambda: as_json(rng, world, "receipt", _value(bill, counted))),
        (0.25, lambda: refusal_turn(rng, world.wording)),
        (0.6, lambda: plain(rng, world, "line", texts[n], n=n + 1)),
        (0.8, lambda: plain(rng, world, "field", bill.shop, name="shop", what="plain")),
        (0.4, lambda: plain(rng, world, "count", str(len(bill.items)), what="items")),
        (0.6, lambda: located(rng, world, canvas, boxes[word], word, "word")),
    ]
    n = write.below(len(texts))
    unique = [text for text in boxes if sum(text in other for other in texts) == 1]
    word = unique[write.below(len(unique))] if unique else ""
    if not unique:
        pool.pop()
    if bill.date is not None:
        date = bill.date
        pool.append((0.7, lambda: plain(rng, world, "field", date, name="date", what="plain")))
    if bill.tax is not None:
        tax, subtotal = bill.money(bill.tax), bill.money(bill.subtotal)
        pool.append((0.5, lambda: plain(rng, world, "field", tax, name="tax", what="plain")))
        pool.append((0.5, lambda: plain(rng, world, "field", subtotal, name="subtotal", what="plain")))
    return finish(canvas, "receipt", choose(rng, pool), rng, world)


def _bill(write: Vocabulary) -> Bill:
    rng = write.rng
    names: list[str] = []
    for _ in range(1 + write.below(5) + write.below(5)):
        name = write.among(GOODS) if rng.random() < 0.6 else write.word()
        if rng.random() < 0.15:
            name = f"{write.word()} {name}"
        if all(name not in other and other not in name for other in names):
            names.append(name)
    case = write.below(3)
    items = []
    for name in names:
        quantity = 1 if rng.random() < 0.6 else 2 + write.below(4)
        shown = name if case == 0 else name.upper() if case == 1 else name[0].upper() + name[1:]
        items.append(Item(quantity, shown, quantity * write.amount(0.3, 60)))
    rate = (5, 7, 8, 10, 19, 20)[write.below(6)]
    subtotal = sum(item.cents for item in items)
    owner = write.word().capitalize() if rng.random() < 0.75 else write.person().split(" ")[0] + "'s"
    shop = f"{owner} {write.among(SHOPS)}"
    return Bill(
        shop.upper() if rng.random() < 0.3 else shop,
        write.date() if rng.random() < 0.7 else None,
        tuple(items),
        round(subtotal * rate / 100) if rng.random() < 0.55 else None,
        _CURRENCIES[write.below(len(_CURRENCIES))],
        bool(rng.random() < 0.08),
    )


def _rows(bill: Bill, write: Vocabulary, counted: bool) -> list[Row]:
    rng = write.rng
    rows = [Row("middle", bill.shop)]
    if rng.random() < 0.3:
        rows.append(Row("middle", write.address() if rng.random() < 0.5 else write.among(CITIES)))
    if bill.date is not None:
        rows.append(Row("pair", bill.date, write.time()) if rng.random() < 0.3 else Row("middle", bill.date))
    if rng.random() < 0.15:
        rows.append(Row("pair", ("Order", "Table", "Receipt no.")[write.below(3)], write.digits(1 + write.below(6))))
    rows.append(Row("rule"))
    times = ("{} x {}", "{}x {}", "{} {}")[write.below(3)]
    for item in bill.items:
        left = times.format(item.quantity, item.name) if counted else item.name
        rows.append(Row("pair", left, bill.money(item.cents)))
    rows.append(Row("rule"))
    if bill.tax is not None:
        rows.append(Row("pair", "Subtotal", bill.money(bill.subtotal)))
        rows.append(Row("pair", _TAXES[write.below(len(_TAXES))], bill.money(bill.tax)))
    rows.append(Row("total", _TOTALS[write.below(len(_TOTALS))], bill.money(bill.total)))
    dice = rng.random()
    if dice < 0.2:
        given = -(-bill.total // 500) * 500
        rows.append(Row("pair", "Cash", bill.money(given)))
        rows.append(Row("pair", "Change", bill.money(given - bill.total)))
    elif dice < 0.4:
        rows.append(Row("pair", _PAID[write.below(len(_PAID))], bill.money(bill.total)))
    if rng.random() < 0.3:
        rows.append(Row("middle", ("Thank you!", "Thank you", "Come again!", "Have a nice day")[write.below(4)]))
    return rows


def _value(bill: Bill, counted: bool) -> dict[str, Any]:
    """The receipt as an object; prices as printed, quantities only where they are printed."""
    value: dict[str, Any] = {"shop": bill.shop}
    if bill.date is not None:
        value["date"] = bill.date
    value["items"] = [
        {"name": item.name, **({"quantity": item.quantity} if counted else {}), "price": bill.money(item.cents)}
        for item in bill.items
    ]
    if bill.tax is not None:
        value |= {"subtotal": bill.money(bill.subtotal), "tax": bill.money(bill.tax)}
    return value | {"total": bill.money(bill.total)}


def _print(
    rng: np.random.Generator, world: World, paper: Paper, rows: list[Row], face: Font
) -> tuple[Canvas, dict[str, Box]]:
    """The drawn page, and the ink box of every text on it that is printed in one piece."""
    look = Look.pick(rng)
    if rng.random() < 0.5:
        look = Look((255, 255, 255), any_color(rng, 0, 60), (0, 0, 0))
    big = pick_font(rng, world, face.size * rng.uniform(1.1, 1.6)) if rng.random() < 0.3 else face
    head = big if rng.random() < 0.6 else face
    fonts = [head if i == 0 else big if row.style == "total" else face for i, row in enumerate(rows)]
    edge, gap = paper.px(rng.uniform(5, 24)), face.size * rng.uniform(1.0, 4.0)
    step = rng.uniform(0.98, 1.4)
    widths = [
        f.measure(r.left) + (gap + f.measure(r.right) if r.right else 0) for r, f in zip(rows, fonts, strict=True)
    ]
    heights = [f.size * 0.7 if row.style == "rule" else f.height * step for row, f in zip(rows, fonts, strict=True)]
    rim = paper.px(rng.uniform(6, 40)) if rng.random() < 0.18 else 0
    table: Color = any_color(rng) if rim else look.ground
    canvas = paper.open(rng, max(widths) + 2 * (edge + rim), sum(heights) + 2 * (edge + rim) + 4, table, 0.2)
    if rim:
        canvas.rect((rim, rim, canvas.width - rim, canvas.height - rim), look.ground)
    else:
        dress(canvas, rng)
    left, right = float(edge + rim), float(canvas.width - edge - rim)
    wide = max(widths) * rng.uniform(1.0, 1.3)
    if right - left > wide:
        left += (right - left - wide) * rng.random()
        right = left + wide
    y, boxes, rule, dash = float(edge + rim + 2), dict[str, Box](), rng.random(), paper.px(4)
    middle = rng.random() < 0.75
    for row, f, height in zip(rows, fonts, heights, strict=True):
        if row.style == "rule":
            if rule < 0.7:
                canvas.hline(left, right, y + height / 2, look.ink, paper.px(1), dash if rule < 0.35 else 0)
        else:
            x = left + (right - left - f.measure(row.left)) / 2 if row.style == "middle" and middle else left
            boxes[row.left] = canvas.text(x, y, row.left, f, look.ink)
            if row.right:
                boxes[row.right] = canvas.text(right - f.measure(row.right), y, row.right, f, look.ink)
        y += height
    return canvas, boxes
