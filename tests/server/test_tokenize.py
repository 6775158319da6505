"""Counting tokens over a real port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.errors import MediaError

TALK = [{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "bc"}]}]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": "hé"}, [104, 233]),
        ({"prompt": ""}, []),
        ({"prompt": "a", "model": "echo", "add_special_tokens": False, "messages": None}, [97]),
        ({"messages": TALK}, [97, 98, 99]),
        ({"messages": TALK, "model": "echo"}, [97, 98, 99]),
    ],
)
def test_tokens(echo: Any, body: dict[str, Any], tokens: list[int]) -> None:
    answer = httpx.post(f"{echo.url}/tokenize", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"count": len(tokens), "max_model_len": 8192, "tokens": tokens}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "prompt"),
        ({"prompt": "a", "messages": TALK}, 400, "prompt"),
        ({"prompt": ["a"]}, 400, "prompt"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": 1}]}, 400, "messages[0].content"),
        ({"prompt": "a", "return_token_strs": True}, 400, "return_token_strs"),
        ({"prompt": "a", "model": "gpt"}, 404, "model"),
        ({"prompt": "a", "tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [{}]}, 400, "tools[0].type"),
    ],
)
def test_refusals(echo: Any, body: dict[str, Any], status: int, param: str) -> None:
    answer = httpx.post(f"{echo.url}/tokenize", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


def test_limits_and_failures(serve: Callable[..., Any]) -> None:
    class Blind(Echo):
        async def tokenize(self, asked: object) -> tuple[int, ...]:
            if asked == "broken":
                raise RuntimeError("A fault of ours.")
            raise MediaError("No picture.")

    served = serve(Blind(), max_body_bytes=1000, max_waiting=1)
    url = f"{served.url}/tokenize"
    for _ in range(3):
        assert httpx.post(url, json={"prompt": "a"}).status_code == 400
        assert httpx.post(url, json={"prompt": "broken"}).status_code == 500
        assert httpx.post(url, json={"prompt": "a" * 1000}).status_code == 413
        assert httpx.post(url, content=b"[").json()["error"]["code"] == "invalid_json"
