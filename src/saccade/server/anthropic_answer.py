"""Deltas become the JSON of a message in Anthropic's form, whole or as events; knows no sockets and no backend."""

from __future__ import annotations

import json
from typing import Any

from saccade.errors import SaccadeError
from saccade.server.answer import timings
from saccade.server.blocks import Block, Blocks, Step
from saccade.types import Delta, Usage

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
GROWTH = {
    "text": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}
"""What a piece of a block is called, and its field."""
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""What Anthropic's interface calls an error of a status; any other is an api_error."""


class MessageAnswer:
    """The two forms of one message."""

    def __init__(self, id: str, model: str) -> None:
        self._head = {"id": id, "type": "message", "role": "assistant", "model": model}
        self._blocks = Blocks()

    def whole(self, deltas: list[Delta]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        for delta in deltas:
            self._blocks.steps(delta)
        last = deltas[-1]
        content = [_block(block, block.text) for block in self._blocks.all]
        ending = {**_reason(last), "usage": _usage(last.usage), "timings": timings(last.times)}
        return {**self._head, "content": content, **ending}

    def opening(self) -> bytes:
        """The first event. How many tokens the prompt has is told with the last but one."""
        usage = {"input_tokens": 0, "output_tokens": 0}
        begun: dict[str, Any] = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return event("message_start", message=begun)

    def piece(self, delta: Delta) -> bytes:
        """The events of one delta; of the last one too, without the end."""
        return b"".join(map(_step, self._blocks.steps(delta)))

    def ending(self, last: Delta) -> bytes:
        """The last events."""
        more = {"usage": _usage(last.usage), "timings": timings(last.times)}
        return event("message_delta", delta=_reason(last), **more) + event("message_stop")


def error_body(error: SaccadeError, request_id: str | None = None) -> dict[str, Any]:
    """An error in Anthropic's form; `param` and `code` are ours."""
    told = error.to_openai()["error"]
    kind = TYPES.get(error.status, "api_error")
    body = {"type": kind, "message": told["message"], "param": told["param"], "code": told["code"]}
    return {"type": "error", "error": body, "request_id": request_id}


def event(kind: str, **data: Any) -> bytes:
    """One server-sent event."""
    told = json.dumps({"type": kind, **data}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {told}\n\n".encode()


def _step(step: Step) -> bytes:
    block = step.block
    if step.what == "open":
        return event("content_block_start", index=block.index, content_block=_block(block, ""))
    if step.what == "close":
        return event("content_block_stop", index=block.index)
    kind, name = GROWTH[block.kind]
    return event("content_block_delta", index=block.index, delta={"type": kind, name: step.piece})


def _block(block: Block, text: str) -> dict[str, Any]:
    if block.kind == "text":
        return {"type": "text", "text": text, "citations": None}
    if block.kind == "reasoning":
        # Nothing is signed: thoughts that come back are taken as they are.
        return {"type": "thinking", "thinking": text, "signature": ""}
    return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": _object(text)}


def _object(text: str) -> dict[str, Any]:
    """The arguments of a call; those of one that was cut are no object."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {"INVALID_JSON": text}
    return value if isinstance(value, dict) else {"INVALID_JSON": text}


def _reason(last: Delta) -> dict[str, Any]:
    if last.stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": last.stop}
    return {"stop_reason": REASONS[last.finish_reason or "stop"], "stop_sequence": None}


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Tokens that were found in the cache are counted apart there."""
    assert usage, "the last delta carries it"
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
