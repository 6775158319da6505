"""Several generators become one: nothing is lost, each keeps its order, and all are closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from saccade.server.merge import merged


class Counter:
    """A generator of the numbers below `end` that tells when it is open."""

    def __init__(self, end: int, error: Exception | None = None) -> None:
        self.open = False
        self._end = end
        self._error = error

    async def numbers(self) -> AsyncGenerator[int, None]:
        self.open = True
        try:
            for number in range(self._end):
                await asyncio.sleep(0)
                yield number
            if self._error:
                raise self._error
        finally:
            self.open = False


@pytest.mark.parametrize("ends", [(3,), (3, 3), (0, 5, 2), (0,), (0, 0)])
def test_every_piece_in_order(ends: tuple[int, ...]) -> None:
    async def run() -> list[tuple[int, int]]:
        return [pair async for pair in merged([Counter(end).numbers() for end in ends])]

    pairs = asyncio.run(run())
    assert len(pairs) == sum(ends)
    for index, end in enumerate(ends):
        assert [number for i, number in pairs if i == index] == list(range(end))


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_ends_all(count: int) -> None:
    """Soon: streams that always have a piece keep no other from saying that it failed."""
    counters = [Counter(10**6) for _ in range(count - 1)] + [Counter(2, ValueError("broken"))]

    async def run() -> None:
        taken = 0
        async for _ in merged([counter.numbers() for counter in counters]):
            taken += 1
            assert taken < 20

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())
    assert not any(counter.open for counter in counters)


@pytest.mark.parametrize("count", [1, 3])
def test_closing_closes_all(count: int) -> None:
    counters = [Counter(10**6) for _ in range(count)]

    async def run() -> None:
        async with aclosing(merged([counter.numbers() for counter in counters])) as pairs:
            for _ in range(20):
                await anext(pairs)
            assert all(counter.open for counter in counters)
        assert not any(counter.open for counter in counters)

    asyncio.run(run())
