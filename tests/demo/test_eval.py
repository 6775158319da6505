"""The evaluation asks fairly and counts right."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from saccade.demo import bundle
from saccade.demo.eval import PRESET_ROW, ROWS, Answer, EvalOptions, Goal, Row, evaluate, items_of, summarise, write


def answer(row: Row, part: str, right: bool, errors: int = 0, extra: bool = True) -> Answer:
    return Answer(row.name, part, part, row.tasks[0], right, errors, 100, extra, "?", "a", "b")


def named(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_rows_have_names_of_their_own_and_goals_in_order() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for goal in row.goals:
            assert goal.target != goal.floor
            assert (goal.target < goal.floor) == (goal.figure == "cer")
    names = [row.name for row in ROWS]
    assert names.index("free wording") == names.index(PRESET_ROW) + 1


def test_a_goal_is_met_from_its_bound_on() -> None:
    share, errors = Goal("right", 0.9, 0.95), Goal("cer", 0.02, 0.01)
    assert [share.reached(v) for v in (0.89, 0.9, 0.94, 0.95, 1.0)] == ["below", "floor", "floor", "target", "target"]
    assert [errors.reached(v) for v in (0.03, 0.02, 0.011, 0.01, 0.0)] == [
        "below",
        "floor",
        "floor",
        "target",
        "target",
    ]


@pytest.mark.parametrize("name", ["reading, known fonts", "field value", "shape: colour, kind, count, position"])
def test_kinds_and_tasks_are_asked_equally_often(name: str) -> None:
    row = named(name)
    items = list(items_of(row, 3, 40))
    kinds, tasks = (Counter(s.kind for s, _ in items), Counter(t.task for _, t in items))
    assert set(kinds) == set(row.kinds)
    assert set(tasks) == set(row.tasks)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert min(tasks.values()) >= 5
    again = list(items_of(row, 3, 40))
    assert [t for _, t in again] == [t for _, t in items]
    assert [t for _, t in items_of(row, 4, 40)] != [t for _, t in items]


def test_summaries_count() -> None:
    row = named("reading, known fonts")
    answers = [answer(row, "words", True), answer(row, "lines", False, errors=8, extra=False)]
    figures = summarise(row, answers)
    assert (figures["items"], figures["right"], figures["cer"], figures["exact"]) == (2, 0.5, 0.04, 0.5)
    assert figures["parts"]["lines"]["cer"] == 0.08
    assert [goal["reached"] for goal in figures["goals"]] == ["below"]
    row = named("control or word located")
    figures = summarise(row, [answer(row, "window", i < 9) for i in range(10)])
    assert (figures["right"], figures["centre_inside"]) == (0.9, 1.0)
    assert [goal["reached"] for goal in figures["goals"]] == ["floor", "target"]
    row = named("free wording")
    assert summarise(row, [answer(row, "read", True), answer(row, "when", False)], preset=0.8)["of_preset"] == 0.625
    assert summarise(row, [answer(row, "read", True)])["goals"] == []


def test_two_items_of_the_bundled_model(tmp_path: Path) -> None:
    heard: list[str] = []
    options = EvalOptions(bundle.directory(), 2, 1, 1, only=("total of a receipt",), keep_answers=True)
    report = evaluate(options, heard.append)
    assert heard == ["total of a receipt"] * 2
    assert [row["items"] for row in report.rows] == [2]
    assert all(a.answer for a in report.answers)
    assert report.rows[0]["right"] == sum(a.right for a in report.answers) / 2
    write(report, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["seed"] == 1
    assert len(read["facts"]["weights_sha256"]) == 64
