"""Pictures kept for the next time: found by equal keys, the least recently used leave first, large ones never enter."""

from __future__ import annotations

import numpy as np

from saccade.media.recent import RecentPictures
from saccade.types import Picture


def picture(size: int) -> Picture:
    return Picture("image", np.zeros((1, 1, size, 1), dtype=np.uint8), (1, 2, 2), (), (1, size), "key")


def test_the_least_recently_used_leaves_first() -> None:
    recent = RecentPictures(80)
    kept = {name: picture(10) for name in "abcdefgh"}
    for name, value in kept.items():
        recent.put(name, value)
    assert recent.get("a") is kept["a"]
    recent.put("i", picture(10))
    assert recent.get("b") is None
    assert [recent.get(name) is not None for name in "acdefghi"] == [True] * 8


def test_a_large_picture_pushes_nobody_out() -> None:
    recent = RecentPictures(80)
    recent.put("small", picture(10))
    recent.put("large", picture(11))
    assert recent.get("large") is None
    assert recent.get("small") is not None


def test_putting_twice_counts_once() -> None:
    recent = RecentPictures(80)
    for _ in range(20):
        recent.put("same", picture(10))
    for number in range(7):
        recent.put(number, picture(10))
    assert recent.get("same") is not None


def test_the_oldest_make_room_on_the_shelf() -> None:
    free = [2]
    asked: list[int] = []

    def shelf(size: int) -> np.ndarray | None:
        asked.append(size)
        return np.zeros(size, np.uint8) if len(asked) > free[0] else None

    recent = RecentPictures(80, shelf)
    for name in "abcd":
        recent.put(name, picture(10))
    assert len(recent.room(10)) == 10
    assert asked == [10, 10, 10]
    assert [recent.get(name) is not None for name in "abcd"] == [False, False, True, True]
    assert len(recent.room(11)) == 11, "one that will not be kept takes nobody's place"
    assert asked == [10, 10, 10]
    free[0] = 1000
    assert len(recent.room(10)) == 10
    assert recent.get("d") is None
