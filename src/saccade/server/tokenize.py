"""POST /tokenize: the token ids of a text or of a conversation with its pictures; nothing is computed for it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from saccade.backends.base import Backend
from saccade.server.gate import Gate
from saccade.server.load import NOTHING
from saccade.server.schema import parse_tokenize


def tokenize_routes(backend: Backend, gate: Gate) -> APIRouter:
    """The endpoint over `backend`, with the limits of the chat endpoint."""
    router = APIRouter()

    async def respond(http: Request) -> Response:
        with gate.visit(http) as visit:
            call = parse_tokenize(await visit.read_json())
            gate.check_model(call.model)
            # Its pictures are decoded like all others, so it takes a place in the queue.
            asked = call.asked if isinstance(call.asked, str) else replace(call.asked, salt=gate.salt(http))
            tokens = await visit.first(NOTHING, lambda: backend.tokenize(asked))
        return JSONResponse({"count": len(tokens), "max_model_len": backend.card().context, "tokens": tokens})

    @router.post("/tokenize")
    async def tokenize(http: Request) -> Response:
        return await gate.responding(respond(http))

    return router
