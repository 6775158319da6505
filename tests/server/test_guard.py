"""Doors: keys, hosts and origins, over a real port; tests are named after advisories where there is one."""

from __future__ import annotations

import json
import logging
import random
import socket
import statistics
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import openai
import pytest

from saccade.backends.base import Echo
from saccade.server.guard import OPEN, Access, open_hosts
from saccade.server.keys import Key, Keys
from saccade.server.openapi import document
from saccade.types import Request

CHAT = "/v1/chat/completions"
BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
SECRETS = ("sk-first-canary", "sk-second-canary")
KEYS = Keys(Key(f"key-{i}", sha256(secret.encode()).digest()) for i, secret in enumerate(SECRETS))
MINE = {"authorization": f"Bearer {SECRETS[0]}"}


class Salty(Echo):
    """Remembers the salts of what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.salts: list[bytes] = []

    async def tokenize(self, asked: Request | str) -> tuple[int, ...]:
        if not isinstance(asked, str):
            self.salts.append(asked.salt)
        return await super().tokenize(asked)


@pytest.fixture
def locked(serve: Callable[..., Any]) -> Any:
    return serve(Salty(), access=Access(KEYS))


def raw(url: str, text: bytes) -> bytes:
    """What the server answers to bytes as they are."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(text)
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
        return heard


# --- keys ------------------------------------------------------------------------------------------------------------


def test_every_route_but_health_wants_a_key(locked: Any) -> None:
    """vLLM's key covered /v1 alone: /tokenize and others answered without."""
    paths = document("echo")["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert {("POST", CHAT), ("GET", "/metrics")} <= set(routes)
    for method, path in [*routes, ("GET", "/nowhere"), ("GET", "/"), ("OPTIONS", CHAT), ("GET", "/docs")]:
        response = httpx.request(method, locked.url + path)
        assert (response.status_code == 401) == (path not in OPEN), path
        if path not in OPEN:
            assert response.headers["www-authenticate"] == "Bearer"
            assert method == "HEAD" or response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "Bearer  {}", "x-api-key"])
def test_right_keys(locked: Any, header: str, secret: str) -> None:
    headers = {"x-api-key": secret} if header == "x-api-key" else {"authorization": header.format(secret)}
    assert httpx.post(locked.url + CHAT, json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": SECRETS[0]},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {SECRETS[0]}"},
        {"authorization": f"Bearer {SECRETS[0]}x"},
        {"authorization": f"Bearer {SECRETS[0][:-1]}"},
        {"authorization": f"Bearer {SECRETS[0].upper()}"},
        {"authorization": f"Bearer {sha256(SECRETS[0].encode()).hexdigest()}"},
        {"authorization": "Bearer wrong", "x-api-key": SECRETS[0]},
        {"x-api-key": ""},
        {"x-api-key": "\u00e9"},
        {"cookie": f"key={SECRETS[0]}"},
    ],
)
def test_wrong_keys(locked: Any, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    response = httpx.post(locked.url + CHAT, json=BODY, headers=encoded)
    assert response.status_code == 401
    assert response.json() == httpx.post(locked.url + CHAT, json=BODY).json(), "it tells nobody what was wrong"
    assert locked.backend.salts == []


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
@pytest.mark.parametrize("wrong", [(), (0,), (1,)])
def test_two_keys_in_one_kind_of_header_are_none(locked: Any, name: str, wrong: tuple[int, ...]) -> None:
    """A proxy in front may have checked the other."""
    secrets = ["wrong" if i in wrong else SECRETS[0] for i in range(2)]
    headers = [(name, f"Bearer {secret}" if name == "authorization" else secret) for secret in secrets]
    assert httpx.get(f"{locked.url}/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "//health/live", "/health/live/", "/HEALTH/LIVE", "/health/../v1/models", "/health/live/../../v1/models",
        "/health/live;/v1/models", "/health/live%00", "/health/live%2f..%2f..%2fv1/models", "/%2e%2e/v1/models",
        "http://other/v1/models", "*", "/v1/models?key=" + SECRETS[0], "/metrics", "/openapi.json",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_around_the_key(locked: Any, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "TRACE"):
        text = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert raw(locked.url, text.encode()).startswith(b"HTTP/1.1 401 "), method


def test_openai_client(locked: Any) -> None:
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=SECRETS[1], max_retries=0) as client:
        assert client.models.list().data[0].id == "echo"
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", max_retries=0) as client:  # noqa: SIM117
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_large_body_without_a_key_is_not_read(locked: Any) -> None:
    assert httpx.post(locked.url + CHAT, content=b"a" * 20_000_000).status_code == 401


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: x/health/live?",
        b"GET /v1/models HTTP/1.1\r\nHost: a@b/health/live#",
        b"GET //health/live/../../v1/models HTTP/1.1\r\nHost: a",
        b"GET http://a/health/live/../v1/models HTTP/1.1\r\nHost: a",
        b"GET /v1/models?/health/live HTTP/1.1\r\nHost: a",
        b"GET /v1/models;/health/live HTTP/1.1\r\nHost: a",
        b"GET /health/live/%2e%2e/%2e%2e/v1/models HTTP/1.1\r\nHost: a",
        b"GET /health/live%00/v1/models HTTP/1.1\r\nHost: a",
        b"GET /HEALTH/live HTTP/1.1\r\nHost: a",
        b"GET v1/models HTTP/1.1\r\nHost: /health/live",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /health/live\r\nX-Original-URL: /health/live",
    ],
)
def test_cve_2026_48746_a_path_made_of_headers(locked: Any, line: bytes) -> None:
    status = int(raw(locked.url, line + b"\r\nConnection: close\r\n\r\n").split()[1])
    assert status in (400, 401)


def test_a_secret_is_in_no_log_and_no_answer(locked: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("uvicorn").propagate = True
    answers = [
        httpx.post(locked.url + path, content=content, headers=headers)
        for path in (CHAT, "/nowhere")
        for content in (json.dumps(BODY), "{")
        for headers in (MINE, {"authorization": f"Bearer {SECRETS[0]}x"})
    ]
    said = caplog.text.replace("".join(SECRETS), "")
    assert "canary" not in said
    assert not any("canary" in answer.text + str(answer.headers) for answer in answers)


def test_times_do_not_tell_how_much_of_a_key_was_right() -> None:
    """CVE-2025-59425: a key compared with ==."""
    secret = b"k" * 4096
    keys = Keys([Key("a", sha256(secret).digest())])
    wrong = [secret[:-1] + b"x", b"x" + secret[1:]]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(20_000):
        which = random.randrange(2)
        began = time.perf_counter()
        keys.find(wrong[which])
        seconds[which].append(time.perf_counter() - began)
    late, early = map(statistics.median, seconds)
    assert abs(late - early) / early < 0.1


def test_caches_are_apart_unless_they_are_shared(serve: Callable[..., Any]) -> None:
    for share, distinct in ((False, 2), (True, 1)):
        backend = Salty()
        served = serve(backend, access=Access(KEYS, share_caches=share))
        for secret in (*SECRETS, SECRETS[0]):
            httpx.post(served.url + CHAT, json=BODY, headers={"x-api-key": secret}).raise_for_status()
        assert len(set(backend.salts)) == distinct
        assert backend.salts[0] == backend.salts[2]
    free = Salty()
    httpx.post(serve(free).url + CHAT, json=BODY).raise_for_status()
    assert free.salts == [b""]


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens"])
def test_what_counts_tokens_finds_the_files_of_its_key(serve: Callable[..., Any], path: str) -> None:
    backend = Salty()
    served = serve(backend, access=Access(KEYS))
    for secret in SECRETS:
        httpx.post(served.url + path, json=BODY, headers={"x-api-key": secret}).raise_for_status()
    assert backend.salts == [key.salt for key in map(KEYS.find, map(str.encode, SECRETS)) if key]


# --- hosts and origins -----------------------------------------------------------------------------------------------


@pytest.fixture
def local(serve: Callable[..., Any]) -> Any:
    return serve(Echo(), access=Access(hosts=open_hosts("127.0.0.1", ()), origins=("https://page.example",)))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("attacker.example", 403),
        ("attacker.example:8000", 403),
        ("127.0.0.1.attacker.example", 403),
        ("localhost@attacker.example", 403),
        ("", 403),
    ],
)
def test_cve_2024_28224_names_that_were_rebound(local: Any, host: str, status: int) -> None:
    response = httpx.get(f"{local.url}/v1/models", headers={"host": host})
    assert response.status_code == status
    assert httpx.get(f"{local.url}/health/live", headers={"host": host}).status_code == 200, "probes ask by address"
    if status == 403:
        assert response.json()["error"]["code"] == "host_not_allowed"


def test_which_hosts_are_open() -> None:
    assert "localhost" in open_hosts("127.0.0.1", ())
    assert "127.0.0.5" in open_hosts("127.0.0.5", ())
    assert open_hosts("0.0.0.0", ()) == ()
    assert open_hosts("0.0.0.0", ("Api.example",)) == ("api.example",)
    assert open_hosts("127.0.0.1", ("api.example",)) == ("api.example",)


def test_pages_of_other_origins(local: Any) -> None:
    address = local.url.removeprefix("http://")
    for origin, status in (
        (f"http://{address}", 200),
        (f"https://{address}", 200),
        ("https://page.example", 200),
        ("https://page.example.attacker.example", 403),
        ("http://page.example", 403),
        ("null", 403),
        (f"file://{address}", 403),
    ):
        response = httpx.post(local.url + CHAT, json=BODY, headers={"origin": origin})
        assert response.status_code == status, origin
        told = response.headers.get("access-control-allow-origin")
        assert told == (origin if origin == "https://page.example" else None)
        assert "access-control-allow-credentials" not in response.headers
        assert response.headers["vary"] == "Origin"
        assert response.headers["x-content-type-options"] == "nosniff"
    two = [("origin", "https://page.example"), ("origin", "https://other.example")]
    assert httpx.post(local.url + CHAT, json=BODY, headers=two).status_code == 403


def test_preflights(serve: Callable[..., Any]) -> None:
    url = serve(Echo(), access=Access(KEYS, origins=("https://page.example",))).url + CHAT
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    allowed = httpx.options(url, headers={"origin": "https://page.example", **asking})
    assert (allowed.status_code, allowed.headers["access-control-allow-headers"]) == (204, "authorization")
    assert "POST" in allowed.headers["access-control-allow-methods"]
    refused = httpx.options(url, headers={"origin": "https://other.example", **asking})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    without = httpx.options(url, headers={"origin": "https://page.example"})
    assert without.status_code == 401
    assert httpx.post(url, json=BODY, headers={"origin": "https://page.example"}).status_code == 401
    answered = httpx.post(url, json=BODY, headers={"origin": "https://page.example", **MINE})
    assert answered.headers["access-control-allow-origin"] == "https://page.example"
