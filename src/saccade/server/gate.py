"""The one way in: every route that asks the model goes through `Gate.answer`; knows the backend only by its promise and
the words of no API.

    is there room? -> read the body (limited) -> the route's `Parse` -> a place in the queue -> backend.generate
      -> first Delta -> the place is free again -> headers -> the route's `Call` writes each Delta

Nothing is sent before the first Delta, so that a picture that cannot be used is a status 400 for streams as well. All
the time somebody listens whether the client is still there; when it leaves, the generators are closed, and the work
ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias, TypeVar
from uuid import uuid4

from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from saccade.backends.base import Backend
from saccade.errors import BusyError, EngineError, NotFoundError, SaccadeError
from saccade.server.admission import NOTHING, Admission, Load
from saccade.server.connection import EventStream, read_body, while_connected
from saccade.server.guard import key_of
from saccade.server.keys import ANYONE
from saccade.server.merge import merged
from saccade.server.metrics import Metrics
from saccade.types import Delta, Request

INTERNAL = EngineError("The server failed to answer; its log says why.")
CLOSING = BusyError("The server was stopped before the answer was complete.")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Call(Protocol):
    """One call in the words of its API: what it asks of the model, and how what comes back is written."""

    @property
    def model(self) -> str | None:
        """The model it names; None: whichever is served."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """One for each answer that is wanted, with ids of their own; computed at the same time."""
        ...

    @property
    def stream(self) -> bool: ...

    def whole(self, answers: Sequence[list[Delta]]) -> dict[str, Any]:
        """The body of an answer that is not streamed; the deltas of each request, in their order."""
        ...

    def opening(self) -> bytes:
        """What a stream begins with; sent together with the first piece."""
        ...

    def piece(self, index: int, delta: Delta) -> bytes:
        """The events of one delta of request number `index`, its last one too; empty: nothing to tell yet."""
        ...

    def ending(self, lasts: Sequence[Delta]) -> bytes:
        """What a stream ends with; the last delta of each request."""
        ...

    def failure(self, error: SaccadeError) -> bytes:
        """The last event of a stream that breaks off."""
        ...


Parse: TypeAlias = Callable[[bytes, str, str], Call]
"""A body, the id of the answer and the name of the model become a Call. Raises RequestError."""


class Gate:
    """Lets requests in to one backend. Belongs to one event loop."""

    def __init__(
        self,
        backend: Backend,
        admission: Admission,
        metrics: Metrics,
        *,
        max_body_bytes: int,
        share_caches: bool = False,
    ) -> None:
        """`share_caches`: what was computed for one key may be found by another."""
        self._backend = backend
        self._admission = admission
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._share_caches = share_caches

    async def answer(self, http: HttpRequest, prefix: str, parse: Parse) -> Response:
        """The answer to one POST, whole or as a stream; its id begins with `prefix`. Raises SaccadeError."""
        return await self.responding(self._answer(http, f"{prefix}{uuid4().hex}", parse, time.perf_counter()))

    async def read(self, http: HttpRequest) -> bytes:
        """The body, when there is room for one more request. Raises QueueFullError or TooLargeError."""
        self._admission.check()
        return await read_body(http, self._max_body_bytes)

    async def responding(self, work: Awaitable[Response]) -> Response:
        """What `work` responds; its status is counted, and leaving clients and the server's end have one too."""
        try:
            response = await work
        except ClientDisconnect:
            response = Response(status_code=499)  # Nobody reads it.
        except asyncio.CancelledError:  # The server ends, and waited long enough.
            self._metrics.responded(CLOSING.status)
            raise CLOSING from None
        except Exception as error:
            self._metrics.responded(error.status if isinstance(error, SaccadeError) else INTERNAL.status)
            raise
        self._metrics.responded(response.status_code)
        return response

    async def waiting(self, http: HttpRequest, load: Load, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, which has a place in the queue meanwhile. Raises QueueFullError when there is none."""
        with self._admission.place(load):
            return await while_connected(http.receive, work())

    def check_model(self, model: str | None) -> None:
        """Raise NotFoundError for a model that is not served, BusyError when it cannot answer any more."""
        served = self._backend.card().id
        if model not in (None, served):
            raise NotFoundError(
                f"The model '{model}' does not exist here.",
                param="model",
                code="model_not_found",
                hint=f"This server serves '{served}'.",
            )
        if not self._backend.alive():
            raise BusyError("The server cannot answer now.", hint="See /health/ready.")

    async def _answer(self, http: HttpRequest, id: str, parse: Parse, arrived: float) -> Response:
        headers = {"x-request-id": id}
        call = parse(await self.read(http), id, self._backend.card().id)
        self.check_model(call.model)
        key = key_of(http.scope)
        salt = b"" if self._share_caches or key is ANYONE else key.salt
        requests = [replace(request, salt=salt) for request in call.requests]
        loads = [self._admission.load(request) for request in requests]
        deltas = merged([self._backend.generate(request) for request in requests])
        first = await self.waiting(http, sum(loads, NOTHING), lambda: anext(deltas))
        watch = _Watch(self._admission, self._metrics, loads, arrived)
        if call.stream:

            async def ended() -> None:
                await deltas.aclose()
                watch.broken_off("abort")

            events = _events(call, first, deltas, watch)
            return EventStream(events, headers, closing=lambda: call.failure(CLOSING), ended=ended)
        async with aclosing(deltas):
            answers = await while_connected(http.receive, _all(len(loads), first, deltas))
        for index, answer in enumerate(answers):
            watch.finished(index, answer[-1])
        return JSONResponse(call.whole(answers), headers=headers)


async def _all(
    num: int, first: tuple[int, Delta], deltas: AsyncGenerator[tuple[int, Delta], None]
) -> list[list[Delta]]:
    answers: list[list[Delta]] = [[] for _ in range(num)]
    answers[first[0]].append(first[1])
    async for index, delta in deltas:
        answers[index].append(delta)
    return answers


class _Watch:
    """Sees to it that the end of each answer of a call is counted, once."""

    def __init__(self, admission: Admission, metrics: Metrics, loads: Sequence[Load], arrived: float) -> None:
        self._admission = admission
        self._metrics = metrics
        self._arrived = arrived
        self._open = dict(enumerate(loads))

    def finished(self, index: int, last: Delta) -> None:
        assert last.usage, "the last delta carries it"
        self._admission.learn(self._open.pop(index), last.usage)
        self._metrics.finished(last, self._arrived)

    def broken_off(self, reason: Literal["abort", "error"]) -> None:
        while self._open:
            self._open.popitem()
            self._metrics.broken_off(reason)


async def _events(
    call: Call, first: tuple[int, Delta], deltas: AsyncGenerator[tuple[int, Delta], None], watch: _Watch
) -> AsyncGenerator[bytes, None]:
    """The stream of one call. Headers are out by now, so that a failure can only be one more event, the last."""
    lasts: dict[int, Delta] = {}
    try:
        (index, delta), opening = first, call.opening()
        while True:
            piece = call.piece(index, delta)
            if delta.finish_reason:
                watch.finished(index, delta)
                lasts[index] = delta
                if len(lasts) == len(call.requests):
                    break
            if piece:
                yield opening + piece
                opening = b""
            index, delta = await anext(deltas)
        yield opening + piece + call.ending([lasts[index] for index in sorted(lasts)])
    except SaccadeError as error:
        watch.broken_off("error")
        _log.error("A stream failed after it had begun: %s", error.message)
        yield call.failure(error)
    except Exception:
        watch.broken_off("error")
        _log.exception("A stream failed after it had begun.")
        yield call.failure(INTERNAL)
