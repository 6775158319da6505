"""HTTP connections that cannot be held open for nothing: heads that do not come, answers that are not read, bodies that
nobody wants; uvicorn's protocol with patience.

    data --> head (bounded in bytes and seconds) --> body (see connection.read_body) --> answer (bounded in seconds
    during which nothing is read) --> what is left of the body (bounded in seconds) --> next head
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saccade.errors import RequestError

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers."""
VERSIONS = ("1.0", "1.1")
HEAD_SECONDS = 10.0
"""From the first byte of a request to the end of its headers, and from a connection to its first byte."""
UNREAD_SECONDS = 30.0
"""A client that takes none of what waits for it (64 KiB, beside what the network holds) is gone after so long."""
READERS = 4
"""Connections that go on reading in one turn of the loop."""
LINGER_SECONDS = 10.0
"""So long the rest of a body is read and thrown away when the answer is out already: a connection that is closed with
unread bytes takes the answer with it."""


class Turns(FlowControl):
    """Reading that was paused goes on for a few connections in each turn of the loop: a read brings up to 256 KiB, and
    a hundred bodies that come at once would hold the loop for all of them."""

    _waiting: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Turns]]] = WeakKeyDictionary()

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._loop = loop

    def resume_reading(self) -> None:
        if not self.read_paused:
            return
        self.read_paused = False
        waiting = self._waiting.setdefault(self._loop, deque())
        if not waiting:
            self._loop.call_soon(self._turn, self._loop, waiting)
        waiting.append(self)

    @staticmethod
    def _turn(loop: asyncio.AbstractEventLoop, waiting: deque[Turns]) -> None:
        for _ in range(min(READERS, len(waiting))):
            flow = waiting.popleft()
            if not (flow.read_paused or flow._transport.is_closing()):
                flow._transport.resume_reading()
        if waiting:
            loop.call_soon(Turns._turn, loop, waiting)


class Gathering:
    """A transport that sends what is written in one turn of the loop at once: a head and the first event are one call
    of the system (0.3 ms each, which is seen in the first token) and wake the client once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._transport.write(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head = 0
        """Bytes of a head that is not complete."""
        self._is_too_large = False
        self._is_deaf = False
        """Nothing that still comes is looked at."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = Gathering(transport, self.loop)  # type: ignore[assignment]
        self.flow = Turns(transport, self.loop)
        self._await("head", HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._came(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._is_between():
            self._await("head", HEAD_SECONDS)
            self._head += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._head > MAX_HEAD and not self._is_deaf and not self.transport.is_closing():
            self._is_too_large = True
            self.send_400_response("")

    def _feed(self, data: bytes) -> None:
        """Parse it. A wish for another protocol (Java's client has that of HTTP/2 with each request) is passed over, as
        RFC 9110 allows; the parser would take the body for bytes of that protocol, so it is told the head without."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as wish:
            if not self._is_wish():
                return
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self._feed(b"\r\n".join([*lines, b"", data[wish.args[0] :]]))

    def _is_wish(self) -> bool:
        """Whether this head asks for another protocol, and could do without."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def on_headers_complete(self) -> None:
        if self._is_wish():
            return
        self._came("head")
        self._head = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._is_too_large = True
            raise ValueError("the parser makes it a refusal")
        hosts = sum(name == b"host" for name, _ in self.headers)
        version = self.parser.get_http_version()
        if version not in VERSIONS or hosts > 1 or (version == "1.1" and not hosts):
            raise ValueError("the parser makes it a refusal")
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if self.cycle.more_body:
            self._await("rest", LINGER_SECONDS)
        super().on_response_complete()

    def on_message_complete(self) -> None:
        if self._is_wish():
            return
        self._came("rest")
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._await("reader", UNREAD_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._came("reader")
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too much of it; `msg` is uvicorn's."""
        if self._is_too_large:
            too_large = RequestError(f"The headers are larger than {MAX_HEAD} bytes.", code="headers_too_large")
            self._refuse(too_large, "431 Request Header Fields Too Large")
        else:
            self._refuse(RequestError("This is no valid HTTP request.", code="invalid_http"), "400 Bad Request")

    def _is_between(self) -> bool:
        """Whether the next byte belongs to a head."""
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _refuse(self, error: RequestError, status: str) -> None:
        self._is_deaf = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # It is what came after; the request before it is answered, and that is the end.
                cycle.keep_alive = False
                return
            if cycle.response_started or self.pipeline:
                self.transport.abort()  # It would become part of the answer under way.
                return
            cycle.disconnected = True
            cycle.message_event.set()
        body = json.dumps(error.to_openai()).encode()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():  # The client goes on writing before it reads.
            self.transport.write_eof()
            self._await("rest", LINGER_SECONDS)
        else:
            self.transport.close()

    def _await(self, name: str, seconds: float) -> None:
        """The connection ends unless `name` comes."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _came(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
