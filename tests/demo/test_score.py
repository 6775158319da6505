"""Scores agree with definitions worked out by hand or by a slow reference."""

from __future__ import annotations

import random

import pytest

from saccade.demo import score


def slow_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def test_edit_distance_equals_the_textbook_form() -> None:
    rng = random.Random(0)
    for _ in range(300):
        a, b = ("".join(rng.choices("abc \n", k=rng.randrange(0, 12))) for _ in range(2))
        assert score.edit_distance(a, b) == slow_distance(a, b), (a, b)


def test_boxes() -> None:
    assert score.box_of('{"bbox_2d": [1, 2, 30.5, 40], "label": "x"}') == (1, 2, 30.5, 40)
    assert score.box_of('{"bbox_2d": [1, 2], "label": "x"}') is None
    assert score.box_of("nothing") is None
    assert score.overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert score.overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert score.overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert score.centre_inside((4, 4, 6, 6), (0, 0, 10, 5))
    assert not score.centre_inside((4, 6, 6, 8), (0, 0, 10, 5))


@pytest.mark.parametrize(
    ("task", "answer", "wanted", "truth", "right"),
    [
        ("total", "$12.50", "$12.50", None, True),
        ("total", "$12.60", "$12.50", None, False),
        ("color", "Red.", "red", None, True),
        ("json", '{"a": "1", "b": [2]}', "", {"value": {"b": [2], "a": "1"}}, True),
        ("json", '```json\n{"a": 1}\n```', "", {"value": {"a": 1}}, True),
        ("json", '{"a": 1', "", {"value": {"a": 1}}, False),
        ("locate", '{"bbox_2d": [0, 0, 100, 100], "label": "x"}', "", {"bbox": [0, 0, 100, 80]}, True),
        ("locate", '{"bbox_2d": [0, 0, 100, 100], "label": "x"}', "", {"bbox": [60, 60, 200, 200]}, False),
        ("locate", "no", "", {"bbox": [60, 60, 200, 200]}, False),
        ("when", "At 2.5 seconds.", "", {"seconds": 3.0}, True),
        ("when", "At 2.0 seconds.", "", {"seconds": 3.0}, False),
        ("html", "<p>Hi</p><button>OK</button>", "<p>Hi</p><button>OK</button>", None, True),
        ("html", "<p>Hi<button>OK</button>", "<p>Hi</p><button>OK</button>", None, False),
        ("html", "<p>Ho</p><button>OK</button>", "<p>Hi</p><button>OK</button>", None, False),
        ("read", "a" * 200, "a" * 198 + "bb", None, True),
        ("read", "a" * 200, "a" * 197 + "bbb", None, False),
    ],
)
def test_is_right(task: str, answer: str, wanted: str, truth: dict[str, object] | None, right: bool) -> None:
    assert score.is_right(task, answer, wanted, truth) is right


def test_intervals_hold_the_share_and_shrink() -> None:
    low, high = score.wilson(90, 100)
    assert low < 0.9 < high
    assert high - low > (lambda x: x[1] - x[0])(score.wilson(900, 1000))
    low, high = score.bootstrap_rate([0, 1, 2, 0] * 50, [100] * 200)
    assert low < 0.0075 < high
