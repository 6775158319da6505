"""An application is served on a socket until a signal ends it; knows nothing of what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from saccade.errors import SaccadeError, SettingsError
from saccade.server.protocol import PatientProtocol

SWITCH_SECONDS = 0.001
"""How long a thread that prepares a prompt or a picture may keep the interpreter from the event loop; Python's own 5 ms
would be seen in the first token."""
LAST_SECONDS = 1
"""For what is under way when the time to drain is over: an error as its last event."""


def bind(host: str, port: int, *, public: bool) -> socket.socket:
    """The address, taken but not yet answering. Raises SaccadeError when it cannot be had, and SettingsError when
    other machines could reach it although it is not `public`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not public and not ip_address(address[0]).is_loopback:
            raise SettingsError(
                f"Other machines could ask on {host} without a key.",
                param="host",
                hint="Give the server one with --api-key-file, or say --insecure if it may be so.",
            )
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise _explained(error, host, port) from None
    return listener


def run(
    app: FastAPI,
    listener: socket.socket,
    *,
    drain: Callable[[], Awaitable[None]],
    drain_seconds: int,
    beside: Callable[[], Awaitable[None]],
    log_config: dict[str, Any] | None = None,
) -> None:
    """Serve until SIGTERM (returns) or Ctrl-C (KeyboardInterrupt).

    Then `drain` is called, which lets nobody in any more and returns when all are out, and has `drain_seconds`; the
    port stays open meanwhile, so that those who come are told. A second signal ends everything at once. `beside` is
    called when the port is open. When it raises, the server ends and the caller gets the error.
    `log_config`: for logging.config; None: logging is left as it is.
    """
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(2048)
    except OSError as error:  # Somebody else began to listen meanwhile.
        raise _explained(error, host, port) from None
    config = uvicorn.Config(
        app,
        lifespan="off",  # It is run below, so that an error of the backend reaches the caller as it is.
        ws="none",
        log_config=log_config,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        http=PatientProtocol,
        timeout_keep_alive=75,  # Longer than a client thinks: one that sends on a connection just closed sees an error.
    )
    caught: list[int] = []
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(app, _Server(config, beside, drain, drain_seconds), listener, caught))
    if signal.SIGINT in caught:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        beside: Callable[[], Awaitable[None]],
        drain: Callable[[], Awaitable[None]],
        drain_seconds: int,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._draining: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work = beside
        self.beside: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.beside = asyncio.ensure_future(self._work())
        self.beside.add_done_callback(self._done)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came; this runs between any two instructions, so the loop is only told."""
        if self._loop is None or self._drain_seconds == 0 or self._captured_signals:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)
            self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain_for_a_while())

    async def _drain_for_a_while(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drain(), self._drain_seconds)
        self.should_exit = True

    def _done(self, work: asyncio.Future[None]) -> None:
        if work.cancelled() or work.exception():
            self.should_exit = True


async def _serve(app: FastAPI, server: _Server, listener: socket.socket, caught: list[int]) -> None:
    before: dict[signal.Signals, Any] = {}
    try:
        async with app.router.lifespan_context(app):
            # uvicorn raises a signal that ended it once more when it is done, and an impatient person presses Ctrl-C
            # twice; what is left to do then is to close the backend, and nothing may interrupt that.
            before = {
                number: signal.signal(number, lambda number, _: caught.append(number))
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            await server.serve(sockets=[listener])
            if server.beside and server.beside.done():
                server.beside.result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explained(error: OSError, host: str, port: int) -> SaccadeError:
    if isinstance(error, socket.gaierror):
        return SaccadeError(f"The address {host} is unknown: {error.strerror}.", param="host", hint="Try 127.0.0.1.")
    reasons = {errno.EADDRINUSE: "is already in use", errno.EACCES: "needs special rights"}
    reason = reasons.get(error.errno or 0, f"cannot be used: {error.strerror}")
    hint = "Choose another one with --port, for example --port " + str(port + 1 if port < 65535 else 8000) + "."
    return SaccadeError(f"Port {port} on {host} {reason}.", param="port", hint=hint)
