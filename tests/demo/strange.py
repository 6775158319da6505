"""Pages of text and clips as a stranger would make them: Pillow's own layout, DejaVu and Liberation fonts, dark on
white; H.264 in MP4. Nothing of the demo model's world has a part in them but the font files."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import outside
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


COLORS = {"red": (220, 20, 30), "green": (30, 150, 60), "blue": (30, 70, 210), "yellow": (245, 220, 40)}


@dataclass(frozen=True)
class Clip:
    """An MP4 file with one shape on plain ground."""

    data: bytes
    question: str
    happens: float
    """Seconds from the first frame to the first one that shows it."""
    seconds: float
    """Length."""


def clip(rng: np.random.Generator, event: str, rate: int, size: tuple[int, int] = (96, 128)) -> Clip:
    """4 to 6 seconds in which a shape does `event` ("appear" or "change its color") once; `size` is (H, W)."""
    num_frames = int(rng.uniform(4, 6) * rate)
    when = int(rng.uniform(0.25, 0.8) * num_frames)
    first, then = (str(name) for name in rng.choice(list(COLORS), 2, replace=False))
    kind = str(rng.choice(["circle", "square", "triangle"]))
    ground = Image.new("RGB", size[::-1], (250, 250, 250) if rng.random() < 0.5 else (235, 240, 245))
    before = ground if event == "appear" else _with_shape(ground, kind, COLORS[first], seed=when)
    after = _with_shape(ground, kind, COLORS[then], seed=when)
    frames = np.stack([np.asarray(before if number < when else after) for number in range(num_frames)])
    name = f"{then} {kind}" if event == "appear" else kind
    question = f"When does the {name} {event}?"
    return Clip(outside.clip(frames, rate), question, when / rate, num_frames / rate)


def _with_shape(ground: Image.Image, kind: str, color: tuple[int, int, int], seed: int) -> Image.Image:
    """The same place and size for the same seed."""
    chance, image = random.Random(seed), ground.copy()
    side = int(ground.height * chance.uniform(0.25, 0.5))
    left, top = chance.randint(4, ground.width - side - 4), chance.randint(4, ground.height - side - 4)
    draw, box = ImageDraw.Draw(image), (left, top, left + side, top + side)
    if kind == "circle":
        draw.ellipse(box, fill=color)
    elif kind == "square":
        draw.rectangle(box, fill=color)
    else:
        draw.polygon([(left, top + side), (left + side, top + side), (left + side // 2, top)], fill=color)
    return image
