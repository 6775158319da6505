"""One request on its way through the gate: its place, its patience, its key's limits; its client's leaving ends it.

A client may say in `X-Request-Timeout` how many seconds the whole answer may take. When its first token cannot be there
by then, it is refused at once; what is not complete by then is ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic
from types import TracebackType
from typing import TypeVar

from fastapi import Request as HttpRequest

from saccade.errors import BusyError, DeadlineError, RequestError
from saccade.server.admission import Limits, Ticket
from saccade.server.connection import check_json, read_body, while_connected
from saccade.server.load import Load

T = TypeVar("T")
TIMEOUT_HEADER = "x-request-timeout"
MAX_TIMEOUT = 86_400.0
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Visit:
    """A context that gives everything back at its end."""

    def __init__(
        self, http: HttpRequest, ticket: Ticket, limits: Limits, patience: float | None, left: Callable[[], None]
    ) -> None:
        """`patience`: seconds that the whole answer may take. `left` is called once, at the end."""
        self._http = http
        self._ticket = ticket
        self._limits = limits
        self._patience = patience
        self._left: Callable[[], None] | None = left
        self.key = ticket.key
        self.deadline = None if patience is None else monotonic() + patience
        """monotonic() by which all must be over."""

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back. Twice is harmless."""
        self._ticket.close()
        if self._left:
            self._left()
            self._left = None

    async def read_json(self) -> bytes:
        """The body, which must be JSON. Raises MediaTypeError, and what `read` raises."""
        check_json(self._http)
        return await self.read()

    async def read(self) -> bytes:
        """The body. Raises TooLargeError, SlowBodyError, MediaTypeError, QueueFullError, ClientDisconnect."""
        limits = self._limits
        return await read_body(self._http, limits.max_body_bytes, seconds=limits.body_seconds, count=self._ticket.read)

    async def first(self, load: Load, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, begun when it is this one's turn. With it, the request does not wait any more.

        Raises QueueFullError, RateLimitError, BusyError when that takes too long, DeadlineError, ClientDisconnect.
        """
        seconds = self._limits.queue_timeout

        async def turn() -> T:
            await self._ticket.wait(load)
            return await work()

        remaining = seconds if self.deadline is None else min(seconds, self.deadline - monotonic())
        try:
            async with asyncio.timeout(remaining):
                got = await while_connected(self._http.receive, turn())
        except TimeoutError:
            if remaining < seconds:
                raise self._late() from None
            raise BusyError(
                f"The first token did not come within {seconds:g} s (--queue-timeout).", code="queue_timeout"
            ) from None
        self._ticket.begun()
        return got

    async def in_time(self, pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """`pieces`, as long as there is time. Raises DeadlineError."""
        assert self.deadline is not None, "else there is always time"
        async with aclosing(pieces):
            while True:
                try:
                    async with asyncio.timeout(self.deadline - monotonic()):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise self._late() from None
                yield piece

    def used(self, tokens: int) -> None:
        """How many tokens its prompt and its answer had."""
        self._ticket.used(tokens)

    def headers(self) -> dict[str, str]:
        """What is left of the limits of its key."""
        return self._ticket.headers()

    def _late(self) -> DeadlineError:
        return DeadlineError(f"The answer was not complete within {self._patience:g} s (X-Request-Timeout).")


def patience_of(http: HttpRequest) -> float | None:
    """The seconds that a client gives the whole answer; None: any. Raises RequestError for what is no number."""
    text = http.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    seconds = float(text) if _SECONDS.fullmatch(text) else 0.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise RequestError(
            f"The header X-Request-Timeout must be a number of seconds up to {MAX_TIMEOUT:g}.",
            param=TIMEOUT_HEADER,
            code="invalid_value",
        )
    return seconds
