"""Deltas become the JSON of chat completions, whole or in chunks; knows no sockets and no backend."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

from saccade.types import Delta, ModelCard, StageTimes, TextLogprob, Usage

DONE = b"data: [DONE]\n\n"
MARK = "\uffff"
"""No character: it stands for the text of an event that is still to come."""
LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot say."""


class Answer:
    """The two forms of one answer: `whole` for a single body, `chunks` for a stream."""

    def __init__(self, request_id: str, model: str) -> None:
        self._head = {"id": request_id, "created": int(time.time()), "model": model}
        # Of the many events of a stream only the text differs.
        before, after = self._chunk({"content": MARK}, None, None).decode().split(f'"{MARK}"')
        self._before, self._after = before, after

    def whole(self, deltas: list[Delta]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        last = deltas[-1]
        logprobs = [entry for delta in deltas for entry in delta.logprobs]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(d.text for d in deltas), "refusal": None},
            "logprobs": _logprobs(logprobs),
            "finish_reason": last.finish_reason,
        }
        ending = {"usage": _usage(last.usage), "timings": timings(last.times)}
        return {**self._head, "object": "chat.completion", "choices": [choice], **ending}

    def opening(self) -> bytes:
        """The first event: who speaks."""
        return self._chunk({"role": "assistant", "content": ""}, None, None)

    def piece(self, delta: Delta) -> bytes:
        """The event of a delta that is not the last; empty when there is nothing to tell yet."""
        if not delta.text and not delta.logprobs:
            return b""
        if delta.logprobs:
            return self._chunk({"content": delta.text}, delta.logprobs, None)
        return f"{self._before}{encode_basestring(delta.text)}{self._after}".encode()

    def ending(self, last: Delta, *, include_usage: bool) -> bytes:
        """The events after the last piece of text; `timings` is in the very last chunk."""
        times = {"timings": timings(last.times)}
        if not include_usage:
            return self._chunk({}, None, last.finish_reason, times) + DONE
        usage = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(last.usage)}
        return self._chunk({}, None, last.finish_reason) + event({**usage, **times}) + DONE

    def _chunk(
        self,
        delta: dict[str, str],
        logprobs: Iterable[TextLogprob] | None,
        finish_reason: str | None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice], **(more or {})})


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def models(card: ModelCard, created: int) -> dict[str, Any]:
    """The body of GET /v1/models."""
    model = {
        "id": card.id,
        "object": "model",
        "created": created,
        "owned_by": "saccade",
        "max_model_len": card.context or None,
    }
    return {"object": "list", "data": [{**model, "facts": card.facts}]}


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
