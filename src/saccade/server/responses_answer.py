"""Deltas become the JSON of a response, whole or as events; knows no sockets and no backend."""

from __future__ import annotations

import json
import time
from typing import Any

from saccade.errors import SaccadeError
from saccade.server.answer import timings, token_logprob
from saccade.server.blocks import Block, Blocks, Step
from saccade.server.responses_body import ResponsesBody
from saccade.types import Delta, TextLogprob, Usage

WHOLE = {"reasoning": "reasoning_text", "text": "output_text"}
"""What the only part of an item is called."""
GROWTH = {
    "reasoning": "response.reasoning_text",
    "text": "response.output_text",
    "call": "response.function_call_arguments",
}
"""Beginnings of the names of events."""


class ResponseAnswer:
    """The two forms of one response."""

    def __init__(self, id: str, model: str, body: ResponsesBody) -> None:
        self._id = id
        self._created = int(time.time())
        self._number = 0
        self._blocks = Blocks()
        self._head = {
            "id": id,
            "object": "response",
            "created_at": self._created,
            "model": model,
            "background": False,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning and body.reasoning.effort, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": _format(body)},
            "tool_choice": _choice(body),
            "tools": [{"parameters": None, "strict": None, **tool.model_dump()} for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
        }

    def whole(self, deltas: list[Delta]) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        for delta in deltas:
            self._blocks.steps(delta)
        return self._ended(deltas[-1])

    def opening(self) -> bytes:
        """The first events."""
        begun = {**self._head, **_UNKNOWN, "status": "in_progress", "output": []}
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def piece(self, delta: Delta) -> bytes:
        """The events of one delta; of the last one too, without the end."""
        cut = delta.finish_reason == "length"
        return b"".join(self._step(step, cut=cut) for step in self._blocks.steps(delta))

    def ending(self, last: Delta) -> bytes:
        """The last event."""
        whole = self._ended(last)
        return self._event(f"response.{whole['status']}", response=whole)

    def failure(self, error: SaccadeError) -> bytes:
        """The last event of a response that breaks off."""
        told = {"code": "server_error", "message": error.to_openai()["error"]["message"]}
        output = [self._item(block, "incomplete") for block in self._blocks.all]
        failed = {**self._head, **_UNKNOWN, "status": "failed", "output": output, "error": told}
        return self._event("response.failed", response=failed)

    def _ended(self, last: Delta) -> dict[str, Any]:
        cut = last.finish_reason == "length"
        blocks = self._blocks.all
        status = "incomplete" if cut else "completed"
        return {
            **self._head,
            **_UNKNOWN,
            "status": status,
            "completed_at": None if cut else max(self._created, int(time.time())),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            # Only the last one can have been cut.
            "output": [self._item(block, status if block is blocks[-1] else "completed") for block in blocks],
            "usage": _usage(last.usage),
            "timings": timings(last.times),
        }

    def _step(self, step: Step, *, cut: bool) -> bytes:
        block = step.block
        place = {"item_id": self._item_id(block), "output_index": block.index}
        part = {**place, "content_index": 0}
        if step.what == "open":
            empty = Block(block.kind, block.index, block.call_id, block.name)
            item = self._item(empty, "in_progress")
            if block.kind == "call":
                return self._event("response.output_item.added", output_index=block.index, item=item)
            item = {**item, "content": []}
            return self._event("response.output_item.added", output_index=block.index, item=item) + self._event(
                "response.content_part.added", **part, part=_part(empty)
            )
        name = GROWTH[block.kind]
        if step.what == "grow":
            if block.kind == "text":
                return self._event(f"{name}.delta", **part, delta=step.piece, logprobs=_entries(step.logprobs))
            return self._event(f"{name}.delta", **(place if block.kind == "call" else part), delta=step.piece)
        item = self._item(block, "incomplete" if cut else "completed")
        if block.kind == "call":
            done = self._event(f"{name}.done", **place, name=block.name, arguments=block.text)
        else:
            more = {"logprobs": _entries(block.logprobs)} if block.kind == "text" else {}
            done = self._event(f"{name}.done", **part, text=block.text, **more)
            done += self._event("response.content_part.done", **part, part=_part(block))
        return done + self._event("response.output_item.done", output_index=block.index, item=item)

    def _item(self, block: Block, status: str) -> dict[str, Any]:
        item = {"id": self._item_id(block), "status": status}
        if block.kind == "call":
            call = {"call_id": block.call_id, "name": block.name, "arguments": block.text}
            return {**item, "type": "function_call", **call}
        if block.kind == "reasoning":
            return {**item, "type": "reasoning", "summary": [], "content": [_part(block)]}
        return {**item, "type": "message", "role": "assistant", "content": [_part(block)]}

    def _item_id(self, block: Block) -> str:
        kind = {"call": "fc", "reasoning": "rs", "text": "msg"}[block.kind]
        return f"{kind}_{self._id.removeprefix('resp_')}_{block.index}"

    def _event(self, kind: str, **data: Any) -> bytes:
        told = json.dumps(
            {"type": kind, "sequence_number": self._number, **data}, ensure_ascii=False, separators=(",", ":")
        )
        self._number += 1
        return f"event: {kind}\ndata: {told}\n\n".encode()


_UNKNOWN = {"completed_at": None, "error": None, "incomplete_details": None, "usage": None}
"""What is not known before the end."""


def _part(block: Block) -> dict[str, Any]:
    part: dict[str, Any] = {"type": WHOLE[block.kind], "text": block.text}
    if block.kind == "text":
        part |= {"annotations": [], "logprobs": _entries(block.logprobs)}
    return part


def _entries(logprobs: list[TextLogprob] | tuple[TextLogprob, ...]) -> list[dict[str, Any]]:
    return [
        {
            **token_logprob(entry.text, entry.raw, entry.logprob),
            "top_logprobs": [token_logprob(*one) for one in entry.top],
        }
        for entry in logprobs
    ]


def _format(body: ResponsesBody) -> dict[str, Any]:
    if body.text is None or body.text.format is None:
        return {"type": "text"}
    return body.text.format.model_dump(by_alias=True, exclude_none=True)


def _choice(body: ResponsesBody) -> Any:
    choice = body.tool_choice
    if choice is None:
        return "auto"
    return {"type": "function", "name": choice.name} if choice.type == "function" else choice.type


def _usage(usage: Usage | None) -> dict[str, Any]:
    assert usage, "the last delta carries it"
    media = {"image_tokens": usage.image_tokens, "video_tokens": usage.video_tokens}
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0, **media},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
