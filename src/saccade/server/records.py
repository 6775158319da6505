"""What is remembered of each HTTP request until its end, when it is told once: to the log, and to a tracer if there is
one. It holds sizes, times and names; no texts, no pictures and no keys."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.logs import FIELDS
from saccade.server.guard import key_of
from saccade.types import Delta, Request

_RECORD = "saccade.record"
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PROBES = ("/health/live", "/health/ready", "/metrics")
"""Routes that are asked all the time: told at level debug."""
_log = logging.getLogger("saccade.access")


@dataclass(slots=True)
class Record:
    """One request."""

    id: str
    """The client's, if it sent one that can be repeated, else ours."""
    is_named: bool
    """Whether it is the client's."""
    method: str
    headers: Headers
    began_ns: int = field(default_factory=time.time_ns)
    arrived: float = field(default_factory=time.perf_counter)
    route: str | None = None
    key: str | None = None
    status: int = 0
    stream: bool = False
    error: str | None = None
    """Code or type of what went wrong."""
    requests: tuple[Request, ...] = ()
    lasts: list[Delta] = field(default_factory=list)
    """The last deltas of its answers."""
    broken_off: Literal["abort", "error"] | None = None
    seconds: float = 0.0

    def fields(self) -> dict[str, Any]:
        """For the log; None where there is nothing to tell."""
        usages = [last.usage for last in self.lasts if last.usage]
        times = next((last.times for last in self.lasts if last.times), None)
        asked = self.requests[0] if self.requests else None
        return {
            "request_id": self.id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "key": self.key,
            "answer_id": asked.id if asked else None,
            "stream": self.stream if asked else None,
            "pictures": len(asked.media) if asked else None,
            "prompt_tokens": usages[0].prompt_tokens if usages else None,
            "completion_tokens": sum(usage.completion_tokens for usage in usages) if usages else None,
            "finish": self.broken_off or ",".join(last.finish_reason or "" for last in self.lasts) or None,
            "error": self.error,
            **(times.timings if times else {}),
        }


Tell: TypeAlias = Callable[[Record], None]


def record_of(scope: Scope) -> Record:
    """What is remembered of the request of a scope."""
    record = scope.get(_RECORD)
    return record if isinstance(record, Record) else Record("", False, "", Headers())


class Recorder:
    """An application whose requests are each told once, at their end; ASGI, around everything else."""

    def __init__(self, app: ASGIApp, crashed: Callable[[Scope], Response], tell: Tell | None = None) -> None:
        """`crashed` is the answer where the application failed to give one; `tell` gets every record besides the
        log."""
        self._app = app
        self._crashed = crashed
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        named = headers.get("x-request-id", "")
        is_named = _ID.fullmatch(named) is not None
        record = Record(named if is_named else f"req-{uuid4().hex}", is_named, scope["method"][:16], headers)
        scope[_RECORD] = record

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                more = MutableHeaders(scope=message)
                if not record.is_named:
                    record.id = more.get("x-request-id", record.id)
                more["x-request-id"] = record.id
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except ClientDisconnect:  # nobody reads what could be answered
            record.broken_off = record.broken_off or "abort"
        except Exception:
            logging.getLogger("saccade.server").exception("Request %s failed.", record.id)
            if record.status:  # too late for another answer; the connection is closed
                raise
            await self._crashed(scope)(scope, receive, send_more)
        finally:
            self._end(record, scope)

    def _end(self, record: Record, scope: Scope) -> None:
        record.seconds = time.perf_counter() - record.arrived
        record.route = getattr(scope.get("route"), "path", None)
        record.key = key_of(scope).name
        level = logging.DEBUG if record.route in _PROBES and record.status < 500 else logging.INFO
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s %d", record.method, record.route, record.status, extra={FIELDS: record.fields()})
        if self._tell:
            self._tell(record)
