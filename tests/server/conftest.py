"""A real server in a thread, over Echo or any other backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
import uvicorn

from saccade.backends.base import Backend, Echo
from saccade.server.admission import Limits
from saccade.server.app import create_app
from saccade.server.protocol import PatientProtocol


class Served:
    """A backend behind a port of this machine."""

    def __init__(self, backend: Backend, **options: Any) -> None:
        """Options of create_app, and fields of Limits."""
        bounds = {field.name: options.pop(field.name) for field in fields(Limits) if field.name in options}
        app = create_app(backend, limits=Limits(**bounds), **options)
        config = uvicorn.Config(app, port=0, ws="none", log_level="critical", http=PatientProtocol)
        self.backend = backend
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    def leave(self) -> None:
        """Begin to close."""
        self._server.should_exit = True

    def close(self) -> None:
        self.leave()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def echo() -> Iterator[Served]:
    """A server that says what it hears, at once."""
    served = Served(Echo())
    yield served
    served.close()


@pytest.fixture(scope="module")
def _leaving() -> Iterator[list[Served]]:
    """Servers that nobody asks any more. Each takes 0.2 s to end, for which the next test need not wait."""
    leaving: list[Served] = []
    yield leaving
    for served in leaving:
        served.close()


@pytest.fixture
def serve(_leaving: list[Served]) -> Iterator[Callable[..., Served]]:
    """Start a server over a backend of the test's own."""
    running: list[Served] = []

    def start(backend: Backend, **options: Any) -> Served:
        running.append(Served(backend, **options))
        return running[-1]

    yield start
    for served in running:
        served.leave()
    _leaving += running
