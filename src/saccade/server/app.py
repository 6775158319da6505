"""A backend becomes an HTTP application: routes, lifespan, health, metrics, and the one place where errors become
answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from saccade.backends.base import Backend
from saccade.errors import BusyError, RequestError, SaccadeError
from saccade.server.admission import Admission, Limits
from saccade.server.answer import models
from saccade.server.anthropic import messages_routes
from saccade.server.chat import chat_routes
from saccade.server.connection import refusal
from saccade.server.gate import INTERNAL, Gate
from saccade.server.guard import Access, Guard
from saccade.server.health import health_routes
from saccade.server.media import media_routes
from saccade.server.metrics import CONTENT_TYPE, Metrics
from saccade.server.openapi import openapi_routes
from saccade.server.page import page_routes
from saccade.server.profiling import profiling_routes
from saccade.server.records import Recorder, record_of
from saccade.server.responses import responses_route
from saccade.server.resume import GRACE_SECONDS, Replays
from saccade.server.tokenize import tokenize_routes
from saccade.server.tracing import Tracer

MAX_SHOWN = 100
"""Characters of a path that an error repeats."""
_log = logging.getLogger(__name__)


def create_app(
    backend: Backend,
    *,
    limits: Limits = Limits(),  # noqa: B008  it is frozen
    access: Access = Access(),  # noqa: B008  it is frozen
    vllm_metrics: bool = False,
    page: bool = False,
    tracer: Tracer | None = None,
    profile_dir: Path | None = None,
    resume_seconds: float = GRACE_SECONDS,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> FastAPI:
    """The application; its lifespan starts and closes `backend`, which may still be loading when requests come.

    `limits`: how much may wait. `access`: who may come in. `vllm_metrics`: tell metrics by vLLM's names too. `tracer`:
    gets a span of each request. `profile_dir`: where traces of steps may be written to. `resume_seconds`:
    how long a stream goes on whose client has gone but asked to be able to come back. `page`: serve
    the page for people at `/`. `beside` runs as long as the application does.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (metrics.lag.run, beside) if work]
        try:
            await backend.start()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await replays.close()
            await backend.close()
            if tracer:
                await asyncio.to_thread(tracer.close)

    # The generated pages would load scripts from elsewhere; docs/api.md describes the interface.
    app = FastAPI(title="saccade", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    card = backend.card()
    admission = Admission(limits, lambda: backend.card().context, lambda: len(access.keys) > 1)
    metrics = Metrics(card.id, backend.stats, admission, backend.media_stats, vllm_names=vllm_metrics)
    gate = Gate(backend, admission, metrics, share_caches=access.share_caches)
    replays = Replays(resume_seconds)
    # First, since they are looked for in this order.
    asked = [*chat_routes(gate, replays), responses_route(gate), *messages_routes(backend, gate)]
    app.router.routes.extend(asked)
    app.include_router(tokenize_routes(backend, gate))
    app.include_router(health_routes(backend, gate))
    app.include_router(openapi_routes(card.id))
    if profile_dir:
        app.include_router(profiling_routes(backend, profile_dir))
    app.include_router(media_routes(backend, gate))
    created = int(time.time())

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return models(backend.card(), created)

    @app.get("/v1/models/{model:path}")
    async def one_model(model: str) -> dict[str, Any]:
        if not model:
            raise HTTPException(404)
        gate.check_model(model)
        told: dict[str, Any] = models(backend.card(), created)["data"][0]
        return told

    @app.get("/metrics")
    async def scrape() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    app.state.gate = gate
    if page:
        app.include_router(page_routes())
    app.add_middleware(Guard, access=access, page=page)
    app.add_middleware(Recorder, crashed=_crashed, tell=tracer.tell if tracer else None)
    app.add_exception_handler(SaccadeError, _known)
    app.add_exception_handler(HTTPException, _routing)
    return app


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SaccadeError)
    record_of(request.scope).error = error.code or error.type
    if error.status >= 500 and not isinstance(error, BusyError):  # those are told in the metrics
        _log.error("%s", error.message)
    return refusal(error, request.scope["path"])


async def _routing(request: Request, error: Exception) -> JSONResponse:
    """No such path (404) or method (405)."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:MAX_SHOWN]
    told = RequestError(f"{error.detail}: {request.method[:MAX_SHOWN]} {path}.", code="unknown_url")
    response = refusal(told, request.scope["path"], error.status_code)
    response.headers.update(error.headers or {})
    return response


def _crashed(scope: Scope) -> Response:
    """A fault of ours; the traceback goes to the log, not to the client."""
    return refusal(INTERNAL, scope["path"])
