"""An http(s) URL -> its bytes, under a policy that looks at the address that is really connected to; the only file that
opens connections to the outside. It knows no format.

Nothing comes from the environment: no proxy, no cookie, no password. Whoever asks learns as little as possible: a host
that may not be reached, one that does not exist and one that is silent give the same error.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import h11

from saccade.errors import MediaError
from saccade.media.address import Address, AddressError, is_public, parse

MAX_HOPS = 5
"""Redirects that are followed."""
CONNECT_SECONDS = 5.0
"""For finding the host, TCP and TLS."""
FIRST_BYTE_SECONDS = 10.0
IDLE_SECONDS = 5.0
"""Between two pieces of an answer."""
MAX_AT_ONCE = 32
MAX_HEAD = 32768
"""Bytes of the head of an answer, and of one trailer or chunk size."""
MAX_INTERIM = 8
"""Answers of status 1xx before the real one."""
PIECE = 65536

Resolve = Callable[[str, int], list[str]]
"""Host and port -> IP addresses; may take its time, runs in a thread. Raises OSError."""


class Remote:
    """Fetches files from other hosts. Belongs to one event loop."""

    def __init__(
        self,
        *,
        any_public: bool,
        hosts: frozenset[str],
        max_bytes: int,
        timeout: float,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`any_public`: hosts of the public internet may be reached; `hosts`: these may whatever their address is.
        `timeout`: seconds for one file with all its redirects."""
        self._any_public = any_public
        self._hosts = frozenset(host.lower().removesuffix(".") for host in hosts)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._resolve = resolve or _resolve
        self._tls = tls
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._resolvers = ThreadPoolExecutor(8, thread_name_prefix="saccade-names")

    async def fetch(self, url: str, param: str, too_large: MediaError) -> bytes:
        """The whole body of the answer. Raises MediaError, `too_large` when it has more than `max_bytes`."""
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                address = parse(url)
                for _ in range(MAX_HOPS + 1):
                    answer = await self._get(address, param, too_large)
                    if isinstance(answer, bytes):
                        return answer
                    address = address.follow(answer)
            raise MediaError(f"The server of this file redirects more than {MAX_HOPS} times.", param=param)
        except (AddressError, OSError, h11.RemoteProtocolError, h11.LocalProtocolError, UnicodeError):
            # TimeoutError is an OSError, and ssl's errors are.
            raise MediaError(
                "The address could not be fetched: it is not allowed, does not exist, or does not answer in time.",
                param=param,
                hint=f"At most {self._timeout:g} seconds (--remote-timeout), and no private addresses "
                "(--allow-media-hosts).",
            ) from None

    def close(self) -> None:
        """Begin nothing new."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _get(self, address: Address, param: str, too_large: MediaError) -> bytes | str:
        """The body at `address`, or where it is said to be."""
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await self._connect(address, await self._checked(address))
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            headers = {
                "Host": address.authority,
                "User-Agent": "saccade",
                "Accept": "image/*, video/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            request = h11.Request(method="GET", target=address.target, headers=list(headers.items()))
            writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            head = await _head(connection, reader)
            if head.status_code in (301, 302, 303, 307, 308):
                return _header(head, b"location")
            self._check_head(head, param, too_large)
            body = bytearray()
            while isinstance(event := await _event(connection, reader, IDLE_SECONDS), h11.Data):
                body += event.data
                if len(body) > self._max_bytes:
                    raise too_large
            return bytes(body)
        finally:
            writer.transport.abort()

    async def _checked(self, address: Address) -> list[str]:
        """Every IP address of the host, each of which may be connected to. Raises AddressError when one may not."""
        is_named = address.host in self._hosts
        if not (is_named or self._any_public):
            raise AddressError("not a host that was allowed")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._resolvers, self._resolve, address.host, address.port)
        if not found or not (is_named or all(map(is_public, found))):
            raise AddressError("not a public address")
        return found

    async def _connect(self, address: Address, ips: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first of `ips` that takes one; the name is not looked up again."""
        tls = (self._tls or ssl.create_default_context()) if address.secure else None
        name = address.host if tls else None
        for ip in ips[:-1]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS / len(ips)):
                    return await asyncio.open_connection(ip, address.port, ssl=tls, server_hostname=name, limit=PIECE)
            except OSError:
                continue
        return await asyncio.open_connection(ips[-1], address.port, ssl=tls, server_hostname=name, limit=PIECE)

    def _check_head(self, answer: h11.Response, param: str, too_large: MediaError) -> None:
        if answer.status_code != 200:
            raise MediaError(f"The server of this file answered with status {answer.status_code}.", param=param)
        if _header(answer, b"content-encoding") not in ("", "identity"):
            raise MediaError("The server of this file answered with a packed body.", param=param)
        kind = _header(answer, b"content-type").partition(";")[0].strip().lower()
        if kind and not re.match(
            r"(image|video)/|(application|binary)/octet-stream$|application/(mp4|x-matroska)$", kind
        ):
            raise MediaError("The server of this file answered with neither a picture nor a video.", param=param)
        if int(_header(answer, b"content-length") or 0) > self._max_bytes:
            raise too_large


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def _head(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    """The answer's status and headers; word that they will come is passed over, a few times."""
    for _ in range(MAX_INTERIM):
        event = await _event(connection, reader, FIRST_BYTE_SECONDS)
        if isinstance(event, h11.Response):
            return event
    raise h11.RemoteProtocolError("it never comes to the point")


async def _event(connection: h11.Connection, reader: asyncio.StreamReader, patience: float) -> h11.Event:
    """What the other side says next. Raises h11.RemoteProtocolError, or TimeoutError after `patience` seconds without
    a byte."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        async with asyncio.timeout(patience):
            connection.receive_data(await reader.read(PIECE))
    if isinstance(event, h11.Event):
        return event
    raise h11.RemoteProtocolError("it says nothing more")


def _header(answer: h11.Response, name: bytes) -> str:
    """The value of a header, "" without one. h11 gives names in lower case, and checks Content-Length."""
    return next((value.decode("latin-1").strip() for key, value in answer.headers if key == name), "")


_KINDS = re.compile(r"(image|video)/[a-z0-9.+-]+|(application|binary)/octet-stream|application/(mp4|x-matroska)")
"""Content types of pictures and videos, and those that say nothing. What the file is, its bytes tell later."""
