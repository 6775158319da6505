"""Connections that come with bad intentions, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.server import protocol
from saccade.types import Delta, Request, StageTimes, Usage

CHAT = "/v1/chat/completions"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def body(text: str = "hello", **fields: Any) -> bytes:
    return json.dumps({"model": "echo", "messages": [{"role": "user", "content": text}], **fields}).encode()


def connect(served: Any) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def until_closed(connection: socket.socket) -> bytes:
    heard = b""
    try:
        while piece := connection.recv(65536):
            heard += piece
    except ConnectionResetError:
        pass
    return heard


def status_of(answer: bytes) -> int:
    return int(answer.split(None, 2)[1])


@pytest.mark.parametrize("begun", [b"", b"P", HEAD, HEAD + b"X-Slow: a"])
def test_heads_that_do_not_come(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """Slowloris."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    served = serve(Echo())
    with connect(served) as connection:
        connection.sendall(begun)
        began = time.monotonic()
        assert until_closed(connection) == b""
        assert 0.3 < time.monotonic() - began < 3
    with connect(served) as connection:  # and after a request that was answered
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"alive" in connection.recv(65536)
        connection.sendall(begun or b"G")
        assert until_closed(connection) == b""
    assert httpx.post(served.url + CHAT, content=body()).status_code == 200


def test_a_head_sent_slowly_but_in_time(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 2.0)
    with connect(serve(Echo())) as connection:
        for byte in b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n":
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
        assert b"alive" in connection.recv(65536)


@pytest.mark.parametrize("pieces", [1, 50])
def test_cve_2025_48956_a_gigantic_head(serve: Callable[..., Any], pieces: int) -> None:
    served = serve(Echo())
    with connect(served) as connection:
        sent = HEAD + b"X-Large: " + b"a" * 200_000 + b"\r\n\r\n"
        size = -(-len(sent) // pieces)
        try:
            for start in range(0, len(sent), size):
                connection.sendall(sent[start : start + size])
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass
        heard = until_closed(connection)
        assert not heard or status_of(heard) == 431
    with connect(served) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000 + b"\r\n\r\n")
        assert status_of(connection.recv(65536)) == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 64,
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: -5\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Host: elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
    ],
)
def test_what_is_no_http(serve: Callable[..., Any], garbage: bytes) -> None:
    served = serve(Echo())
    with connect(served) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        heard = until_closed(connection)
    assert 400 <= status_of(heard) < 500
    _, _, said = heard.partition(b"\r\n\r\n")
    assert set(json.loads(said)["error"]) == {"message", "type", "param", "code"}
    assert httpx.post(served.url + CHAT, content=body()).status_code == 200


def test_requests_in_a_row_and_garbage_behind(serve: Callable[..., Any]) -> None:
    served = serve(Echo())
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(body()) + body()
    with connect(served) as connection:
        connection.sendall(one * 3 + b"\x00garbage\r\n\r\n")
        heard = until_closed(connection)
    assert heard.count(b"HTTP/1.1 200") == 3
    assert b"HTTP/1.1 500" not in heard
    assert served.backend.running == 0
    assert httpx.post(served.url + CHAT, content=body()).status_code == 200


def test_a_head_far_too_large_is_refused_and_not_cut_off(serve: Callable[..., Any]) -> None:
    """A connection that is closed with unread bytes takes the refusal with it."""
    served = serve(Echo())
    with connect(served) as connection:
        connection.sendall(HEAD + b"X-Large: " + b"a" * 10_000_000 + b"\r\n\r\n")
        assert status_of(until_closed(connection)) == 431


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Type: application/json; charset=utf-8", 200),
        ("Content-Type: text/plain", 415),
        ("Content-Type: multipart/form-data; boundary=a", 415),
        ("Content-Encoding: identity", 200),
        ("Content-Encoding: gzip", 415),
        ("X-Request-Timeout: 20.5", 200),
        ("X-Request-Timeout: 2_0", 400),
        ("X-Request-Timeout: nan", 400),
    ],
)
def test_headers_that_mean_something_are_read_exactly(serve: Callable[..., Any], header: str, status: int) -> None:
    name, _, value = header.partition(": ")
    answer = httpx.post(serve(Echo()).url + CHAT, content=body(), headers={name: value})
    assert answer.status_code == status, answer.text
    if status == 415:
        assert answer.json()["error"]["code"] == "unsupported_media_type"


def test_garbage_within_a_stream_does_not_become_part_of_it(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.02))
    asked = body("a" * 30, stream=True)
    with connect(served) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(asked) + asked)
        connection.recv(10)
        connection.sendall(b"\x00\x00garbage\r\n\r\n")
        heard = until_closed(connection)
        assert b"[DONE]" in heard, "the answer was under way and is completed"
        assert b"400" not in heard
    end = time.monotonic() + 2
    while served.backend.running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_bodies_that_do_not_come(serve: Callable[..., Any]) -> None:
    served = serve(Echo(), body_seconds=0.3)
    for sent in (b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        with connect(served) as connection:
            connection.sendall(HEAD + sent)
            heard = until_closed(connection)
            assert status_of(heard) == 408
            assert b"--body-timeout" in heard
    assert httpx.post(served.url + CHAT, content=body()).status_code == 200


@pytest.mark.parametrize("cut", ["Upgr", "Upgrade: w", "\r\n\r\n", '"model"', "nowhere"])
def test_another_protocol_is_not_spoken(serve: Callable[..., Any], cut: str, caplog: pytest.LogCaptureFixture) -> None:
    """Java's client asks for HTTP/2 with each request, and goes on in this one. Nobody can fill the log by that."""
    served = serve(Echo())
    for wanted, framing in (
        ("h2c", "Content-Length: {}\r\n\r\n{}"),
        ("w", "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}"),
    ):
        asked = body().decode()
        end = "" if wanted == "h2c" else "\r\n0\r\n\r\n"
        lines = f"Connection: Upgrade\r\nUpgrade: {wanted}\r\n{framing.format(len(asked), asked)}{end}"
        with connect(served) as connection:
            for _ in range(2):
                sent = HEAD + lines.encode()
                at = sent.find(cut.encode()) + len(cut) if cut.encode() in sent else 0
                connection.sendall(sent[:at])
                time.sleep(0.02)
                connection.sendall(sent[at:])
                heard = connection.recv(65536)
                assert status_of(heard) == 200, heard
                while b"hello" not in heard:
                    heard += connection.recv(65536)
    assert caplog.records == []


def test_many_one_byte_chunks(serve: Callable[..., Any]) -> None:
    """CVE-2025-23310: chunks that cost more than they hold."""
    served = serve(Echo())
    asked = body("a" * 3000)
    with connect(served) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in asked) + b"0\r\n\r\n")
        assert status_of(until_closed(connection)) == 200


def test_the_rest_of_a_refused_body_is_not_read_for_ever(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.5)
    served = serve(Echo(), max_body_bytes=1000)
    with connect(served) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 5:
                connection.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
                time.sleep(0.002)
        assert time.monotonic() - began < 3


class Large(Echo):
    """Says 16 MB, in pieces of 8 KB."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.running += 1
        try:
            for number in range(2000):
                await asyncio.sleep(0)
                yield Delta("a" * 8192, (number,))
            yield Delta(finish_reason="stop", usage=Usage(1, 2000), times=StageTimes())
        finally:
            self.running -= 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_does_not_read(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    """Streams that are not read were a leak elsewhere: their buffers grew without bound."""
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.5)
    served = serve(Large())
    asked = body(stream=stream)
    with connect(served) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(asked) + asked)
        until(lambda: served.backend.running == 1)
        until(lambda: served.backend.running == 0)  # nobody feeds it any more
        assert httpx.get(f"{served.url}/v1/models").status_code == 200
        until(lambda: served.connections == 0)  # and nothing is kept for it


def until(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not question():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_head_and_the_first_event_come_together(serve: Callable[..., Any]) -> None:
    """One call of the system, one wake-up of the client."""
    sent = body(stream=True)
    with connect(serve(Echo())) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
        first = connection.recv(65536)
        assert status_of(first) == 200
        assert b"data: {" in first
