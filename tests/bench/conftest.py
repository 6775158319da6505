"""Servers to be measured: Echo behind the real application, and one that answers with exactly the given bytes."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn

from saccade.backends.base import Backend
from saccade.server.app import create_app

Script = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""Gets head and body of a request and writes the answer."""


@pytest.fixture(autouse=True, scope="module")
def _a_small_heap() -> Iterator[None]:
    """Every measurement begins with a collection of garbage, which takes a quarter of a second where all tests have
    left their libraries behind."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script of benchmarks/ by its name, as a module."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def serve() -> Iterator[Callable[[Backend], str]]:
    """Start the real application over a backend; its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(backend: Backend) -> str:
        server = uvicorn.Server(uvicorn.Config(create_app(backend), port=0, ws="none", log_level="critical"))
        thread = threading.Thread(target=server.run)
        running.append((server, thread))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], str]]:
    """Start a server in a thread that answers every request as the script says; its URL."""
    ends: list[Callable[[], None]] = []

    def start(script: Script) -> str:
        ready: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                    await script(head + await reader.readexactly(size), writer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                pass  # The client has what it wanted, or the test is over.
            finally:
                writer.close()

        async def live() -> None:
            server = await asyncio.start_server(one, "127.0.0.1", 0, limit=2**22)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.append((url, asyncio.get_running_loop(), asyncio.Event()))
            await ready[0][2].wait()
            server.close()

        thread = threading.Thread(target=lambda: asyncio.run(live()))
        thread.start()
        while not ready:
            assert thread.is_alive()
            time.sleep(0.002)
        url, loop, over = ready[0]

        def end() -> None:
            loop.call_soon_threadsafe(over.set)
            thread.join(10)
            assert not thread.is_alive()

        ends.append(end)
        return url

    yield start
    for end in ends:
        end()
