"""`saccade demo eval`: how well a checkpoint reads freshly drawn pictures, task by task, with 95 % intervals.

Each row draws its own samples (a fresh seed by default), asks one question about each, greedily, through the same
media, text and engine rooms that serve requests, and scores the answer.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saccade.demo import score
from saccade.demo.world.draw import draw
from saccade.demo.world.sample import Sample, Turn, World

READABLE = ("words", "lines", "receipt", "form", "window")
SHAPE_TASKS = ("color", "kind", "count", "position")
CHART_TASKS = ("chart_value", "chart_highest", "chart_lowest")
FREE_TASKS = ("read", "total", "field", "checked", "locate", *SHAPE_TASKS, *CHART_TASKS, "when", "list")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: which samples are drawn and which questions are asked."""

    name: str
    kinds: tuple[str, ...]
    tasks: tuple[str, ...]
    fonts: str = "known"
    wording: str = "train"


@dataclass(slots=True)
class Answer:
    """One scored item."""

    row: str
    kind: str
    task: str
    right: bool
    errors: int
    """Edit distance (reading), else 0."""
    length: int
    """Characters of the truth."""
    extra: bool
    """Centre inside (locate), parses (html, json); else as `right`."""
    question: str
    wanted: str
    answer: str


ROWS = (
    Row("reading, known fonts", READABLE, ("read",)),
    Row("reading, unseen fonts", READABLE, ("read",), fonts="unseen"),
    Row("reading, repeated words", ("repeats",), ("read",)),
    Row("total of a receipt", ("receipt",), ("total",)),
    Row("field value", ("receipt", "form", "table"), ("field",)),
    Row("check box", ("form", "window"), ("checked",)),
    Row("receipt, form, table as JSON", ("receipt", "form", "table"), ("json",)),
    Row("control or word located", ("window", "form", "words", "lines"), ("locate",)),
    Row("shape: colour, kind, count, position", ("shapes",), SHAPE_TASKS),
    Row("chart: value, highest, lowest", ("chart",), CHART_TASKS),
    Row("video: when", ("video",), ("when",)),
    Row("window as HTML", ("window",), ("html",)),
    Row("preset wording", (*READABLE, "shapes", "chart", "video"), FREE_TASKS, wording="preset"),
    Row("free wording", (*READABLE, "shapes", "chart", "video"), FREE_TASKS, wording="unseen"),
    Row("says what it cannot do", ("window", "shapes", "lines", "receipt", "chat"), ("cannot",), wording="unseen"),
)


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What an evaluation needs."""

    directory: Path
    items: int = 200
    seed: int | None = None
    """None: drawn from the clock, and printed."""
    workers: int = 0
    """Processes; 0: one a core."""
    only: tuple[str, ...] = ()
    """Row names to run; empty: all."""
    keep_answers: bool = False


@dataclass(slots=True)
class Report:
    """Everything an evaluation found."""

    seed: int
    items: int
    seconds: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


def items_of(row: Row, seed: int, count: int) -> Iterator[tuple[Sample, Turn]]:
    """`count` samples of a row, each with the one question it is asked; kinds and tasks take turns, so that each is
    asked equally often, as far as a kind asks the task at all."""
    wanted: dict[str, int] = dict.fromkeys(row.tasks, 0)
    shown: dict[str, int] = dict.fromkeys(row.kinds, 0)
    found = index = 0
    while found < count:
        kind = min(shown, key=lambda k: shown[k])
        world = World(
            split="test",
            fonts="unseen" if row.fonts == "unseen" else "known",
            wording="unseen" if row.wording == "unseen" else "preset" if row.wording == "preset" else "train",
            kinds={kind: 1.0},
        )
        sample = draw(seed, index, world)
        index += 1
        turns = [t for t in sample.turns if t.task in wanted]
        if not turns:
            if index > 200 * (found + 20):
                raise RuntimeError(f"the world does not ask {row.tasks} about {row.kinds}")
            continue
        # The task asked least so far, so that rare tasks get their share.
        turn = min(turns, key=lambda t: wanted[t.task])
        wanted[turn.task] += 1
        shown[kind] += 1
        found += 1
        yield sample, turn


def _evaluate_part(options: EvalOptions, seed: int, part: int, parts: int) -> list[Answer]:
    """The items number part, part + parts, ... of every row, answered in this process."""
    import torch

    from saccade.demo.answer import Answerer

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // parts))
    answerer = Answerer(options.directory)
    out = []
    for number, row in enumerate(ROWS):
        if options.only and row.name not in options.only:
            continue
        for index, (sample, turn) in enumerate(items_of(row, seed + number, options.items)):
            if index % parts == part:
                out.append(_score(row, sample, turn, answerer.answer(sample, turn.question)))
    return out


def _score(row: Row, sample: Sample, turn: Turn, answer: str) -> Answer:
    right = score.is_right(turn.task, answer, turn.answer, turn.truth)
    errors, length, extra = 0, len(turn.answer), right
    if turn.task in score.READING:
        errors = score.edit_distance(answer, turn.answer)
        extra = answer == turn.answer
    elif turn.task == "locate" and turn.truth:
        box = score.box_of(answer)
        extra = box is not None and score.centre_inside(box, turn.truth["bbox"])
    elif turn.task == "html":
        extra = score.page_of(answer)[0]
    elif turn.task == "json":
        extra = score.object_of(answer) is not None
    return Answer(row.name, sample.kind, turn.task, right, errors, length, extra, turn.question, turn.answer, answer)


def summarise(row: Row, answers: list[Answer]) -> dict[str, Any]:
    """The figures of one row."""
    right = sum(a.right for a in answers)
    low, high = score.wilson(right, len(answers))
    out: dict[str, Any] = {
        "row": row.name, "items": len(answers), "right": round(right / max(1, len(answers)), 4),
        "interval": [round(low, 4), round(high, 4)],
    }  # fmt: skip
    if row.tasks == ("read",):
        errors, lengths = [a.errors for a in answers], [a.length for a in answers]
        out["cer"] = round(sum(errors) / max(1, sum(lengths)), 5)
        out["cer_interval"] = [round(x, 5) for x in score.bootstrap_rate(errors, lengths)]
        out["exact"] = round(sum(a.extra for a in answers) / max(1, len(answers)), 4)
    elif row.tasks == ("locate",):
        out["centre_inside"] = round(sum(a.extra for a in answers) / max(1, len(answers)), 4)
    elif row.tasks in (("html",), ("json",)):
        out["parses"] = round(sum(a.extra for a in answers) / max(1, len(answers)), 4)
    groups = sorted({(a.kind if len(row.tasks) == 1 else a.task) for a in answers})
    out["parts"] = {}
    for group in groups:
        part = [a for a in answers if group in (a.kind, a.task)]
        out["parts"][group] = {"items": len(part), "right": round(sum(a.right for a in part) / len(part), 4)}
        if row.tasks == ("read",):
            out["parts"][group]["cer"] = round(sum(a.errors for a in part) / max(1, sum(a.length for a in part)), 5)
    return out


def evaluate(options: EvalOptions) -> Report:
    """Answer and score all rows, spread over processes."""
    seed = options.seed if options.seed is not None else int(time.time())
    workers = options.workers or os.cpu_count() or 1
    begin = time.perf_counter()
    if workers == 1:
        answers = _evaluate_part(options, seed, 0, 1)
    else:
        with mp.get_context("spawn").Pool(workers) as pool:
            parts = pool.starmap(_evaluate_part, [(options, seed, part, workers) for part in range(workers)])
        answers = [answer for part in parts for answer in part]
    report = Report(seed, options.items, round(time.perf_counter() - begin, 1))
    for row in ROWS:
        mine = [a for a in answers if a.row == row.name]
        if mine:
            report.rows.append(summarise(row, mine))
    report.answers = answers if options.keep_answers else []
    return report


def write(report: Report, path: Path) -> None:
    """Save a report as JSON."""
    path.write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
