"""Text comes in as it is written; whether it goes round in circles comes out; knows no tokens and no model.

Models that list what they see sometimes write the same box for ever. A piece is a line, or what ends with the bracket
of a box; pieces without a letter or digit do not count.

    [1, 2, 3, 4], [5, 6, 7, 8], [5, 6, 7, 8], [5, 6, 7, 8]        one piece, three times in a row
    a b c b c b c                                                 two pieces in turn, three times in a row
"""

from __future__ import annotations

import re
from collections import deque

MAX_CYCLE = 16
"""Pieces in turn that are still seen as a repetition."""
MAX_PIECE = 4096
"""Characters after which a piece ends wherever it is."""

_END = re.compile(r"\n|[\]})>](?=[^\]})>])")
_COUNTS = re.compile(r"\w")


class RepetitionGuard:
    """Of one answer. The cost is that of reading it once, and MAX_CYCLE comparisons for each piece."""

    def __init__(self, times: int) -> None:
        """Trips when the same piece, or the same few in turn, came `times` times in a row."""
        self._times = times
        self._open = ""
        self._pieces: deque[str] = deque(maxlen=MAX_CYCLE)
        self._runs = [0] * MAX_CYCLE
        """For each length of a cycle, how many of the last pieces equal the one that many before."""

    def push(self, text: str) -> bool:
        """Take the next piece of text; whether it goes round in circles."""
        self._open += text
        begin = 0
        tripped = False
        for end in _END.finditer(self._open):
            tripped = self._take(self._open[begin : end.end()].strip(" \t\r\n,;")) or tripped
            begin = end.end()
        self._open = self._open[begin:]
        if len(self._open) > MAX_PIECE:
            tripped = self._take(self._open) or tripped
            self._open = ""
        return tripped

    def _take(self, piece: str) -> bool:
        if not _COUNTS.search(piece):
            return False
        for number in range(MAX_CYCLE):
            is_equal = number < len(self._pieces) and self._pieces[-1 - number] == piece
            self._runs[number] = self._runs[number] + 1 if is_equal else 0
        self._pieces.append(piece)
        return any(run >= (number + 1) * (self._times - 1) for number, run in enumerate(self._runs))
