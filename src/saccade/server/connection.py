"""One connection: its body is read within a limit, its answer is sent as events, and its end ends the work; knows
nothing of what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from saccade.errors import AuthError, BusyError, MediaTypeError, SaccadeError, SlowBodyError, TooLargeError
from saccade.server.anthropic_answer import error_body

MESSAGES = "/v1/messages"
"""Where errors have Anthropic's form."""
T = TypeVar("T")
DEAF_SECONDS = 0.02
"""Before it is listened whether the client is still there."""
LEAST_RATE = 16 * 1024
"""Bytes in a second that a large body must come with."""


async def read_body(http: Request, limit: int, *, seconds: float, count: Callable[[int], None]) -> bytes:
    """The body of a request. `count` is told the size of each piece and may refuse it.

    Raises TooLargeError as soon as more than `limit` bytes are announced or have come, SlowBodyError when it takes more
    than `seconds` and one more for each LEAST_RATE bytes that came, MediaTypeError for one that is compressed.
    """
    if http.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise MediaTypeError("The body must not be compressed.", hint="Send it without Content-Encoding.")
    announced = http.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    pieces = []
    if size <= limit:
        size = 0
        stream = aiter(http.stream())
        try:
            async with asyncio.timeout(seconds) as patience:
                async for piece in stream:
                    count(len(piece))
                    size += len(piece)
                    pieces.append(piece)
                    if size > limit:
                        break
                    patience.reschedule((patience.when() or 0.0) + len(piece) / LEAST_RATE)
        except TimeoutError:
            raise SlowBodyError(f"The body did not come within {seconds:g} s (--body-timeout).") from None
    if size > limit:
        raise TooLargeError(
            f"The request is larger than {limit} bytes.",
            hint="Send smaller pictures, or raise --max-body-bytes on the server.",
        )
    return b"".join(pieces)


def check_json(http: Request) -> None:
    """Raise MediaTypeError for a body that is said to be no JSON; one of which nothing is said is taken for it."""
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeError("The body must be JSON.", hint="Send it with 'Content-Type: application/json'.")


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` gives. It is cancelled, and ClientDisconnect raised, when the client closes the connection.

    It stays in this task, and nobody listens at first: a turn of the loop now would take the interpreter from the
    thread that has just been given the request.
    """
    worker = asyncio.current_task()
    assert worker
    listener: asyncio.Task[None] | None = None
    is_gone = False

    async def listen() -> None:
        nonlocal is_gone
        await _disconnected(receive)
        is_gone = True
        worker.cancel()

    def begin() -> None:
        nonlocal listener
        listener = asyncio.ensure_future(listen())

    timer = asyncio.get_running_loop().call_later(DEAF_SECONDS, begin)
    try:
        return await work
    finally:
        timer.cancel()
        if listener:
            listener.cancel()
        if is_gone:
            worker.uncancel()
            raise ClientDisconnect


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events; the generator behind them is closed the moment the client is gone."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        *,
        closing: Callable[[], bytes],
        ended: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`closing`: the last event when the server ends before the answer does. `ended` is awaited at the end, even
        when not one event was asked for."""
        # Proxies must neither keep an answer nor hold it back until it is whole.
        super().__init__(events, headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._closing = closing
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._events):
                await while_connected(receive, self.stream_response(send))
        except asyncio.CancelledError:  # The server ends, and waited long enough.
            await send({"type": "http.response.body", "body": self._closing()})
        finally:
            if self._ended:
                await self._ended()


def refusal(error: SaccadeError, path: str, status: int | None = None) -> JSONResponse:
    """An error as an answer, in the form of the interface that `path` belongs to."""
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, BusyError) else {}
    if isinstance(error, AuthError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, SlowBodyError) or error.code == "shutting_down":
        headers["connection"] = "close"
    body = error_body(error) if path.startswith(MESSAGES) else error.to_openai()
    return JSONResponse(body, status or error.status, headers)
