"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's words around what the gate does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from saccade import types
from saccade.backends.base import Backend
from saccade.errors import SaccadeError
from saccade.server.anthropic_answer import MessageAnswer, error_body, event
from saccade.server.anthropic_body import to_chat, to_count
from saccade.server.gate import Gate
from saccade.server.load import NOTHING
from saccade.server.routes import Route
from saccade.server.schema import chat_call
from saccade.server.translate import answered
from saccade.server.validate import json_object
from saccade.types import Delta


def messages_routes(backend: Backend, gate: Gate) -> list[BaseRoute]:
    """The endpoints behind `gate`."""

    async def messages(http: Request) -> Response:
        return await answered(gate, http, "msg_", _Message)

    async def count(http: Request) -> Response:
        with gate.visit(http) as visit:
            asked, chat, paths = to_count(json_object(await visit.read_json()))
            gate.check_model(asked.model)
            with paths.named():
                request = replace(chat_call(chat, "count").requests[0], salt=gate.salt(http))
                tokens = await visit.first(NOTHING, lambda: backend.tokenize(request))
        return JSONResponse({"input_tokens": len(tokens)})

    async def count_tokens(http: Request) -> Response:
        return await gate.responding(count(http))

    return [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    ]


class _Message:
    """One call of the endpoint; see gate.Call."""

    def __init__(self, body: bytes, id: str, model: str) -> None:
        asked, chat, paths = to_chat(json_object(body))
        self.model = asked.model
        self.stream = bool(asked.stream)
        with paths.named():
            call = chat_call(chat, id)
        self.requests: Sequence[types.Request] = call.requests
        self.paths = paths
        self._id = id
        self._answer = MessageAnswer(id, model)

    def whole(self, answers: Sequence[list[Delta]]) -> dict[str, Any]:
        return self._answer.whole(answers[0])

    def opening(self) -> bytes:
        return self._answer.opening()

    def piece(self, index: int, delta: Delta) -> bytes:
        return self._answer.piece(delta)

    def ending(self, lasts: Sequence[Delta]) -> bytes:
        return self._answer.ending(lasts[0])

    def failure(self, error: SaccadeError) -> bytes:
        told = error_body(self.paths.renamed(error), self._id)
        return event("error", error=told["error"], request_id=told["request_id"])
