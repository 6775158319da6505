"""Bytes in, pieces and times out, however the network cuts them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from wire_samples import HEAD, chunk, chunked, plain

from saccade.bench.wire import Exchange, Wire, address
from saccade.errors import SettingsError

Scripted = Callable[[Any], str]


def exchange(url: str, times: int = 1, timeout: float = 5.0) -> list[Exchange]:
    async def run() -> list[Exchange]:
        wire = Wire(address(url), timeout=timeout)
        try:
            return [await wire.exchange("POST", "/v1/x", {"x-a": "b"}, b"body") for _ in range(times)]
        finally:
            wire.close()

    return asyncio.run(run())


def body(one: Exchange) -> bytes:
    return b"".join(data for _, data in one.pieces)


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "secure"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "", False),
        ("http://127.0.0.1:8000/v1/", "127.0.0.1", 8000, "", False),
        ("localhost:9", "localhost", 9, "", False),
        ("https://a.example/proxy/v1", "a.example", 443, "/proxy", True),
        ("http://[::1]:7", "::1", 7, "", False),
    ],
)
def test_addresses(url: str, host: str, port: int, prefix: str, secure: bool) -> None:
    where = address(url)
    assert (where.host, where.port, where.prefix, where.secure) == (host, port, prefix, secure)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:b", "http://a:99999"])
def test_no_address(url: str) -> None:
    with pytest.raises(SettingsError, match="is no http"):
        address(url)


def test_the_request_is_http(scripted: Scripted) -> None:
    seen = []

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        writer.write(plain(b"yes"))

    url = scripted(script)
    (answer,) = exchange(f"{url}/p/v1")
    assert (answer.status, body(answer), answer.failure) == (200, b"yes", None)
    head, _, sent = seen[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /p/v1/x HTTP/1.1"
    assert {b"host: " + url.partition("//")[2].encode(), b"content-length: 4", b"x-a: b"} <= set(head.split(b"\r\n"))
    assert sent == b"body"


@pytest.mark.parametrize("cut", range(1, 40))
def test_chunks_cut_anywhere(scripted: Scripted, cut: int) -> None:
    whole = chunked(b"data: 1\n\n", b"data: twenty-two bytes\n\n", b"x\r\n0\r\n\r\n")
    at = len(HEAD) - 8 + cut

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole[:at])
        await writer.drain()
        await asyncio.sleep(0.003)
        writer.write(whole[at:])

    (answer,) = exchange(scripted(script))
    assert answer.failure is None
    assert body(answer) == b"data: 1\n\ndata: twenty-two bytes\n\nx\r\n0\r\n\r\n"


def test_pieces_carry_the_time_they_came(scripted: Scripted) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _ in range(4):
            await asyncio.sleep(0.05)
            writer.write(chunk(b"x"))
        writer.write(b"0\r\n\r\n")

    (answer,) = exchange(scripted(script))
    stamps = [answer.sent, *(stamp for stamp, _ in answer.pieces)]
    assert [b - a for a, b in pairwise(stamps)] == pytest.approx([0.05] * 4, abs=0.045)
    assert answer.ended >= stamps[-1]


def test_a_connection_is_used_again(scripted: Scripted) -> None:
    peers = []

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        writer.write(chunked(b"a") if len(peers) < 3 else plain(b"b"))

    answers = exchange(scripted(script), times=4)
    assert [body(one) for one in answers] == [b"a", b"a", b"b", b"b"]
    assert len(set(peers)) == 1


def test_a_server_that_closes_each_time(scripted: Scripted) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end")
        writer.close()

    answers = exchange(scripted(script), times=3)
    assert [(body(one), one.failure) for one in answers] == [(b"until the end", None)] * 3


def test_an_interim_answer_is_not_the_answer(scripted: Scripted) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"late", "503 Busy"))

    (answer,) = exchange(scripted(script))
    assert (answer.status, body(answer)) == (503, b"late")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "closed before"),
        (b"HTTP/1.1 200 OK\r\n", "closed before"),
        (HEAD + chunk(b"a"), "closed before"),
        (HEAD + b"5\r\nab", "closed before"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "closed before"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (HEAD + b"zz\r\n\r\n", "not HTTP"),
    ],
)
def test_broken_answers_are_told(scripted: Scripted, sent: bytes, reason: str) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    (answer,) = exchange(scripted(script))
    assert answer.failure is not None
    assert reason in answer.failure


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (answer,) = exchange(url)
    assert answer.failure is not None
    assert answer.failure.startswith("no connection")


def test_a_server_that_says_nothing(scripted: Scripted) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    begun = time.perf_counter()
    (answer,) = exchange(scripted(script), timeout=0.1)
    assert time.perf_counter() - begun < 0.9
    assert answer.failure == "no answer within 0.1 s"
