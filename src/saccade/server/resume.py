"""Streams that outlive their connection: a client that asked for it may come back for the events that it missed; knows
events as bytes and the words of no API.

    events of an answer -> Replay keeps the last of them, numbered -> one reader, or the next one, from any number on

A stream that nobody reads goes on for a while, then its work ends. Where nobody asked, a connection that closes ends
the work at once, and nothing here has a part in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from saccade.errors import NotFoundError, QueueFullError, RequestError, SaccadeError
from saccade.server.keys import Key

GRACE_SECONDS = 30.0
MAX_BYTES = 2 * 2**20
"""Of events that are kept of one stream; the oldest go first."""
MAX_STREAMS = 128
"""That are kept at the same time."""


class CancelledByCaller(RequestError):
    """The end of a stream that its own client ended."""

    default_code = "cancelled"


@dataclass(frozen=True, slots=True)
class Source:
    """One stream as the gate makes it."""

    events: AsyncGenerator[bytes, None]
    failure: Callable[[SaccadeError], bytes]
    """The last event of a stream that breaks off."""
    ended: Callable[[], Awaitable[None]]
    """Awaited when all is over, however it ended."""


class Replay:
    """One stream and what is left of its events. Belongs to one event loop."""

    def __init__(self, source: Source, key: Key, forget: Callable[[], None], grace: float) -> None:
        self.key = key
        self._source = source
        self._forget = forget
        self._grace = grace
        self._events: deque[bytes] = deque()
        self._first = 1
        """Number of the oldest event that is kept."""
        self._num_bytes = 0
        self._num_readers = 0
        self._why: SaccadeError | None = None
        """Why it was broken off, if by us."""
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.over = False
        """No event comes any more."""
        self._task = asyncio.create_task(self._pump())
        self._set_timer(self._task.cancel)

    def check(self, after: int) -> None:
        """Raise NotFoundError when events after number `after` are lost, RequestError when no event had that number."""
        if after >= self._first + len(self._events):
            raise RequestError("'Last-Event-ID' is a number that no event had.", param="Last-Event-ID")
        if after + 1 < self._first:
            raise NotFoundError(
                f"The events after number {after} are gone: only the last {MAX_BYTES} bytes are kept.",
                param="Last-Event-ID",
                code="events_gone",
            )

    async def read(self, after: int) -> AsyncGenerator[bytes, None]:
        """The events after number `after`, those to come too. One that falls too far behind is told so."""
        self._num_readers += 1
        if not self.over:
            self._set_timer(None)
        try:
            number = after + 1
            while True:
                if number < self._first:
                    gone = NotFoundError("The reader was too slow; events are gone.", code="events_gone")
                    yield self._source.failure(gone)
                    return
                if number < self._first + len(self._events):
                    # All there are, in one piece.
                    start = number - self._first
                    fresh = [self._events[i] for i in range(start, len(self._events))]
                    yield b"".join(b"id: %d\n%b" % (number + i, event) for i, event in enumerate(fresh))
                    number += len(fresh)
                elif self.over:
                    return
                else:
                    self._news.clear()
                    await self._news.wait()
        finally:
            self._num_readers -= 1
            if not self._num_readers and not self.over:
                self._set_timer(self._task.cancel)

    def cancel(self) -> bool:
        """End the work now; whether there was any left."""
        if not self.over:
            self._why = CancelledByCaller("The request was cancelled.")
            self._task.cancel()
        return self._why is not None

    async def close(self) -> None:
        """End it and wait for that."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._set_timer(None)

    async def _pump(self) -> None:
        try:
            async with aclosing(self._source.events) as events:
                async for several in events:
                    for event in several.split(b"\n\n")[:-1]:
                        self._keep(event + b"\n\n")
        except asyncio.CancelledError:
            self._keep(self._source.failure(self._why or CancelledByCaller("Nobody read the answer.")))
        finally:
            self.over = True
            self._news.set()
            self._set_timer(self._forget)
            await self._source.ended()

    def _keep(self, event: bytes) -> None:
        self._events.append(event)
        self._num_bytes += len(event)
        while self._num_bytes > MAX_BYTES:
            self._num_bytes -= len(self._events.popleft())
            self._first += 1
        self._news.set()

    def _set_timer(self, what: Callable[[], object] | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if what is not None:
            self._timer = asyncio.get_running_loop().call_later(self._grace, what)


class Replays:
    """The streams that are kept, by the ids of their answers. Belongs to one event loop."""

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """`grace_seconds`: how long a stream goes on that nobody reads, and how long one that is over is kept."""
        self._grace = grace_seconds
        self._streams: dict[str, Replay] = {}

    def check(self) -> None:
        """Raise QueueFullError when no further stream can be kept."""
        if len(self._streams) >= MAX_STREAMS:
            raise QueueFullError(
                f"{MAX_STREAMS} streams are kept for their clients already.",
                hint="Ask without 'x-saccade-resume'.",
                retry_after=max(1, round(self._grace)),
            )

    def keep(self, id: str, key: Key, source: Source) -> Replay:
        """Begin to keep a stream."""
        replay = Replay(source, key, lambda: self._drop(id), self._grace)
        self._streams[id] = replay
        return replay

    def find(self, id: str, key: Key) -> Replay:
        """The stream of an answer. Raises NotFoundError, for those of other keys as for those that are not there."""
        replay = self._streams.get(id)
        if replay is None or replay.key != key:
            raise NotFoundError(
                "There is no such stream, or it is over for too long.",
                code="unknown_request",
                hint="Send the request again.",
            )
        return replay

    async def close(self) -> None:
        """End all of them."""
        streams, self._streams = list(self._streams.values()), {}
        for replay in streams:
            await replay.close()

    def _drop(self, id: str) -> None:
        self._streams.pop(id, None)


def last_event(header: str | None) -> int:
    """The number in a Last-Event-ID header; 0: from the beginning. Raises RequestError."""
    if header is None:
        return 0
    if not header.isascii() or not header.isdecimal() or len(header) > 9:
        raise RequestError("'Last-Event-ID' must be the number of an event.", param="Last-Event-ID")
    return int(header)


def wants_resume(header: str | None) -> bool:
    """What an x-saccade-resume header says. Raises RequestError."""
    if header not in (None, "true", "false"):
        raise RequestError("'x-saccade-resume' must be true or false.", param="x-saccade-resume")
    return header == "true"
