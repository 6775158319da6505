"""Several answers made at the same time become one stream of numbered pieces; knows no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


def merged(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """(number of the stream, piece) of all `streams` as they come, in order within each. The first one goes ahead by a
    piece: what is computed for a prompt that they share is there for the others. The first error ends it; closing it
    closes all of them."""
    return _one(streams[0]) if len(streams) == 1 else _many(streams)


async def _one(stream: AsyncGenerator[T, None]) -> AsyncGenerator[tuple[int, T], None]:
    """Without a task and a queue, since nearly all calls want one answer."""
    async with aclosing(stream):
        async for piece in stream:
            yield 0, piece


async def _many(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    pieces: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()
    # Room for one piece, so that a reader that is slow holds all of them back. Who waits for it gets it in turn, which
    # a bounded queue does not promise: there a stream that always has a piece keeps the others out, and their errors.
    room = asyncio.Semaphore(1)
    begun = asyncio.Event()

    async def pump(index: int, stream: AsyncGenerator[T, None]) -> None:
        try:
            async with aclosing(stream):
                if index:
                    await begun.wait()
                async for piece in stream:
                    begun.set()
                    await room.acquire()
                    pieces.put_nowait((index, piece))
            begun.set()
            pieces.put_nowait(None)
        except Exception as error:
            pieces.put_nowait(error)

    tasks = [asyncio.create_task(pump(index, stream)) for index, stream in enumerate(streams)]
    left = len(tasks)
    try:
        while left:
            piece = await pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                left -= 1
            else:
                room.release()
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
