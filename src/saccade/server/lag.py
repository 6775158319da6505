"""How late the event loop is: a task that wants to wake at fixed times, and by how much it missed them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks."""
WINDOW = 3000
"""Looks that the percentile is of: a minute."""


class Lag:
    """Measures the loop that `run` is called in."""

    def __init__(self, add: Callable[[float], None]) -> None:
        """`add` gets the seconds of every look."""
        self._add = add
        self._recent: deque[float] = deque(maxlen=WINDOW)

    @property
    def p99(self) -> float:
        """Of the last minute, in seconds."""
        ordered = sorted(self._recent)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0

    @property
    def worst(self) -> float:
        """Of the last minute, in seconds."""
        return max(self._recent, default=0.0)

    async def run(self) -> None:
        """Measure until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + INTERVAL
            await asyncio.sleep(INTERVAL)
            late = max(0.0, clock() - due)
            self._recent.append(late)
            self._add(late)
