"""Where the parts of a step lie."""

from __future__ import annotations

import itertools

import pytest

from saccade.engine.batch import Layout, places


@pytest.mark.parametrize("sizes", list(itertools.product((1, 2, 5, 64), (0, 1, 3), (1, 4, 9), (0, 7))))
def test_every_part_begins_at_a_multiple_of_16_bytes_and_none_overlap(sizes: tuple[int, int, int, int]) -> None:
    rows, decodes, sequences, shown = sizes
    layout = Layout(rows, decodes, sequences, sequences, shown, rows, 100)
    begins, end = places(layout)
    assert all(begin % 2 == 0 for begin in (*begins, end))
    words = [*layout.parts[:7], *(-(-size // 2) for size in layout.parts[7:])]
    for begin, size, following in zip(begins, words, (*begins[1:], end), strict=True):
        assert begin + size <= following
