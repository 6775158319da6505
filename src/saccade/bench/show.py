"""Reports become tables, on the terminal or as Markdown, and a run becomes progress bars; knows looks, not meanings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from saccade.bench.ablate import Ablation, Column, shares
from saccade.bench.compare import Row
from saccade.bench.figures import Figure
from saccade.bench.report import Report
from saccade.bench.workloads import WORKLOADS

WIDTH = 120
"""Of what is not a terminal: a piped table keeps its lines whole."""


class Bars:
    """One bar for each workload, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last: TaskID | None = None

    def begin(self, title: str, count: int) -> Callable[[], None]:
        self.finish()
        task = self._progress.add_task(title, total=count)
        self._last = task
        return lambda: self._progress.advance(task)

    def finish(self) -> None:
        """The workload under way is over, also when it asked less than it announced."""
        if self._last is not None:
            self._progress.update(self._last, total=self._progress.tasks[self._last].completed)


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars that stay on the screen when done."""
    columns = (TextColumn("{task.description:<36}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn four times a second: the screen must not cost what is being measured.
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        shown = Bars(progress)
        yield shown
        shown.finish()


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def show(report: Report) -> None:
    """The whole report, on standard output."""
    out = console()
    out.print(Text(_heading(report), style="bold"))
    for name, title in (("server", "The server that was started"), *((w.name, w.title) for w in WORKLOADS)):
        found = {
            key.removeprefix(f"{name}."): Figure.from_json(data)
            for key, data in report.figures.items()
            if key.startswith(f"{name}.")
        }
        if found:
            out.print(Text(f"\n{title}", style="bold"))
            out.print(_grid(found) if any("." in key for key in found) else _list(found))
    if stages := {name: times for name, times in report.stages.items() if name.startswith("ttft.")}:
        out.print(Text("\nStages of the time to first token as the server tells them, ms", style="bold"))
        out.print(_stages(stages))
    for problem in report.problems:
        line = f"{problem['workload']}: {problem['count']} x {problem['message']}"
        out.print(Text(line, style="red"), soft_wrap=True)
    for note in report.notes:
        out.print(Text(note, style="yellow"), soft_wrap=True)


def ablated(found: Ablation) -> None:
    """What each part is worth, on standard output."""
    out = console()
    first = replace(found.runs[0].report, seconds=found.seconds)
    out.print(Text(f"What each part is worth: {_heading(first)}", style="bold"))
    for title, columns in found.columns.items():
        out.print(Text(f"\n{title}", style="bold"))
        out.print(_worth(found, columns))
    out.print("x: times better with everything on; coloured where it is more than the two runs with all on differ by.")
    for what, words in (("new_picture", "a new picture"), ("same_picture", "the same picture")):
        stages = {run.name: times for run in found.runs if (times := run.report.stages.get(f"ttft.{what}"))}
        if stages:
            out.print(Text(f"\nStages of the time to first token, {words}: shares, and ms in all", style="bold"))
            out.print(_shares(stages))
    for name, reason in found.left_out.items():
        out.print(Text(f"{name}: {reason}", style="yellow"), soft_wrap=True)
    for name, reason in found.failed.items():
        out.print(Text(f"without {name}: {reason}", style="red"), soft_wrap=True)
    for run in found.runs:
        for problem in run.report.problems:
            line = f"{run.name}: {problem['workload']}: {problem['count']} x {problem['message']}"
            out.print(Text(line, style="red"), soft_wrap=True)
        for note in run.report.notes:
            out.print(Text(f"{run.name}: {note}", style="yellow"), soft_wrap=True)


def say(paths: Sequence[Path]) -> None:
    """Which files were written."""
    for path in paths:
        print(path)


def compared(labels: list[str], rows: list[Row]) -> Table:
    """Figures side by side; the first column is what the others are measured against."""
    table = _table("figure", *labels)
    table.caption, table.caption_justify = f"x: times better than {labels[0]}", "left"
    before = ""
    for row in rows:
        if (group := row.name.partition(".")[0]) != before:
            table.add_section()
            before = group
        cells = [Text(number(row.figures[0]))]
        for figure, ratio in zip(row.figures[1:], row.ratios[1:], strict=True):
            style = "" if ratio is None else "green" if ratio > 1.02 else "red" if ratio < 0.98 else ""
            cells.append(Text(number(figure) + ("" if ratio is None else f"  {ratio:.2f}x"), style=style))
        table.add_row(row.name, *cells)
    return table


def markdown(labels: list[str], rows: list[Row]) -> str:
    """The same as a table for a README; ratios in bold."""
    lines = [
        f"| figure | {' | '.join(labels)} |",
        "|---|" + "---:|" * len(labels),
    ]
    for row in rows:
        cells = [
            number(figure) + ("" if ratio is None else f" (**{ratio:.2f}x**)")
            for figure, ratio in zip(row.figures, (None, *row.ratios[1:]), strict=True)
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"x: times better than {labels[0]}."])


def number(figure: Figure | None) -> str:
    """A value with its unit, three digits or so."""
    return "-" if figure is None or figure.value is None else f"{_short(figure.value)} {figure.unit}"


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _heading(report: Report) -> str:
    server, machine = report.server, report.machine
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    place = "" if server["on_this_machine"] else " (the client's machine)"
    return (
        f"{server['model']} at {server['url']}, {report.date}, {report.seconds:.0f} s\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB, {gpus}{place}"
    )


def _table(first: str, *rest: str) -> Table:
    """A table with names on the left and numbers on the right."""
    table = Table(first, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in rest:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _worth(found: Ablation, columns: Sequence[Column]) -> Table:
    """A row for each run, each figure with how many times better it is with everything on."""
    units = [figure.unit for column in columns if (figure := found.base(column.name))]
    table = _table("", *(f"{column.words}\n{unit}" for column, unit in zip(columns, units, strict=True)))
    for run in found.runs:
        cells = []
        for column in columns:
            value, ratio = run.report.value(column.name), found.worth(run, column.name)
            words = "-" if value is None else _short(value)
            style = {1: "green", 0: "", -1: "red"}[found.verdict(run, column.name)]
            cells.append(Text(words if ratio is None else f"{words} {ratio:5.2f}x", style=style))
        table.add_row(run.name, *cells)
    return table


def _shares(stages: dict[str, dict[str, float]]) -> Table:
    """Each stage as a part of the time to the first token."""
    parts = {name: shares(times) for name, times in stages.items()}
    names = list(next(iter(parts.values())))
    table = _table("", *(name.replace("_", " ") for name in names), "first token")
    for name, found in parts.items():
        cells = [f"{100 * found.get(stage, 0.0):.0f} %" for stage in names]
        table.add_row(name, *cells, f"{stages[name]['first_token_ms']:.1f}")
    return table


def _list(found: dict[str, Figure]) -> Table:
    """Figures with their spread, one a row."""
    table = _table("figure", "median" if any(figure.count for figure in found.values()) else "")
    if spread := any(figure.low is not None for figure in found.values()):
        for name in ("least", "greatest", "of"):
            table.add_column(name, justify="right")
    for name, figure in found.items():
        facts = (figure.low, figure.high, figure.count) if spread else ()
        cells = ["" if fact is None else str(fact) if isinstance(fact, int) else _short(fact) for fact in facts]
        table.add_row(name.replace("_", " "), number(figure), *cells)
    return table


def _grid(found: dict[str, Figure]) -> Table:
    """Figures named row.column."""
    names = list(dict.fromkeys(name.rpartition(".")[2] for name in found))
    table = _table("", *(name.replace("_", " ") for name in names))
    for row in dict.fromkeys(name.rpartition(".")[0] for name in found):
        table.add_row(row.replace(".", " "), *(number(found.get(f"{row}.{name}")) for name in names))
    return table


def _stages(stages: dict[str, dict[str, float]]) -> Table:
    """Where the server says the time went."""
    names = [name for name in next(iter(stages.values())) if name != "decode_ms"]
    table = _table("", *(name.removesuffix("_ms").replace("_", " ") for name in names))
    for label, times in stages.items():
        row = label.partition(".")[2].replace("_", " ")
        table.add_row(row, *(f"{times.get(name, 0.0):.1f}" for name in names))
    return table
