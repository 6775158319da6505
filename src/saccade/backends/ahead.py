"""Work for requests that have not come yet: features of pictures that were sent ahead are computed while nobody waits
for a first token; knows pictures and how to ask the engine, nothing else.

The engine keeps what it computes by key: a request that names such a picture later finds its features, or waits for the
rest of the work instead of doing it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from saccade.errors import SaccadeError
from saccade.types import Picture

MAX_PENDING = 32
"""Pictures that wait to be encoded; further ones are left to the requests that name them."""
_log = logging.getLogger(__name__)


class Ahead:
    """One picture at a time, when nobody waits. Belongs to one event loop."""

    def __init__(self, encode: Callable[[Picture, bytes], Awaitable[None]]) -> None:
        """`encode` has the features of a picture computed, for the requests of one salt."""
        self._encode = encode
        self._num_waiting = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def someone_waits(self) -> Iterator[None]:
        """Nothing is begun until the end of the block."""
        self._num_waiting += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self._calm.set()

    def add(self, picture: Picture, salt: bytes) -> None:
        """Encode it soon."""
        if len(self._tasks) < MAX_PENDING:
            task = asyncio.ensure_future(self._run(picture, salt))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Begin nothing new."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, picture: Picture, salt: bytes) -> None:
        async with self._turn:
            await self._calm.wait()
            try:
                await self._encode(picture, salt)
            except SaccadeError as error:  # whoever names the picture is told
                _log.info("A picture was not encoded ahead: %s", error.message)
