"""Places become pixels, however the text is cut, and nothing else changes."""

from __future__ import annotations

import json
import random
import time

import pytest

from saccade.text.coordinates import KEYS, PixelCoordinates

SIZE = (480, 640)


def told(*pieces: str) -> str:
    places = PixelCoordinates(SIZE)
    return "".join(places.push(piece) for piece in pieces) + places.finish()


CASES = {
    "a box": ('{"bbox_2d": [0, 0, 1000, 1000], "of": "cat 500"}', '{"bbox_2d": [0, 0, 640, 480], "of": "cat 500"}'),
    "two boxes": (
        '```json\n[{"bbox_2d": [500,250,750.5,999]},\n{"bbox_2d": [\n1 , 2\n]}]\n```',
        '```json\n[{"bbox_2d": [320,120,480,480]},\n{"bbox_2d": [\n1 , 1\n]}]\n```',
    ),
    "points": ('{"points":[[500, 500], [1, 999]]}', '{"points":[[320, 240], [1, 480]]}'),
    "a click": ('{"action": "click", "coordinate": [100, 900]}', '{"action": "click", "coordinate": [64, 432]}'),
    "outside": ('{"point_2d": [-5, 1200]}', '{"point_2d": [0, 480]}'),
    "other lists": ('{"size": [500, 500], "box": [500]}', '{"size": [500, 500], "box": [500]}'),
    "no list": ('{"bbox_2d": "[500, 500]", "point": 500}', '{"bbox_2d": "[500, 500]", "point": 500}'),
    "a list of others": ('{"points": [{"x": 500}], "point_2d": [500]}', '{"points": [{"x": 500}], "point_2d": [320]}'),
    "words": ("A 5\" nail at [500, 500], \"bbox_2d\"", "A 5\" nail at [500, 500], \"bbox_2d\""),
    "in a string": ('{"a": "\\"bbox_2d\\": [500]"}', '{"a": "\\"bbox_2d\\": [500]"}'),
    "no number": ('{"point": [--1, 1e3, 500, 500]}', '{"point": [--1, 1e3, 320, 240]}'),
    "a long number": (f'{{"point": [{"1" * 90}, 500]}}', f'{{"point": [{"1" * 90}, 240]}}'),
    "a long number, cut": (f'{{"point": [{"1" * 90}', f'{{"point": [{"1" * 90}'),
    "cut": ('{"point": [500, 50', '{"point": [320, 24'),
    "cut in a key": ('{"bbox_2d" : ', '{"bbox_2d" : '),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_places_however_they_are_cut(name: str) -> None:
    text, expected = CASES[name]
    assert told(text) == expected
    assert told(*text) == expected
    for at in range(1, len(text)):
        assert told(text[:at], text[at:]) == expected
    rng = random.Random(name)
    for _ in range(50):
        places = sorted(rng.choices(range(len(text) + 1), k=6))
        pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        assert told(*pieces) == expected


@pytest.mark.parametrize("key", KEYS)
def test_every_key(key: str) -> None:
    assert json.loads(told(json.dumps({key: [[500, 500], [1000, 1000]]}))) == {key: [[320, 240], [640, 480]]}


def test_a_number_is_told_when_it_is_complete() -> None:
    places = PixelCoordinates(SIZE)
    assert places.push('{"point": [50') == '{"point": ['
    assert places.push("0") == ""
    assert places.push(",") == "320,"


@pytest.mark.parametrize("text", ['"', '"bbox_2d": [', "1", "[", " ", "1,", '"point" '])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_linear_time(text: str, size: int) -> None:
    long = '{"point": [' + text * (100_000 // len(text))
    began = time.process_time()
    places = PixelCoordinates(SIZE)
    for at in range(0, len(long), size):
        places.push(long[at : at + size])
    assert time.process_time() - began < 2
