"""POST /tokenize: the token ids of a text or of a conversation with its pictures; nothing is computed for it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from saccade.backends.base import Backend
from saccade.server.admission import Admission, Load
from saccade.server.chat import CLOSING, read_body, served, while_connected
from saccade.server.schema import parse_tokenize

NOTHING = Load(0, 0, 0)
"""What it asks of the engine; its pictures are decoded like all others, so it takes a place in the queue."""


def tokenize_routes(backend: Backend, max_body_bytes: int, admission: Admission) -> APIRouter:
    """The endpoint over `backend`, with the limits of the chat endpoint."""
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(http: Request) -> Response:
        try:
            admission.check()
            call = parse_tokenize(await read_body(http, max_body_bytes))
            served(backend, call.model)
            with admission.place(NOTHING):
                tokens = await while_connected(http.receive, backend.tokenize(call.asked))
        except ClientDisconnect:
            return Response(status_code=499)  # Nobody reads it.
        except asyncio.CancelledError:  # The server ends, and waited long enough.
            raise CLOSING from None
        return JSONResponse({"count": len(tokens), "max_model_len": backend.card().context, "tokens": tokens})

    return router
