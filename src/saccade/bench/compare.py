"""Reports become rows of figures side by side, each with how many times better it is than in the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.bench.figures import Figure, times_better
from saccade.bench.report import Report


@dataclass(frozen=True, slots=True)
class Row:
    """One figure in every report, None where a report does not have it; the first ratio is 1."""

    name: str
    figures: tuple[Figure | None, ...]
    ratios: tuple[float | None, ...]


def compare(reports: Sequence[Report]) -> list[Row]:
    """The figures that two reports or more have, in the order of the report that has most of them."""
    names = max((report.figures for report in reports), key=len)
    every = dict.fromkeys([*names, *(name for report in reports for name in report.figures)])
    rows = []
    for name in every:
        found = tuple(report.figure(name) for report in reports)
        if sum(figure is not None for figure in found) > 1:
            rows.append(Row(name, found, tuple(times_better(figure, found[0]) for figure in found)))
    return rows


def caution(reports: Sequence[Report]) -> str | None:
    """What to know before reading too much into figures of two rulers."""
    if len({report.format for report in reports}) < 2:
        return None
    return "Not all by one ruler: in times to first token, http_load counts the writing of the request too."


def labels(paths: Sequence[Path]) -> list[str]:
    """Short names that tell the files apart."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
