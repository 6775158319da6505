"""Questions become streamed chat completions and come back as Replies with the time of each token; knows the wire form
of OpenAI's interface, not what is measured with it.

Writing the body of a request and reading the JSON of an answer take milliseconds of this process, so that both are
done when no clock runs: `Question` holds the bytes, and a `Reply` is read when first asked for a fact.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from saccade.bench.wire import Exchange, Wire, address
from saccade.errors import SaccadeError

TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Question:
    """One request, ready to be sent: `tokens` is how long its answer has to be."""

    label: str
    tokens: int
    body: bytes


@dataclass(slots=True)
class Facts:
    """What the events of one stream say."""

    stamps: list[float] = field(default_factory=list)
    """When each piece with text came."""
    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    finish: str | None = None
    error: str | None = None


class Reply:
    """The answer to one question, good or not."""

    def __init__(self, question: Question, exchange: Exchange) -> None:
        self.label, self.asked = question.label, question.tokens
        self.sent, self.ended = exchange.sent, exchange.ended
        self._exchange = exchange

    @cached_property
    def facts(self) -> Facts:
        return read(self._exchange)

    @property
    def error(self) -> str | None:
        """Why this reply cannot be counted."""
        return self.facts.error

    @property
    def ttft_ms(self) -> float:
        """From the first byte of the request to the first piece of text."""
        return (self.facts.stamps[0] - self.sent) * 1e3

    @property
    def total_ms(self) -> float:
        return (self.ended - self.sent) * 1e3

    @property
    def gaps_ms(self) -> list[float]:
        """Between one piece of text and the next."""
        stamps = self.facts.stamps
        return [(b - a) * 1e3 for a, b in pairwise(stamps)]

    @property
    def counted(self) -> int | None:
        """Tokens of the answer as the server counts them."""
        count = self.facts.usage.get("completion_tokens")
        return count if isinstance(count, int) else None

    @property
    def tokens(self) -> int:
        """Tokens of the answer; where the server does not tell, its pieces."""
        return len(self.facts.stamps) if self.counted is None else self.counted

    @property
    def prompt_tokens(self) -> int | None:
        count = self.facts.usage.get("prompt_tokens")
        return count if isinstance(count, int) else None

    def row(self) -> dict[str, Any]:
        """Everything measured, for JSON; times in milliseconds from `sent`."""
        facts = self.facts
        return {
            "what": self.label,
            "asked": self.asked,
            "total_ms": round(self.total_ms, 3),
            "pieces_ms": [round((stamp - self.sent) * 1e3, 3) for stamp in facts.stamps],
            "usage": facts.usage or None,
            "timings": facts.timings or None,
            "error": facts.error,
        }


class Client:
    """One server. `url` may end in /v1."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = TIMEOUT) -> None:
        self.where = address(url)
        self.url = url
        self.model = ""
        self._wire = Wire(self.where, timeout=timeout)
        key = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers = {"content-type": "application/json", "accept": "text/event-stream", **key}

    async def models(self) -> list[dict[str, Any]]:
        """What the server says it serves. Raises SaccadeError when it does not say."""
        exchange = await self._wire.exchange("GET", "/v1/models", self._headers)
        data = b"".join(piece for _, piece in exchange.pieces)
        if exchange.failure or exchange.status != 200:
            reason = exchange.failure or f"status {exchange.status}: {_shown(data)}"
            hint = "Is it running? Check address and key." if exchange.failure else "Check address and key."
            raise SaccadeError(f"{self.url} does not list its models: {reason}.", hint=hint)
        try:
            return [entry for entry in json.loads(data)["data"] if isinstance(entry["id"], str)]
        except (ValueError, LookupError, TypeError):
            raise SaccadeError(f"{self.url} answers /v1/models with something else: {_shown(data)}.") from None

    def question(self, label: str, messages: list[dict[str, Any]], tokens: int) -> Question:
        """A request for an answer of exactly `tokens` tokens, the likeliest ones."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": tokens,
            "min_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return Question(label, tokens, json.dumps(body).encode())

    async def ask(self, question: Question) -> Reply:
        """Send a question and wait for the end of its answer; never raises for what the server does."""
        exchange = await self._wire.exchange("POST", "/v1/chat/completions", self._headers, question.body)
        return Reply(question, exchange)

    def close(self) -> None:
        self._wire.close()


def read(exchange: Exchange) -> Facts:
    """The facts in the events of an answer; what is wrong with it is in `error`."""
    facts = Facts()
    if exchange.status not in (0, 200):
        body = b"".join(piece for _, piece in exchange.pieces)
        facts.error = f"status {exchange.status}: {_shown(body)}"
        return facts
    done, rest = False, b""
    for stamp, piece in exchange.pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                done = done or data == b"[DONE]"
                if data != b"[DONE]":
                    _take(facts, data, stamp)
    if facts.error is None:
        facts.error = exchange.failure
    if facts.error is None and not (done or facts.finish):
        facts.error = "the stream ended without its last event"
    if facts.error is None and not facts.stamps:
        facts.error = "the answer has no text"
    return facts


def _take(facts: Facts, data: bytes, stamp: float) -> None:
    """One event."""
    try:
        event = json.loads(data)
        if event.get("error"):
            facts.error = f"error event: {_shown(data)}"
        facts.usage = event.get("usage") or facts.usage
        facts.timings = event.get("timings") or facts.timings
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or ""
            facts.text += text
            facts.finish = choice.get("finish_reason") or facts.finish
            if text or choice.get("token_ids"):
                facts.stamps.append(stamp)
    except (ValueError, TypeError, AttributeError):
        facts.error = f"an event that cannot be read: {_shown(data)}"


def _shown(data: bytes) -> str:
    """The message of an error body where it has the usual form, else its beginning."""
    try:
        return str(json.loads(data)["error"]["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return data[:200].decode(errors="replace") or "nothing"
