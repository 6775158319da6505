"""Who may come in at all: hosts, origins and keys are checked before anything else of a request is looked at.

    scope -> Host is one of ours? -> Origin may? (preflights end here) -> key -> the application

Everything but the health routes is behind the key. The path is the one that routes are chosen by, `scope["path"]`: one
put together from headers could be another (CVE-2026-48710, CVE-2026-48746).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.errors import AuthError, ForbiddenError, SaccadeError, SettingsError
from saccade.server.connection import refusal
from saccade.server.keys import ANYONE, NONE, Key, Keys

OPEN = frozenset({"/health/live", "/health/ready"})
"""What probes ask: no key, no host."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.:\[\]-]+")
_KEY = "saccade.key"
_PREFLIGHT_SECONDS = "600"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in."""

    keys: Keys = NONE
    hosts: tuple[str, ...] = ()
    """Names that a Host header may have, without a port; empty: any. A page that a browser was lured to by a name of
    its own, which then points here, is told apart by it (DNS rebinding)."""
    origins: tuple[str, ...] = ()
    """Of pages elsewhere that may call: "https://example.org"."""
    share_caches: bool = False
    """What was computed for one key may be found by another."""


def key_of(scope: Scope) -> Key:
    """Whose request this is."""
    key: Key = scope.get(_KEY, ANYONE)
    return key


def open_hosts(host: str, named: Iterable[str]) -> tuple[str, ...]:
    """The names that Host may have on a server that listens on `host`: those named, else, on a loopback address, the
    names of that, else any."""
    if named:
        return tuple(name.lower() for name in named)
    return tuple({*LOOPBACK, host.lower()}) if is_loopback(host) else ()


def checked_origins(named: Iterable[str]) -> tuple[str, ...]:
    """Origins as browsers write them. Raises SettingsError for what can be none, or stands for many."""
    for origin in named:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"{origin!r} is no origin.", param="cors_origin", hint="One looks like https://example.org."
            )
    return tuple(named)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in LOOPBACK or host.startswith("127.") or host.endswith(".localhost")


class Guard:
    """An application behind its `access`; ASGI."""

    def __init__(self, app: ASGIApp, access: Access, page: bool = False) -> None:
        """`page`: "/" and "/ui/..." are files that everybody may have, as they are in the package, and "/gradio/..."
        is another frame around them; what is posted there needs a key."""
        self._app = app
        self._access = access
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # websockets are switched off in the server; this is the lifespan
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = ", ".join(headers.getlist("origin"))  # two are none
        is_allowed = origin in self._access.origins

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = MutableHeaders(scope=message)
                more["x-content-type-options"] = "nosniff"
                if self._access.origins:
                    more.add_vary_header("Origin")
                if is_allowed:
                    more["access-control-allow-origin"] = origin
                    more["access-control-expose-headers"] = "x-request-id, retry-after"
            await send(message)

        try:
            if scope["path"] not in OPEN:
                self._check_host(headers.get("host"))
                if origin and not is_allowed:
                    self._check_origin(origin, headers.get("host", ""))
                if is_allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                    await _preflight(headers)(scope, receive, send_more)
                    return
                if not (self._page and _is_page(scope)):
                    scope[_KEY] = self._holder(headers)
        except SaccadeError as error:
            await refusal(error, scope["path"])(scope, receive, send_more)
            return
        await self._app(scope, receive, send_more)

    def _check_host(self, host: str | None) -> None:
        """A request without one (HTTP/1.0) cannot come from a browser."""
        if host is None or not self._access.hosts or _name(host) in self._access.hosts:
            return
        raise ForbiddenError(
            "This server does not go by the name in the Host header.",
            code="host_not_allowed",
            hint="Start it with --allowed-host NAME.",
        )

    def _check_origin(self, origin: str, host: str) -> None:
        """A page of ours sends our own name as its origin; whether by http or https only a proxy knows."""
        scheme, _, authority = origin.partition("://")
        if scheme in ("http", "https") and authority.lower() == host.lower():
            return
        raise ForbiddenError(
            "Pages of other origins may not call this server.",
            code="origin_not_allowed",
            hint="Start it with --cors-origin ORIGIN.",
        )

    def _holder(self, headers: Headers) -> Key:
        if not self._access.keys:
            return ANYONE
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = headers.get("x-api-key", "")  # Anthropic's clients
        # Of two, a proxy in front may have checked the other.
        is_one = all(len(headers.getlist(name)) < 2 for name in ("authorization", "x-api-key"))
        # Headers are latin-1 text; what was sent are its bytes.
        key = self._access.keys.find(secret.strip().encode("latin-1")) if secret and is_one else None
        if key is None:
            raise AuthError("A valid API key is needed.", hint="Send it as 'Authorization: Bearer KEY'.")
        return key


def _is_page(scope: Scope) -> bool:
    path = scope["path"]
    is_ours = path == "/" or path.startswith(("/ui/", "/gradio/")) or path == "/gradio"
    return is_ours and scope["method"] in ("GET", "HEAD")


def _preflight(headers: Headers) -> Response:
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, HEAD, POST, DELETE",
            "access-control-allow-headers": headers.get("access-control-request-headers", "content-type"),
            "access-control-max-age": _PREFLIGHT_SECONDS,
        },
    )


def _name(host: str) -> str:
    """A Host header without its port: "[::1]:8000" is ::1."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
