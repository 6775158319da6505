"""What stands around the chat endpoint: models, health, and errors of paths and methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from saccade.backends.base import Echo
from saccade.server.app import create_app


def test_models(echo: Any) -> None:
    with openai.OpenAI(base_url=f"{echo.url}/v1", api_key="none") as client:
        (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("echo", "model", "saccade")
    assert model.model_extra["max_model_len"] == 8192


def test_health(serve: Callable[..., Any]) -> None:
    backend = Echo()
    served = serve(backend)
    assert httpx.get(f"{served.url}/health/live").status_code == 200
    ready = httpx.get(f"{served.url}/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "model": "echo"})
    asyncio.run(backend.close())
    dead = httpx.get(f"{served.url}/health/ready")
    assert dead.status_code == 503
    assert "stopped" in dead.json()["error"]["message"]
    assert dead.headers["retry-after"] == "1"
    assert httpx.get(f"{served.url}/health/live").status_code == 200
    refused = httpx.post(
        f"{served.url}/v1/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": "a"}]}
    )
    assert refused.status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/chat", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_unknown_paths_and_methods(echo: Any, method: str, path: str, status: int) -> None:
    response = httpx.request(method, echo.url + path)
    assert response.status_code == status
    told = response.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert path in told["message"]
    assert ("allow" in response.headers) == (status == 405)


def test_the_lifespan_starts_and_closes_the_backend() -> None:
    backend = Echo()
    app = create_app(backend)

    async def live() -> None:
        assert not backend.ready
        async with app.router.lifespan_context(app):
            assert backend.ready
        assert not backend.ready

    asyncio.run(live())


def test_what_is_told_is_never_long(echo: Any) -> None:
    for sent in ({"model": "x" * 5000, "messages": [{"role": "user", "content": "a"}]}, {"y" * 5000: 1}):
        response = httpx.post(f"{echo.url}/v1/chat/completions", json=sent)
        told = response.json()["error"]
        assert response.status_code in (400, 404)
        assert len(told["message"]) <= 400
        assert told["message"].endswith((".", "'echo'."))
        assert len(told["param"]) <= 400
    assert len(httpx.get(f"{echo.url}/{'z' * 5000}").json()["error"]["message"]) <= 400
