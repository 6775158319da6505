"""A backend that gives the deltas it was told to give, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from saccade.backends.base import Echo
from saccade.types import Delta, FinishReason, Request, StageTimes, ToolCallPiece, Usage


def last(reason: FinishReason = "stop", **counts: int) -> Delta:
    """The end of an answer."""
    return Delta(
        finish_reason=reason, usage=Usage(**{"prompt_tokens": 7, "completion_tokens": 5, **counts}), times=StageTimes()
    )


THINKS_AND_CALLS = (
    Delta(reasoning="Sunny"),
    Delta(reasoning=" there?"),
    Delta("I "),
    Delta("look."),
    Delta(tool_calls=(ToolCallPiece(0, "call_a", "weather"),)),
    Delta(tool_calls=(ToolCallPiece(0, arguments='{"city": '),)),
    Delta(tool_calls=(ToolCallPiece(0, arguments='"Bonn"}'), ToolCallPiece(1, "call_b", "time", "{}"))),
    last("tool_calls", reasoning_tokens=2, cached_tokens=3),
)


class Speaker(Echo):
    """Says `deltas` whatever it is asked; an exception among them is raised."""

    def __init__(self, *deltas: Delta | Exception) -> None:
        super().__init__()
        self._deltas = deltas
        self.asked: list[Request] = []

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        for delta in self._deltas:
            if isinstance(delta, Exception):
                raise delta
            yield delta
