"""POST /v1/chat/completions: the words of OpenAI's chat interface around what the gate does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import BaseRoute

from saccade import types
from saccade.errors import SaccadeError
from saccade.server.answer import Answer, event
from saccade.server.connection import EventStream
from saccade.server.gate import CLOSING, Gate
from saccade.server.guard import key_of
from saccade.server.resume import Replays, last_event, wants_resume
from saccade.server.routes import Route
from saccade.server.schema import ChatCall, parse_chat
from saccade.types import Delta


def chat_routes(gate: Gate, replays: Replays) -> list[BaseRoute]:
    """The chat endpoint behind `gate`; streams that are to outlive their connections are kept in `replays`."""
    router = APIRouter()

    async def chat_completions(http: Request) -> Response:
        if not wants_resume(http.headers.get("x-saccade-resume")):
            return await gate.answer(http, "chatcmpl-", _Chat)
        replays.check()
        return await gate.answer(http, "chatcmpl-", _Chat, replays)

    @router.get("/v1/chat/completions/{id}/events")
    async def events(http: Request, id: str) -> Response:
        replay = replays.find(id, key_of(http.scope))
        after = last_event(http.headers.get("last-event-id"))
        replay.check(after)
        return EventStream(replay.read(after), {"x-request-id": id}, closing=lambda: event(CLOSING.to_openai()))

    @router.post("/v1/chat/completions/{id}/cancel")
    async def cancel(http: Request, id: str) -> dict[str, str]:
        cancelled = replays.find(id, key_of(http.scope)).cancel()
        return {"id": id, "status": "cancelled" if cancelled else "completed"}

    return [Route("/v1/chat/completions", chat_completions, methods=["POST"]), *router.routes]


class _Chat:
    """One call of the endpoint; see gate.Call."""

    def __init__(self, body: bytes, id: str, model: str) -> None:
        self._call: ChatCall = parse_chat(body, id)
        self._answer = Answer(id, model, num=len(self._call.requests), include_usage=self._call.include_usage)

    @property
    def model(self) -> str:
        return self._call.requests[0].model

    @property
    def requests(self) -> Sequence[types.Request]:
        return self._call.requests

    @property
    def stream(self) -> bool:
        return self._call.stream

    def whole(self, answers: Sequence[list[Delta]]) -> dict[str, Any]:
        return self._answer.whole(answers)

    def opening(self) -> bytes:
        return self._answer.opening()

    def piece(self, index: int, delta: Delta) -> bytes:
        return self._answer.piece(index, delta)

    def ending(self, lasts: Sequence[Delta]) -> bytes:
        return self._answer.ending(lasts)

    def failure(self, error: SaccadeError) -> bytes:
        return event(error.to_openai())
