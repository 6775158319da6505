"""Whose turn is next: of those who wait, each key's are served in their order, and no key before its share; knows no
clock.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): what comes is given the virtual time at which it would begin if
its key had the server's share to itself, and the least is next. A key with a thousand requests is a thousand costs
ahead of the clock; one that comes with its first is at the clock, so it is served after what is being served now.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Things that wait, each for a key and at a cost."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, T]] = []
        self._numbers = count()
        self._now = 0.0
        self._end: dict[str, float] = {}
        """When what came last of a key would end."""
        self._waiting: Counter[str] = Counter()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._heap) - len(self._gone)

    def push(self, key: str, cost: float, item: T) -> int:
        """One more for `key`; a number to `drop` it by."""
        start = max(self._now, self._end.get(key, 0.0))
        self._end[key] = start + cost
        number = next(self._numbers)
        heappush(self._heap, (start, number, key, item))
        self._waiting[key] += 1
        return number

    def pop(self) -> T:
        """The next one. IndexError when nobody waits."""
        while True:
            start, number, key, item = heappop(self._heap)
            if number not in self._gone:
                self._now = start
                self._left(key)
                return item
            self._gone.discard(number)

    def drop(self, number: int, key: str) -> None:
        """The one of that number, which is still here, does not wait any more."""
        self._gone.add(number)
        self._left(key)
        while self._heap and self._heap[0][1] in self._gone:
            self._gone.discard(heappop(self._heap)[1])

    def ahead(self, key: str) -> int:
        """How many would come before one more of `key`, if all cost the same."""
        mine = self._waiting[key]
        return sum(min(num, mine + 1) if other != key else num for other, num in self._waiting.items())

    def _left(self, key: str) -> None:
        self._waiting[key] -= 1
        if not self._waiting[key]:
            del self._waiting[key]
            if self._end.get(key, 0.0) <= self._now:
                del self._end[key]
        if not self._waiting:  # All begin anew.
            self._end.clear()
