"""The interface of files sent ahead, over a backend that keeps digests alone."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

import httpx

FILE = b"\x89PNG any file"
DIGEST = sha256(FILE).hexdigest()


def test_a_file_is_sent_and_asked_for(echo: Any) -> None:
    url = f"{echo.url}/v1/media"
    assert httpx.head(f"{url}/{DIGEST}").status_code == 404
    answer = httpx.post(url, content=FILE, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    assert answer.json() == {
        **{"id": f"media:{DIGEST}", "object": "media", "kind": "image", "bytes": len(FILE)},
        **{"width": 0, "height": 0, "tokens": 0},
    }
    for name in (DIGEST, f"media:{DIGEST}"):
        asked = httpx.head(f"{url}/{name}")
        assert (asked.status_code, asked.content) == (200, b"")
    for name in ("", DIGEST[:-1], DIGEST.upper(), DIGEST[:-1] + "g", "..%2f..", "x" * 10_000):
        assert httpx.head(f"{url}/{name}").status_code == 404


def test_what_is_wrong_is_named(echo: Any) -> None:
    url, json_type = f"{echo.url}/v1/media", {"content-type": "application/json; charset=utf-8"}
    for content, param in ((b"{}", "url"), (b'{"url": 1}', "url"), (b'{"url": "data:,x", "b": 1}', "b"), (b"[1", None)):
        answer = httpx.post(url, content=content, headers=json_type)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
    data = base64.b64encode(FILE).decode()
    assert httpx.post(url, json={"url": f"data:;base64,{data}"}).json()["error"]["param"] == "url", "Echo takes bytes"
    assert httpx.get(f"{url}/{DIGEST}").status_code == 405
    assert httpx.get(url).status_code == 405


def test_pages_are_of_files_that_are_there(echo: Any) -> None:
    """Those of real files are in tests/webui."""
    for path in (
        f"{DIGEST}/pages/0",
        f"{DIGEST}/pages/x",
        f"{DIGEST}/pages/-1",
        "x/pages/1",
        f"{DIGEST}/pages/12345678",
    ):
        answer = httpx.get(f"{echo.url}/v1/media/{path}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "number")
    answer = httpx.get(f"{echo.url}/v1/media/{DIGEST}/pages/1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_media")


def test_the_limit_holds_while_reading(echo: Any) -> None:
    assert httpx.post(f"{echo.url}/v1/media", content=b"x" * (64 * 2**20 + 1)).status_code == 413
