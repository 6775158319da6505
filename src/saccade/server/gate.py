"""The one way in: every route that asks the model goes through `Gate.answer`; knows the backend only by its promise and
the words of no API.

    is there room? -> read the body (limited) -> the route's `Parse` -> its key's turn -> backend.generate
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias
from uuid import uuid4

from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from saccade.backends.base import Backend
from saccade.errors import BusyError, EngineError, NotFoundError, RequestError, SaccadeError
from saccade.server.admission import Admission
from saccade.server.connection import EventStream, while_connected
from saccade.server.guard import key_of
from saccade.server.keys import ANYONE
from saccade.server.load import NOTHING, Load
from saccade.server.merge import merged
from saccade.server.metrics import Metrics
from saccade.server.records import Record, record_of
from saccade.server.resume import Replays, Source
from saccade.server.visit import Visit, patience_of
from saccade.types import Delta, Request

INTERNAL = EngineError("The server failed to answer; its log says why.")
CLOSING = BusyError("The server was stopped before the answer was complete.")
LARGE = 2**20
"""Bytes of a body above which it is parsed apart from the event loop; below, the change of thread costs more (0.5 ms)
than the loop is held up."""
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
        share_caches: bool = False,
    ) -> None:
        """`share_caches`: what was computed for one key may be found by another."""
        self._backend = backend
        self._admission = admission
        self._metrics = metrics
        self._share_caches = share_caches
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="saccade-json")
        """One at a time: a parser does not let go of the interpreter, and the loop wants its turn between two."""
        self._visits = 0
        self._empty = asyncio.Event()
        self.closed = False
        """Whether nobody is let in any more."""

    async def answer(self, http: HttpRequest, prefix: str, parse: Parse, replays: Replays | None = None) -> Response:
        """The answer to one POST, whole or as a stream; its id begins with `prefix`. A stream that is to outlive its
        connection is kept in `replays`. Raises SaccadeError."""
        return await self.responding(self._answer(http, f"{prefix}{uuid4().hex}", parse, time.perf_counter(), replays))

    def visit(self, http: HttpRequest) -> Visit:
        """A place for one request. Raises QueueFullError, RateLimitError or BusyError when there is none."""
        if self.closed:
            raise BusyError("The server is being stopped.", code="shutting_down", hint="Another one may be there soon.")
        patience = patience_of(http)
        ticket = self._admission.enter(key_of(http.scope), patience)
        self._visits += 1
        self._empty.clear()
        return Visit(http, ticket, self._admission.limits, patience, self._left)

    async def close(self) -> None:
        """Let nobody in any more; returns when all are out."""
        self.closed = True
        if self._visits:
            await self._empty.wait()

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

    def salt(self, http: HttpRequest) -> bytes:
        """What keeps the caches of this caller apart from those of others."""
        key = key_of(http.scope)
        return b"" if self._share_caches or key is ANYONE else key.salt

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

    async def _answer(
        self, http: HttpRequest, id: str, parse: Parse, arrived: float, replays: Replays | None
    ) -> Response:
        with ExitStack() as leaving:
            visit = leaving.enter_context(self.visit(http))
            call = await self._parsed(parse, await visit.read_json(), id)
            self.check_model(call.model)
            if replays and not call.stream:
                raise RequestError("'x-saccade-resume' is only possible with 'stream'.", param="x-saccade-resume")
            salt = self.salt(http)
            requests = [replace(request, salt=salt, deadline=visit.deadline) for request in call.requests]
            record = record_of(http.scope)
            record.requests, record.stream = tuple(requests), call.stream
            loads = [self._admission.estimates.load(request) for request in requests]
            deltas = merged([self._backend.generate(request) for request in requests])
            if visit.deadline is not None:
                deltas = visit.in_time(deltas)
            first = await visit.first(sum(loads, NOTHING), lambda: anext(deltas))
            headers = {"x-request-id": id, **visit.headers()}
            watch = _Watch(self._admission, self._metrics, visit, record, loads, arrived)
            if call.stream:
                leaving.pop_all()

                async def ended() -> None:
                    await deltas.aclose()
                    watch.broken_off("abort")
                    visit.close()

                events = _events(call, first, deltas, watch)
                if replays:
                    replay = replays.keep(id, visit.key, Source(events, call.failure, ended))
                    return EventStream(replay.read(0), headers, closing=lambda: call.failure(CLOSING))
                return EventStream(events, headers, closing=lambda: call.failure(CLOSING), ended=ended)
            async with aclosing(deltas):
                answers = await while_connected(http.receive, _all(len(loads), first, deltas))
            for index, answer in enumerate(answers):
                for delta in answer:
                    watch.saw(index, delta)
            return JSONResponse(call.whole(answers), headers=headers)

    async def _parsed(self, parse: Parse, body: bytes, id: str) -> Call:
        served = self._backend.card().id
        if len(body) <= LARGE:
            return parse(body, id, served)
        return await asyncio.get_running_loop().run_in_executor(self._parser, parse, body, id, served)

    def _left(self) -> None:
        self._visits -= 1
        if not self._visits:
            self._empty.set()


async def _all(
    num: int, first: tuple[int, Delta], deltas: AsyncGenerator[tuple[int, Delta], None]
) -> list[list[Delta]]:
    answers: list[list[Delta]] = [[] for _ in range(num)]
    answers[first[0]].append(first[1])
    async for index, delta in deltas:
        answers[index].append(delta)
    return answers


class _Watch:
    """Sees to it that the end of each answer of a call is counted, once, and its tokens."""

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        visit: Visit,
        record: Record,
        loads: Sequence[Load],
        arrived: float,
    ) -> None:
        self._record = record
        self._admission = admission
        self._metrics = metrics
        self._visit = visit
        self._arrived = arrived
        self._open = dict(enumerate(loads))
        self._tokens = sum(load.tokens for load in loads)

    def saw(self, index: int, delta: Delta) -> None:
        self._tokens += len(delta.token_ids)
        if delta.finish_reason:
            assert delta.usage, "the last delta carries it"
            load = self._open.pop(index)
            self._tokens += delta.usage.prompt_tokens - load.tokens
            self._admission.estimates.learn(load, delta.usage)
            self._metrics.finished(delta, self._arrived)
            self._record.lasts.append(delta)
            if not self._open:
                self._visit.used(self._tokens)

    def broken_off(self, reason: Literal["abort", "error"]) -> None:
        if self._open:
            self._visit.used(self._tokens)
            self._record.broken_off = reason
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
            watch.saw(index, delta)
            if delta.finish_reason:
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
