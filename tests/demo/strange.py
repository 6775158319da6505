"""Pages of text as a stranger would make them: Pillow's own layout, DejaVu and Liberation fonts, dark on white. Nothing
of the demo model's world has a part in them but the font files."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import saccade

FONTS = sorted(
    path
    for family in ("DejaVu", "Liberation")
    for path in (Path(saccade.__file__).parent / "demo" / "fonts").glob(f"{family}*.ttf")
)

_TEXT = """
The meeting starts at nine. | Please close the door behind you. | She bought three red apples and a loaf of bread.
The train to London leaves from platform 7 at 10:45. | Anna Becker, 42 Harbour Street, Bristol
Our shop is open from Monday to Friday. | Coffee $3.20, tea $2.80, cake $4.75 | I will be back on 14 March 2025.
Turn left after the bridge and walk for 300 metres. | Dear Mr. Walker, thank you for your letter.
The quick brown fox jumps over the lazy dog. | Invoice 20871, due in 30 days: $1,249.00
Call me tomorrow on 555-0143. | It rained all night, but the morning was clear. | Do not feed the birds!
Is there anybody at home? | Two adults, one child: $27.50 | Yesterday we saw a film about Vienna.
Maria and John have moved to a bigger house. | Open the window when it gets too warm.
Room 214 is on the second floor. | "Never again," said Peter, and left. | Save 15% on all shoes this week
My brother's bicycle was stolen in June. | Flour 500 g, sugar 120 g, butter 90 g, 2 eggs
The doctor will see you in a few minutes. | Order no. 66-3198 has been shipped. | We apologise for the delay.
Write your name and date of birth below. | The museum is closed on public holidays. | Gate B12, seat 17C
Half of the money went to the school. | Keep cool and dry. | Questions? Ask Jessica Young or David Kumar.
"""
SENTENCES = [sentence.strip() for line in _TEXT.strip().splitlines() for sentence in line.split(" | ")]


@dataclass(frozen=True)
class Page:
    """A picture [H, W, 3] uint8 and the lines on it."""

    pixels: np.ndarray
    lines: tuple[str, ...]
    about: str
    """Font, size and picture size, for people."""


def page(seed: int) -> Page:
    """Up to 6 lines of up to 24 characters at 20 to 28 pixels, on a page that is just large enough or somewhat larger;
    its sides are any numbers."""
    chance = random.Random(seed)
    lines = _lines(chance)
    path, size = chance.choice(FONTS), chance.randint(20, 28)
    font = ImageFont.truetype(path, size)
    advance = round(size * chance.uniform(1.2, 1.7))
    left, top = chance.randint(8, 40), chance.randint(8, 40)
    width = left + int(max(font.getlength(line) for line in lines)) + chance.randint(10, 90)
    height = top + advance * len(lines) + chance.randint(10, 60)
    ink = tuple(chance.randint(0, 60) for _ in "rgb")
    image = Image.new("RGB", (max(width, 96), max(height, 64)), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((left, top + number * advance), line, fill=ink, font=font)
    about = f"{path.stem} {size} px, {image.width} x {image.height}"
    return Page(np.asarray(image), lines, about)


def _lines(chance: random.Random) -> tuple[str, ...]:
    """Sentences in random order, broken between words."""
    wanted, width = chance.randint(1, 6), chance.randint(14, 24)
    lines = [""]
    for sentence in chance.sample(SENTENCES, len(SENTENCES)):
        if chance.random() < 0.3 and lines[-1]:
            lines.append("")
        for word in sentence.split():
            if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".lstrip()
        if len(lines) > wanted:
            break
    return tuple(lines[:wanted])
