"""What a server says before its model is there, and when it never comes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import saccade
from saccade.backends.base import Backend, Echo
from saccade.backends.loading import Loading

DEMO = Path(saccade.__file__).parent / "demo" / "checkpoint"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


def test_probes_and_clients_are_told_how_far_it_is(serve: Callable[..., Any]) -> None:
    go = threading.Event()

    def load() -> Backend:
        go.wait(20)
        return Echo()

    served = serve(Loading("echo", load, stage=lambda: ("weights", 0.123456), give_up=go.set))
    try:
        assert httpx.get(f"{served.url}/health/live").status_code == 200
        ready = httpx.get(f"{served.url}/health/ready")
        assert ready.status_code == 503
        assert int(ready.headers["retry-after"]) >= 1
        told = ready.json()
        assert (told["status"], told["stage"], told["fraction"]) == ("loading", "weights", 0.123)
        assert 0 <= told["seconds"] < 20
        assert set(told["error"]) == {"message", "type", "param", "code"}
        refused = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["error"]["code"] == "loading"
        (model,) = httpx.get(f"{served.url}/v1/models").json()["data"]
        assert (model["id"], model["max_model_len"]) == ("echo", None)
        assert httpx.get(f"{served.url}/metrics").status_code == 200
    finally:
        go.set()
    deadline = time.monotonic() + 10
    while httpx.get(f"{served.url}/health/ready").status_code != 200:
        assert time.monotonic() < deadline
    assert httpx.post(f"{served.url}/v1/chat/completions", json=CHAT).status_code == 200
    assert httpx.get(f"{served.url}/v1/models").json()["data"][0]["max_model_len"] == 8192


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def starting(*words: str | Path, port: int | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`saccade serve` that has just been started, and its address."""
    port = free_port() if port is None else port
    command = [sys.executable, "-m", "saccade", "serve", "--port", str(port), *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SACCADE_")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | {"OMP_NUM_THREADS": "1"}
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def first_answer(url: str, process: subprocess.Popen[str]) -> None:
    """Wait until the port answers."""
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
            return
        time.sleep(0.01)
    pytest.fail(f"it ended: {process.communicate()}")


def test_the_port_is_open_before_the_model_is_loaded() -> None:
    with starting("--model", DEMO) as (process, url), httpx.Client(base_url=url, trust_env=False) as client:
        first_answer(url, process)
        states = []
        while (answer := client.get("/health/ready")).status_code == 503:
            states.append(answer.json())
            assert client.get("/health/live").status_code == 200
            assert client.get("/v1/models").status_code == 200
            time.sleep(0.02)
        assert states, "it answered while the model was loaded"
        assert {state["status"] for state in states} == {"loading"}
        assert {"libraries", "weights", "caches", "warm-up"} & {state["stage"] for state in states}
        assert client.get("/v1/models").json()["data"][0]["max_model_len"] > 0
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
        assert " ready in " in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_while_it_loads(number: signal.Signals, code: int) -> None:
    with starting("--model", DEMO) as (process, url):
        first_answer(url, process)
        process.send_signal(number)
        said, errors = process.communicate(timeout=15)
    assert process.returncode == code
    assert said == ""
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--model", "{half}"], 1, "model.safetensors"),
        (["--model", DEMO, "--max-context", "9999999"], 2, "max_context"),
    ],
)
def test_a_load_that_fails_is_one_line(tmp_path: Path, words: list[Any], code: int, line: str) -> None:
    for file in DEMO.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path)
    with starting(*[str(word).format(half=tmp_path) for word in words], port=0) as (process, _):
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "")
    assert errors.startswith("saccade: ")
    assert errors.count("\n") == 1
    assert line in errors
