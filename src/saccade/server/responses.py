"""POST /v1/responses: the words of OpenAI's newer interface around what the gate does; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from saccade import types
from saccade.errors import SaccadeError
from saccade.server.gate import Gate
from saccade.server.responses_answer import ResponseAnswer
from saccade.server.responses_body import to_chat
from saccade.server.routes import Route
from saccade.server.schema import chat_call
from saccade.server.translate import answered
from saccade.server.validate import json_object
from saccade.types import Delta


def responses_route(gate: Gate) -> Route:
    """The endpoint behind `gate`."""

    async def responses(http: Request) -> Response:
        return await answered(gate, http, "resp_", _Response)

    return Route("/v1/responses", responses, methods=["POST"])


class _Response:
    """One call of the endpoint; see gate.Call."""

    def __init__(self, body: bytes, id: str, model: str) -> None:
        asked, chat, paths = to_chat(json_object(body))
        self.model = asked.model
        self.stream = bool(asked.stream)
        with paths.named():
            call = chat_call({**chat, "model": asked.model or model}, id, in_turn=False)
        self.requests: Sequence[types.Request] = call.requests
        self.paths = paths
        self._answer = ResponseAnswer(id, model, asked)

    def whole(self, answers: Sequence[list[Delta]]) -> dict[str, Any]:
        return self._answer.whole(answers[0])

    def opening(self) -> bytes:
        return self._answer.opening()

    def piece(self, index: int, delta: Delta) -> bytes:
        return self._answer.piece(delta)

    def ending(self, lasts: Sequence[Delta]) -> bytes:
        return self._answer.ending(lasts[0])

    def failure(self, error: SaccadeError) -> bytes:
        return self._answer.failure(self.paths.renamed(error))
