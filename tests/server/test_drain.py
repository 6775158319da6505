"""A server that is told to end, as a process of its own: who is in comes to an end, who comes is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

CHAT = "/v1/chat/completions"
CODE = """
import sys
from saccade.backends.base import Echo
from saccade.server.admission import Limits
from saccade.server.app import create_app
from saccade.server.run import bind, run

async def nothing():
    print(listener.getsockname()[1], flush=True)

app = create_app(Echo(delay=0.02))
listener = bind("127.0.0.1", 0, public=False)
run(app, listener, drain=app.state.gate.close, drain_seconds=int(sys.argv[1]), beside=nothing)
print("ended", flush=True)
"""


class Process:
    """A server over a slow Echo."""

    def __init__(self, drain_seconds: int) -> None:
        command = [sys.executable, "-c", CODE, str(drain_seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def end(self) -> None:
        """The signal, and a moment."""
        self.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

    def stream(self, num_tokens: int) -> tuple[threading.Thread, list[str]]:
        """Lines of an answer that is under way."""
        lines: list[str] = []
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "a" * num_tokens}]}

        def read() -> None:
            with httpx.stream("POST", self.url + CHAT, json=body, timeout=30) as response:
                lines.extend(response.iter_lines())

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.3)
        return thread, lines


@pytest.fixture
def process() -> Iterator[Callable[[int], Process]]:
    running: list[Process] = []

    def start(drain_seconds: int) -> Process:
        running.append(Process(drain_seconds))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


def test_what_is_under_way_is_completed_and_who_comes_is_told(process: Callable[[int], Process]) -> None:
    served = process(20)
    with httpx.Client(base_url=served.url) as kept, httpx.Client(base_url=served.url) as new:
        assert kept.get("/health/ready").status_code == 200
        reading, lines = served.stream(60)
        served.end()
        for client in (kept, new):
            refused = client.post(CHAT, json={"model": "echo", "messages": [{"role": "user", "content": "a"}]})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["connection"] == "close"
            ready = client.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
            assert client.get("/health/live").status_code == 200
    reading.join()
    assert lines[-2] == "data: [DONE]"
    began = time.monotonic()
    assert served.process.wait(10) == -signal.SIGTERM or served.process.returncode == 0
    assert time.monotonic() - began < 3


def test_time_to_drain_is_bounded(process: Callable[[int], Process]) -> None:
    served = process(1)
    reading, lines = served.stream(2000)
    began = time.monotonic()
    served.end()
    served.process.wait(10)
    assert 0.8 < time.monotonic() - began < 3 + 1
    reading.join()
    told = [line for line in lines if line]
    assert "stopped before the answer was complete" in json.loads(told[-1][6:])["error"]["message"]


def test_a_second_signal_does_not_wait(process: Callable[[int], Process]) -> None:
    served = process(30)
    reading, _ = served.stream(2000)
    began = time.monotonic()
    served.end()
    served.end()
    served.process.wait(10)
    assert time.monotonic() - began < 5
    reading.join()


def test_an_idle_server_ends_at_once(process: Callable[[int], Process]) -> None:
    served = process(30)
    assert httpx.get(f"{served.url}/health/live").status_code == 200
    began = time.monotonic()
    served.end()
    output, errors = served.process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert output == "ended\n"
    assert errors == ""
