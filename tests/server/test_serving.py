"""Taking an address, and letting go of it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from saccade.errors import SaccadeError
from saccade.server.run import bind


def test_an_address_is_taken_and_not_yet_answered() -> None:
    with bind("127.0.0.1", 0, public=True) as listener:
        port = listener.getsockname()[1]
        assert port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_port_in_use() -> None:
    with bind("127.0.0.1", 0, public=True) as other:
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SaccadeError, match=f"Port {port} on 127.0.0.1 is already in use") as caught:
            bind("127.0.0.1", port, public=True)
        assert f"--port {port + 1}" in (caught.value.hint or "")


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(SaccadeError, match=r"Port 8000 on 192\.0\.2\.1 cannot be used"):
        bind("192.0.2.1", 8000, public=True)


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(SaccadeError, match=r"The address nowhere\.invalid is unknown"):
        bind("nowhere.invalid", 8000, public=True)


def test_a_second_ctrl_c_does_not_interrupt_the_closing() -> None:
    code = """
import asyncio, contextlib, os, signal
from fastapi import FastAPI
from saccade.server.run import bind, run

async def nothing():
    pass

async def press():
    os.kill(os.getpid(), signal.SIGINT)

@contextlib.asynccontextmanager
async def lifespan(_):
    yield
    await press()
    await asyncio.sleep(0.1)
    print("closed")

try:
    run(FastAPI(lifespan=lifespan), bind("127.0.0.1", 0, public=True), drain=nothing, drain_seconds=1, beside=press)
except KeyboardInterrupt:
    print("left")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\nleft\n", "")
