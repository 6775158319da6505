"""Media spans of a prompt become the three-axis positions of its tokens; knows no tokens and no text.

The cursor c runs through the prompt. Text takes one place per token on all three axes. A block of p x q merged patches
stands still in time while its rows count up in height and its columns in width; behind it the cursor has moved by the
longer side only:

    2 text tokens, a picture of 2 x 3, 2 text tokens        time    0 1  2 2 2 2 2 2  5 6
                                                            height  0 1  2 2 2 3 3 3  5 6
                                                            width   0 1  2 3 4 2 3 4  5 6      delta 7 - 10 = -3

Source: `get_rope_index` of Qwen3-VL; a video is one such block for each temporal patch (its time is told in words).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saccade.types import Grid, IntArray, MediaSpan


def lay_out(length: int, spans: Sequence[MediaSpan], grids: Sequence[Grid]) -> tuple[IntArray, int]:
    """Positions [3, length] (time, height, width) and the delta from index to position for tokens that follow.

    `spans` are in prompt order; `grids[span.picture]` is the grid in patches of the picture a span shows.
    """
    positions = np.empty((3, length), dtype=np.int64)
    cursor = at = 0
    for span in spans:
        _, height, width = grids[span.picture]
        rows, columns = height // 2, width // 2
        assert span.length == rows * columns
        positions[:, at : span.start] = np.arange(cursor, cursor + span.start - at)
        cursor += span.start - at
        at = span.start + span.length
        positions[0, span.start : at] = cursor
        positions[1, span.start : at] = cursor + np.repeat(np.arange(rows), columns)
        positions[2, span.start : at] = cursor + np.tile(np.arange(columns), rows)
        cursor += max(rows, columns)
    positions[:, at:] = np.arange(cursor, cursor + length - at)
    return positions, cursor - at  # every position so far is below the cursor: delta = cursor + (length - at) - length
