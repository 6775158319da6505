"""Deltas become the JSON of chat completions, whole or in chunks; knows no sockets and no backend."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from json.encoder import encode_basestring
from typing import Any

from saccade.types import Delta, ModelCard, StageTimes, TextLogprob, ToolCallPiece, Usage

DONE = b"data: [DONE]\n\n"
MARK = "\uffff"
"""No character: it stands for the text of an event that is still to come."""
LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot say."""


class Answer:
    """The two forms of one call's answers, which are its choices: `whole` for a single body, the rest for a stream."""

    def __init__(self, request_id: str, model: str, *, num: int = 1, include_usage: bool = False) -> None:
        """`num` choices; `include_usage` tells the counts of all of them at the end of a stream."""
        self._head = {"id": request_id, "created": int(time.time()), "model": model}
        self._num = num
        self._include_usage = include_usage
        # Of the many events of a stream only the text differs. They are cut when the first of them is wanted.
        self._said: dict[int, list[str]] = {}
        self._thought: dict[int, list[str]] = {}

    def whole(self, answers: Sequence[list[Delta]]) -> dict[str, Any]:
        """The body of answers that are not streamed."""
        choices = [_choice(index, deltas) for index, deltas in enumerate(answers)]
        lasts = [deltas[-1] for deltas in answers]
        ending = {"usage": _usage(_sum(lasts)), "timings": timings(_longest(lasts))}
        return {**self._head, "object": "chat.completion", "choices": choices, **ending}

    def opening(self) -> bytes:
        """The first events: who speaks."""
        said = {"role": "assistant", "content": ""}
        return b"".join(self._chunk(index, said, None, None) for index in range(self._num))

    def piece(self, index: int, delta: Delta) -> bytes:
        """The events of a delta of choice `index`, the last one's too; empty when there is nothing to tell yet."""
        if delta.text and not (delta.finish_reason or delta.logprobs or delta.reasoning or delta.tool_calls):
            cut = self._said.get(index) or self._said.setdefault(index, self._cut({"content": MARK}, index))
            return encode_basestring(delta.text).join(cut).encode()
        if delta.reasoning and not (delta.finish_reason or delta.logprobs or delta.text or delta.tool_calls):
            cut = self._thought.get(index) or self._thought.setdefault(index, self._cut(_thought(MARK), index))
            return encode_basestring(delta.reasoning).join(cut).encode()
        said = _thought(delta.reasoning) if delta.reasoning else {}
        if delta.text:
            said["content"] = delta.text
        if delta.tool_calls:
            said["tool_calls"] = [_call_piece(call) for call in delta.tool_calls]
        events = self._chunk(index, said or {"content": ""}, delta.logprobs, None) if said or delta.logprobs else b""
        if delta.finish_reason is None:
            return events
        times = None if self._include_usage else delta.times
        return events + self._chunk(index, {}, None, delta.finish_reason, times)

    def ending(self, lasts: Sequence[Delta]) -> bytes:
        """The events after those of all choices. The very last chunk has `timings`."""
        if not self._include_usage:
            return DONE
        counts = {"usage": _usage(_sum(lasts)), "timings": timings(_longest(lasts))}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [], **counts}) + DONE

    def _cut(self, delta: dict[str, Any], index: int) -> list[str]:
        """The event of a delta in the pieces between its marks."""
        return self._chunk(index, delta, None, None).decode().split(f'"{MARK}"')

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: Iterable[TextLogprob] | None,
        finish_reason: str | None,
        times: StageTimes | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        more = {"timings": timings(times)} if times else {}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice], **more})


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + _compact(data).encode() + b"\n\n"


def models(card: ModelCard, created: int) -> dict[str, Any]:
    """The body of GET /v1/models."""
    model = {
        "id": card.id,
        "object": "model",
        "created": created,
        "owned_by": "saccade",
        "max_model_len": card.context or None,
    }
    return {"object": "list", "data": [{**model, "facts": card.facts, "media": card.media}]}


def tool_calls(deltas: Iterable[Delta]) -> list[dict[str, Any]]:
    """The calls of an answer, their pieces put together."""
    calls: list[dict[str, Any]] = []
    arguments: list[list[str]] = []
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        if piece.name is not None:
            calls.append({"id": piece.id, "type": "function", "function": {"name": piece.name}})
            arguments.append([])
        arguments[piece.index].append(piece.arguments)
    for call, texts in zip(calls, arguments, strict=True):
        call["function"]["arguments"] = "".join(texts)
    return calls


def _choice(index: int, deltas: list[Delta]) -> dict[str, Any]:
    text = "".join(delta.text for delta in deltas)
    reasoning = "".join(delta.reasoning for delta in deltas)
    calls = tool_calls(deltas)
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if reasoning:
        message |= _thought(reasoning)
    if calls:
        message["tool_calls"] = calls
    logprobs = _logprobs(entry for delta in deltas for entry in delta.logprobs)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": deltas[-1].finish_reason}


def _thought(text: str) -> dict[str, Any]:
    """Under the two names that clients look for."""
    return {"reasoning_content": text, "reasoning": text}


def _call_piece(call: ToolCallPiece) -> dict[str, Any]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _sum(lasts: Sequence[Delta]) -> Usage | None:
    """The counts of one prompt and of all of its answers."""
    usages = [last.usage for last in lasts if last.usage]
    if not usages:
        return None
    completion = sum(usage.completion_tokens for usage in usages)
    reasoning = sum(usage.reasoning_tokens for usage in usages)
    return replace(usages[0], completion_tokens=completion, reasoning_tokens=reasoning)


def _longest(lasts: Sequence[Delta]) -> StageTimes | None:
    """The times of the answer that took longest."""
    return max((last.times for last in lasts if last.times), key=lambda t: t.first_token + t.decode, default=None)


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
            "video_tokens": usage.video_tokens,
            "text_tokens": usage.prompt_tokens - usage.image_tokens - usage.video_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def timings(times: StageTimes | None) -> dict[str, Any] | None:
    """Milliseconds of each stage: fetch_ms, decode_media_ms ..., and which caches helped."""
    return times.timings if times else None


def _logprobs(entries: Iterable[TextLogprob] | None) -> dict[str, Any] | None:
    content = [
        {
            **token_logprob(entry.text, entry.raw, entry.logprob),
            "top_logprobs": [token_logprob(*one) for one in entry.top],
        }
        for entry in entries or ()
    ]
    return {"content": content, "refusal": None} if content else None


def token_logprob(text: str, raw: bytes, logprob: float) -> dict[str, Any]:
    """A token and how likely it was."""
    return {"token": text, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(raw)}
