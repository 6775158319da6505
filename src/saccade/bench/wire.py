"""Bytes of one request go out, the pieces of its answer come back with the time each arrived; knows HTTP/1.1, no JSON.

A general client spends more on each chunk of a stream than a quick server does (docs/bench.md has the figures), so that
at 128 streams one would measure the client. Here a piece costs a clock reading and a search for the end of its chunk;
everything else is left for later, when nobody is being timed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from saccade.errors import SettingsError

IDLE_SECONDS = 2.0
"""A connection unused for longer is not used again: servers close them, some after five seconds."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `prefix` is the path that its routes have in common, without /v1."""

    host: str
    port: int
    prefix: str
    secure: bool

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def address(url: str) -> Address:
    """The address of a URL, which may end in /v1. Raises SettingsError when it is none."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SettingsError(f"{url!r} is no http(s) address.", param="url", hint="For example http://127.0.0.1:8000.")
    secure = parts.scheme == "https"
    return Address(host, port or (443 if secure else 80), parts.path.rstrip("/").removesuffix("/v1"), secure)


@dataclass(slots=True)
class Exchange:
    """One request and its answer. Times are of time.perf_counter."""

    sent: float
    """When the first byte of the request was handed over, on a connection already open."""
    status: int = 0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """The body as it came, and when."""
    ended: float = 0.0
    failure: str | None = None
    """Why there is no whole answer."""


class Wire:
    """Connections to one address, each for one exchange at a time, kept open for the next."""

    def __init__(self, where: Address, *, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._idle: list[_Connection] = []

    async def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Exchange:
        """Send a request and read its whole answer; what fails on the way is told in `failure`, never raised."""
        where = self._where
        port = "" if where.port == (443 if where.secure else 80) else f":{where.port}"
        host = f"[{where.host}]" if ":" in where.host else where.host
        lines = [f"{method} {where.prefix}{path} HTTP/1.1", f"host: {host}{port}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        message = "\r\n".join([*lines, "", ""]).encode() + body
        connection = None
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect()
                done = await connection.send(message)
        except TimeoutError:
            done = connection.exchange if connection else Exchange(begun)
            done.failure = f"no answer within {self._timeout:g} s"
        except OSError as error:
            done = Exchange(begun, failure=f"no connection: {error.strerror or error}")
        finally:
            if connection is not None:
                self._give_back(connection)
        done.ended = done.ended or time.perf_counter()
        return done

    def close(self) -> None:
        """Close what is still open."""
        while self._idle:
            self._idle.pop().close()

    def _give_back(self, connection: _Connection) -> None:
        if connection.reusable():
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> _Connection:
        now = time.perf_counter()
        while self._idle:
            connection = self._idle.pop()
            if connection.open and now - connection.exchange.ended < IDLE_SECONDS:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        where = self._where
        _, fresh = await loop.create_connection(_Connection, where.host, where.port, ssl=where.secure or None)
        return fresh


class _Connection(asyncio.Protocol):
    """Reads one answer after another: status and headers, then a body in chunks, of known length or until the end."""

    def __init__(self) -> None:
        self.open = True
        self.exchange = Exchange(0.0)
        self._rest = b""
        self._in_body = self._chunked = self._keep = False
        self._left: int | None = None
        self._done: asyncio.Future[None] | None = None

    async def send(self, message: bytes) -> Exchange:
        """The exchange of one request; at most one at a time."""
        self._rest, self._in_body, self._chunked, self._keep, self._left = b"", False, False, True, None
        self._done = asyncio.get_running_loop().create_future()
        self.exchange = Exchange(time.perf_counter())
        self._transport.write(message)
        await self._done
        return self.exchange

    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        return self.open and self._keep and self._done is not None and self._done.done() and not self.exchange.failure

    def close(self) -> None:
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._done is None or self._done.done():
            self._keep = False  # Bytes that nobody asked for.
            return
        data = self._rest + data if self._rest else data
        try:
            self._rest = self._body(data, now) if self._in_body else self._head(data, now)
        except ValueError:
            self._end("the answer is not HTTP")

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._done is not None and not self._done.done():
            whole = self._in_body and not self._chunked and self._left is None and error is None
            self._end(None if whole else "the connection was closed before the answer was whole")

    # The parts of an answer; each gives back the bytes it could not use yet.

    def _head(self, data: bytes, now: float) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return data
        first, *lines = data[:end].split(b"\r\n")
        version, status = first.split(None, 2)[:2]
        if not version.startswith(b"HTTP/1."):
            raise ValueError
        self.exchange.status = int(status)
        if self.exchange.status < 200:  # 100 Continue; the answer follows.
            return self._head(data[end + 4 :], now)
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in (x.partition(b":") for x in lines)}
        self._in_body = True
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        length = headers.get(b"content-length")
        self._left = int(length) if length is not None and not self._chunked else None
        self._keep = headers.get(b"connection") != b"close" and (self._chunked or self._left is not None)
        return self._body(data[end + 4 :], now)

    def _body(self, data: bytes, now: float) -> bytes:
        if self._chunked:
            return self._chunks(data, now)
        if data:
            self.exchange.pieces.append((now, data))
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._end(None)
        return b""

    def _chunks(self, data: bytes, now: float) -> bytes:
        at = 0
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line].partition(b";")[0], 16)
            start, end = line + 2, line + 2 + size
            if len(data) < end + 2:
                break
            at = end + 2
            if size:
                self.exchange.pieces.append((now, data[start:end]))
            else:
                self._end(None)
                break
        return data[at:]

    def _end(self, failure: str | None) -> None:
        assert self._done is not None
        self.exchange.failure = failure
        self.exchange.ended = time.perf_counter()
        if not self._done.done():
            self._done.set_result(None)
