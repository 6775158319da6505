"""Streams whose client may come back: nothing is lost, nothing is told twice, and nothing goes on for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.server import resume
from saccade.server.guard import Access
from saccade.server.keys import Key, Keys

ASK = {"x-saccade-resume": "true"}


def _body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], "stream": True, **more}


def _events(raw: str) -> dict[int, str]:
    """Number of each event, and what it says."""
    told = {}
    for event in raw.strip().split("\n\n"):
        number, data = event.split("\n")
        told[int(number.removeprefix("id: "))] = data.removeprefix("data: ")
    return told


def _start(url: str, num_events: int, text: str = "abcdefghijklmnopqrst", **headers: str) -> tuple[str, dict[int, str]]:
    """Ask, read some events, drop the connection: the id of the answer and the events."""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=_body(text), headers={**ASK, **headers}) as answer:
        assert answer.status_code == 200
        raw = ""
        for piece in answer.iter_text():
            raw += piece
            if raw.count("\n\n") >= num_events:
                break
    return answer.headers["x-request-id"], _events(raw[: raw.rindex("\n\n")])


def _rest(url: str, id: str, after: int | None, **headers: str) -> httpx.Response:
    last = {} if after is None else {"last-event-id": str(after)}
    return httpx.get(f"{url}/v1/chat/completions/{id}/events", headers={**last, **headers})


def _wait(condition: Callable[[], bool], seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_lost_connection_loses_nothing(serve: Callable[..., Any]) -> None:
    url = serve(Echo(delay=0.02)).url
    id, first = _start(url, 5)
    last = max(first)
    rest = _events(_rest(url, id, last).text)
    told = first | rest
    assert min(rest) == last + 1
    assert sorted(told) == list(range(1, len(told) + 1))
    assert told[len(told)] == "[DONE]"
    pieces = [value.split('"content":"')[1].split('"')[0] for value in told.values() if '"content":"' in value]
    assert "".join(pieces) == "abcdefghijklmnopqrst"
    # After the end too, from the beginning, and again.
    assert _events(_rest(url, id, None).text) == told
    assert _rest(url, id, len(told)).text == ""


def test_a_plain_stream_has_no_numbers_and_ends_with_its_connection(serve: Callable[..., Any]) -> None:
    backend = Echo(delay=0.02)
    url = serve(backend).url
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=_body("x" * 500)) as answer:
        assert next(answer.iter_text()).startswith("data: ")
    _wait(lambda: backend.running == 0, 2)
    assert _rest(url, answer.headers["x-request-id"], 0).json()["error"]["code"] == "unknown_request"


def test_nobody_comes_back(serve: Callable[..., Any]) -> None:
    backend = Echo(delay=0.02)
    url = serve(backend, resume_seconds=0.3).url
    id, _ = _start(url, 3, "x" * 5000)
    time.sleep(0.1)
    assert backend.running == 1
    _wait(lambda: backend.running == 0)
    assert "Nobody read the answer." in _rest(url, id, 0).text
    _wait(lambda: _rest(url, id, 0).status_code == 404)


def test_cancel(serve: Callable[..., Any]) -> None:
    backend = Echo(delay=0.02)
    url = serve(backend).url
    id, first = _start(url, 3, "x" * 5000)
    done = httpx.post(f"{url}/v1/chat/completions/{id}/cancel")
    assert done.json() == {"id": id, "status": "cancelled"}
    _wait(lambda: backend.running == 0, 2)
    rest = _events(_rest(url, id, max(first)).text)
    assert '"code":"cancelled"' in rest[max(rest)]
    assert httpx.post(f"{url}/v1/chat/completions/chatcmpl-no/cancel").status_code == 404


def test_another_key_finds_nothing(serve: Callable[..., Any]) -> None:
    from hashlib import sha256

    keys = Keys(Key(name, sha256(name.encode()).digest()) for name in ("alice", "bob"))
    url = serve(Echo(), access=Access(keys=keys)).url
    id, _ = _start(url, 2, authorization="Bearer alice")
    assert _rest(url, id, 0, authorization="Bearer alice").status_code == 200
    other = _rest(url, id, 0, authorization="Bearer bob")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "unknown_request")
    cancel = httpx.post(f"{url}/v1/chat/completions/{id}/cancel", headers={"authorization": "Bearer bob"})
    assert cancel.status_code == 404


def test_old_events_go_first(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_BYTES", 2000)
    url = serve(Echo()).url
    id, _ = _start(url, 1)
    _wait(lambda: _rest(url, id, 0).status_code == 404)
    assert _rest(url, id, 0).json()["error"]["code"] == "events_gone"


def test_no_more_than_so_many_are_kept(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_STREAMS", 1)
    url = serve(Echo()).url
    _start(url, 2)
    full = httpx.post(f"{url}/v1/chat/completions", json=_body("x"), headers=ASK)
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) >= 1
    assert httpx.post(f"{url}/v1/chat/completions", json=_body("x")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        ({"x-saccade-resume": "yes"}, {}, "x-saccade-resume"),
        (ASK, {"stream": False}, "x-saccade-resume"),
    ],
)
def test_what_cannot_be_asked(echo: Any, headers: dict[str, str], body: dict[str, Any], param: str) -> None:
    told = httpx.post(f"{echo.url}/v1/chat/completions", json=_body("x", **body), headers=headers)
    assert (told.status_code, told.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("number", ["-1", "x", "99999", "1" * 5000, "٣".encode().decode("latin-1")])
def test_numbers_that_are_none(serve: Callable[..., Any], number: str) -> None:
    url = serve(Echo()).url
    id, _ = _start(url, 2)
    told = httpx.get(f"{url}/v1/chat/completions/{id}/events", headers=[(b"last-event-id", number.encode("latin-1"))])
    assert (told.status_code, told.json()["error"]["param"]) == (400, "Last-Event-ID")
