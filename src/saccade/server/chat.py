"""POST /v1/chat/completions: a body comes in, one JSON answer or a stream of events goes out; knows the backend only by
its promise.

    is there room? -> read the body (limited) -> parse_chat -> a place in the queue -> backend.generate
      -> first Delta -> the place is free again -> headers -> Answer writes each Delta

Nothing is sent before the first Delta, so that a picture that cannot be used is a status 400 for streams as well. All
the time somebody listens whether the client is still there; when it leaves, the generator is closed, and the work ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeVar
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from saccade.backends.base import Backend
from saccade.errors import BusyError, EngineError, NotFoundError, SaccadeError, TooLargeError
from saccade.server.admission import Admission, Load
from saccade.server.answer import Answer, event
from saccade.server.metrics import Metrics
from saccade.server.schema import parse_chat
from saccade.types import Delta

T = TypeVar("T")

INTERNAL = EngineError("The server failed to answer; its log says why.")
CLOSING = BusyError("The server was stopped before the answer was complete.")
_log = logging.getLogger(__name__)


def chat_routes(backend: Backend, max_body_bytes: int, admission: Admission, metrics: Metrics) -> APIRouter:
    """The chat endpoint over `backend`, for bodies of at most `max_body_bytes` and as many as `admission` lets in."""
    router = APIRouter()

    async def respond(http: Request, arrived: float) -> Response:
        request_id = f"chatcmpl-{uuid4().hex}"
        headers = {"x-request-id": request_id}
        admission.check()
        call = parse_chat(await read_body(http, max_body_bytes), request_id)
        answer = Answer(request_id, served(backend, call.request.model))
        load = admission.load(call.request)
        with admission.place(load):
            deltas = backend.generate(call.request)
            first = await while_connected(http.receive, anext(deltas))
        watch = _Watch(admission, metrics, load, arrived)
        if call.stream:
            events = _events(answer, first, deltas, watch, include_usage=call.include_usage)
            return EventStream(events, headers=headers)
        async with aclosing(deltas):
            told = await while_connected(http.receive, _all(first, deltas))
        watch.finished(told[-1])
        return JSONResponse(answer.whole(told), headers=headers)

    @router.post("/v1/chat/completions")
    async def chat_completions(http: Request) -> Response:
        try:
            response = await respond(http, time.perf_counter())
        except ClientDisconnect:
            response = Response(status_code=499)  # Nobody reads it.
        except asyncio.CancelledError:  # The server ends, and waited long enough.
            metrics.responded(CLOSING.status)
            raise CLOSING from None
        except Exception as error:
            metrics.responded(error.status if isinstance(error, SaccadeError) else INTERNAL.status)
            raise
        metrics.responded(response.status_code)
        return response

    return router


async def read_body(http: Request, limit: int) -> bytes:
    """The body of a request. Raises TooLargeError as soon as more than `limit` bytes are announced or have come."""
    announced = http.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() else 0
    pieces = []
    if size <= limit:
        size = 0
        async for piece in http.stream():
            size += len(piece)
            pieces.append(piece)
            if size > limit:
                break
    if size > limit:
        raise TooLargeError(
            f"The request is larger than {limit} bytes.",
            hint="Send smaller pictures, or raise --max-body-bytes on the server.",
        )
    return b"".join(pieces)


class EventStream(StreamingResponse):
    """Server-sent events; the generator behind them is closed the moment the client is gone."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        # Proxies must neither keep an answer nor hold it back until it is whole.
        super().__init__(events, headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            try:
                await while_connected(receive, self.stream_response(send))
            except asyncio.CancelledError:  # The server ends, and waited long enough.
                await send({"type": "http.response.body", "body": event(CLOSING.to_openai())})


def served(backend: Backend, model: str | None) -> str:
    """The name of the model, when it is the one that is served and can answer, perhaps after a while; None: any."""
    served = backend.card().id
    if model not in (None, served):
        raise NotFoundError(
            f"The model '{model}' does not exist here.",
            param="model",
            code="model_not_found",
            hint=f"This server serves '{served}'.",
        )
    if not backend.alive():
        raise BusyError("The server cannot answer now.", hint="See /health/ready.")
    return served


async def _all(first: Delta, deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    return [first, *[delta async for delta in deltas]]


@dataclass(slots=True)
class _Watch:
    """Sees to it that the end of an answer is counted, once."""

    admission: Admission
    metrics: Metrics
    load: Load
    arrived: float
    over: bool = False

    def finished(self, last: Delta) -> None:
        assert last.usage, "the last delta carries it"
        self.over = True
        self.admission.learn(self.load, last.usage)
        self.metrics.finished(last, self.arrived)

    def broken_off(self, reason: Literal["abort", "error"]) -> None:
        if not self.over:
            self.over = True
            self.metrics.broken_off(reason)


async def _events(
    answer: Answer, first: Delta, deltas: AsyncGenerator[Delta, None], watch: _Watch, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The stream of one answer. Headers are out by now, so that a failure can only be one more event, the last."""
    async with aclosing(deltas):
        try:
            delta, opening = first, answer.opening()
            while delta.finish_reason is None:
                if piece := opening + answer.piece(delta):
                    yield piece
                delta, opening = await anext(deltas), b""
            watch.finished(delta)
            yield opening + answer.piece(delta) + answer.ending(delta, include_usage=include_usage)
        except SaccadeError as error:
            watch.broken_off("error")
            _log.error("A stream failed after it had begun: %s", error.message)
            yield event(error.to_openai())
        except Exception:
            watch.broken_off("error")
            _log.exception("A stream failed after it had begun.")
            yield event(INTERNAL.to_openai())
        finally:
            watch.broken_off("abort")


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` gives. It is cancelled, and ClientDisconnect raised, when the client closes the connection."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
