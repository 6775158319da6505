"""An answer and its truth become a score; pure functions that know neither the model nor the drawing.

The figures are those of the release table: character error rate for reading, exact match for short answers, equality of
parsed objects for JSON, intersection over union for boxes, seconds for events, structure and texts for HTML.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np

READING = ("read",)
EVENT_TOLERANCE = 0.5
"""Seconds."""
VOID_TAGS = ("input", "br", "hr", "img", "meta")


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters, O(len a * len b)."""
    if not a or not b:
        return len(a) + len(b)
    codes = np.array([ord(c) for c in b])
    row = np.arange(len(b) + 1)
    steps = np.arange(len(b) + 1)
    for i, c in enumerate(a, 1):
        best = np.minimum(row[:-1] + (codes != ord(c)), row[1:] + 1)
        # Insertions: the running minimum of (value - column), put back on its column.
        row = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(row[-1])


def box_of(answer: str) -> tuple[float, ...] | None:
    """The four numbers of the first bbox_2d in an answer."""
    found = re.search(r'"bbox_2d":\s*\[([^\]]*)\]', answer)
    if not found:
        return None
    try:
        numbers = tuple(float(x) for x in found.group(1).split(","))
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area if area > 0 else 0.0


def centre_inside(answer: Sequence[float], truth: Sequence[float]) -> bool:
    """Whether a click on the answer's centre would hit the truth."""
    x, y = (answer[0] + answer[2]) / 2, (answer[1] + answer[3]) / 2
    return truth[0] <= x <= truth[2] and truth[1] <= y <= truth[3]


class _Page(HTMLParser):
    """Collects texts and input values, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.well_formed = True
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID_TAGS:
            self.open.append(tag)
        self.texts += [value for name, value in attrs if name in ("value", "placeholder") and value]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.well_formed = False

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))


def page_of(answer: str) -> tuple[bool, list[str]]:
    """(every tag closes in order and there is one, all texts and values in order) of an HTML answer."""
    page = _Page()
    page.feed(answer)
    page.close()
    return page.well_formed and not page.open and "<" in answer, page.texts


def object_of(answer: str) -> Any:
    """The JSON value in an answer, with or without a code fence; None when it does not parse."""
    text = answer.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    try:
        return json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return None


def is_right(task: str, answer: str, wanted: str, truth: dict[str, Any] | None) -> bool:
    """Whether an answer counts as right in the task's own measure (reading: at most 1 % of characters wrong)."""
    truth = truth or {}
    if task in READING:
        return edit_distance(answer, wanted) <= 0.01 * len(wanted)
    if task == "json":
        value = object_of(answer)
        return value is not None and bool(value == truth.get("value", object_of(wanted)))
    if task == "locate":
        box = box_of(answer)
        return box is not None and overlap(box, truth["bbox"]) >= 0.5
    if task == "when":
        found = re.search(r"\d+(?:\.\d+)?", answer)
        return found is not None and abs(float(found.group()) - float(truth["seconds"])) <= EVENT_TOLERANCE
    if task == "html":
        parses, texts = page_of(answer)
        return parses and sorted(texts) == sorted(page_of(wanted)[1])
    return _plain(answer) == _plain(wanted)


def _plain(text: str) -> str:
    return " ".join(text.strip().rstrip(".").lower().split())


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    share = right / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    middle = share + z * z / (2 * total)
    bottom = 1 + z * z / total
    return max(0.0, (middle - spread) / bottom), min(1.0, (middle + spread) / bottom)


def bootstrap_rate(errors: Sequence[int], lengths: Sequence[int], seed: int = 0) -> tuple[float, float]:
    """95 % interval of sum(errors) / sum(lengths), by drawing items 1,000 times with replacement."""
    if not errors:
        return 0.0, 1.0
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(errors), (1000, len(errors)))
    rates = np.asarray(errors)[picks].sum(1) / np.maximum(1, np.asarray(lengths)[picks].sum(1))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)
