"""What the events of a stream say, and what is wrong with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from wire_samples import DONE, MODELS, chunked, event, piece, plain, usage

from saccade.bench.client import Client, Reply, read
from saccade.bench.wire import Exchange
from saccade.errors import SaccadeError

Scripted = Callable[[Any], str]


def streamed(*pieces: bytes, status: int = 200, failure: str | None = None) -> Exchange:
    """An exchange whose pieces came one each second."""
    return Exchange(0.0, status, [(1.0 + number, data) for number, data in enumerate(pieces)], 99.0, failure)


def test_a_stream() -> None:
    opening = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    timings = event({"choices": [], "timings": {"vision_ms": 3.5}})
    facts = read(streamed(opening, piece("a"), piece("b", "length"), usage(7, 2), timings, DONE))
    assert facts.error is None
    assert facts.stamps == [2.0, 3.0]  # The first piece with text, not the first event.
    assert (facts.text, facts.finish) == ("ab", "length")
    assert facts.usage == {"prompt_tokens": 7, "completion_tokens": 2}
    assert facts.timings == {"vision_ms": 3.5}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_events_cut_anywhere(size: int) -> None:
    whole = b": a comment\n\n" + piece("é") + piece("b").replace(b"\n", b"\r\n") + DONE
    facts = read(streamed(*(whole[at : at + size] for at in range(0, len(whole), size))))
    assert (facts.text, facts.error, len(facts.stamps)) == ("éb", None, 2)
    assert facts.stamps == sorted(facts.stamps)


@pytest.mark.parametrize("key", ["content", "reasoning_content", "reasoning"])
def test_thinking_counts_as_text(key: str) -> None:
    facts = read(streamed(event({"choices": [{"delta": {key: "hm"}}]}), DONE))
    assert facts.stamps == [1.0]


def test_a_token_without_text_counts() -> None:
    facts = read(streamed(event({"choices": [{"delta": {"content": ""}, "token_ids": [5]}]}), DONE))
    assert facts.stamps == [1.0]


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        (streamed(b'{"error": {"message": "No."}}', status=500), "status 500: No."),
        (streamed(b"<html>", status=502), "status 502: <html>"),
        (streamed(status=503), "status 503: nothing"),
        (streamed(piece("a")), "the stream ended without its last event"),
        (streamed(piece("a"), failure="closed"), "closed"),
        (streamed(usage(1, 0), DONE), "the answer has no text"),
        (streamed(piece("a"), event({"error": {"message": "Gone."}})), "error event: Gone."),
        (streamed(b"data: {oops\n\n", DONE), "an event that cannot be read: {oops"),
        (streamed(b"data: [1]\n\n", DONE), "an event that cannot be read: [1]"),
    ],
)
def test_what_is_wrong_is_told(exchange: Exchange, message: str) -> None:
    assert read(exchange).error == message


def reply(url: str) -> Reply:
    async def run() -> Reply:
        client = Client(url, api_key="k")
        client.model = "m"
        try:
            return await client.ask(client.question("q", [{"role": "user", "content": "hi"}], 3))
        finally:
            client.close()

    return asyncio.run(run())


def test_what_is_asked(scripted: Scripted) -> None:
    seen = []

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        writer.write(chunked(piece("a"), piece("b"), usage(4, 3), DONE))

    got = reply(scripted(script))
    assert (got.error, got.tokens, got.prompt_tokens, len(got.gaps_ms)) == (None, 3, 4, 1)
    assert 0 < got.ttft_ms <= got.total_ms
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"authorization: Bearer k" in head
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 3,
        "min_tokens": 3,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_usage_pieces_are_counted(scripted: Scripted) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(piece("a"), piece("b"), DONE))

    got = reply(scripted(script))
    assert (got.counted, got.tokens) == (None, 2)


def models(url: str) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        client = Client(url)
        try:
            return await client.models()
        finally:
            client.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (plain(b'{"error": {"message": "Who are you?"}}', "401 No"), "status 401: Who are you"),
        (plain(b"<html>"), "something else"),
        (plain(b'{"data": 3}'), "something else"),
    ],
)
def test_no_models(scripted: Scripted, answer: bytes, message: str) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    with pytest.raises(SaccadeError, match=message):
        models(scripted(script))


def test_models(scripted: Scripted) -> None:
    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        assert request.startswith(b"GET /v1/models ")
        writer.write(MODELS)

    assert models(scripted(script)) == [{"id": "m", "max_model_len": 9000}]
