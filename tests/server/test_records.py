"""What is told of a request at its end: once, to the log and to a tracer, and never what was said in it."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import httpx
import pytest

from saccade import logs
from saccade.backends.base import Echo
from saccade.errors import EngineError, SettingsError
from saccade.logs import FIELDS, JsonFormatter, TextFormatter
from saccade.server.guard import Access
from saccade.server.keys import load_keys
from saccade.server.tracing import Tracer
from saccade.types import Request

CANARY = "gr8canary"
SECRET = f"sk-saccade-{CANARY}0123456789abcdef"
PICTURE = f"data:image/png;base64,{CANARY}AAAA"


def body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


class Breaking(Echo):
    """Fails over "break" with words that a log must not repeat."""

    async def generate(self, request: Request) -> Any:
        text = getattr(request.messages[0].parts[0], "text", "")
        async for delta in super().generate(request):
            if text == "break":
                raise EngineError("Broken.")
            if text.startswith("crash"):
                raise ValueError(f"Bearer {SECRET} over {PICTURE}")
            yield delta


@pytest.fixture
def lines() -> Iterator[StringIO]:
    """Everything that the server says, as lines of JSON."""
    said = StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in ("saccade", "uvicorn", "starlette", "fastapi", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel("DEBUG")
    yield said
    for logger, level in zip(loggers, before, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def records(said: StringIO) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in said.getvalue().splitlines()]
    return [one for one in told if one["logger"] == "saccade.access"]


def test_each_request_is_told_once_and_nothing_that_was_said(serve: Callable[..., Any], lines: StringIO) -> None:
    keys = load_keys(SECRET, None)
    served = serve(Breaking(), access=Access(keys))
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {SECRET}"}) as client:
        path = "/v1/chat/completions"
        assert client.post(path, json=body(CANARY)).status_code == 200
        assert "error" not in client.post(path, json=body(CANARY, stream=True)).text
        patience = time.monotonic() + 10
        while len(records(lines)) < 2 and time.monotonic() < patience:  # a stream is told when its connection is done
            time.sleep(0.01)
        assert client.post(path, json=body(CANARY, temperature=9)).status_code == 400
        assert client.post(path, json=body("break")).status_code == 500
        assert client.post(path, json=body(f"crash {CANARY}")).status_code == 500
        assert client.get(f"/{CANARY}?key={SECRET}").status_code == 404
        assert client.get("/v1/models", headers={"authorization": f"Bearer {CANARY}"}).status_code == 401
        picture = [{"type": "image_url", "image_url": {"url": PICTURE}}]
        client.post(path, json=body(picture))  # type: ignore[arg-type]
        client.get("/health/live")
    told = records(lines)
    assert [one["status"] for one in told[:7]] == [200, 200, 400, 500, 500, 404, 401]
    assert (told[-1]["route"], told[-1]["level"]) == ("/health/live", "debug")
    assert len(told) == 9
    whole, stream, refused, broken, *_ = told
    assert (whole["prompt_tokens"], whole["completion_tokens"], whole["finish"]) == (9, 9, "stop")
    assert (whole["key"], whole["route"], whole["stream"]) == ("default", path, False)
    assert whole["first_token_ms"] >= 0
    assert whole["cache"] == {"pictures": None, "vision": None, "prefix_tokens": 0, "shared": False}
    assert (stream["stream"], stream["completion_tokens"]) == (True, 9)
    assert refused["error"]
    assert broken["error"] == "server_error"
    assert CANARY not in lines.getvalue()


@pytest.mark.parametrize(
    ("sent", "echoed"), [("abc-1.2_3", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ('"', False)]
)
def test_a_sane_id_of_the_client_comes_back(echo: Any, sent: str, echoed: bool) -> None:
    answer = httpx.post(f"{echo.url}/v1/chat/completions", json=body(), headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) == echoed
    if not echoed:
        assert answer.headers["x-request-id"] == answer.json()["id"]


def test_every_answer_has_an_id(echo: Any) -> None:
    ids = {httpx.get(f"{echo.url}{path}").headers["x-request-id"] for path in ("/v1/models", "/health/live", "/none")}
    assert len(ids) == 3


@pytest.mark.parametrize("formatter", [TextFormatter("engine process"), JsonFormatter("engine process")])
def test_secrets_are_masked_whoever_logs(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"x-api-key: {CANARY}")
    except ValueError:
        error = sys.exc_info()
    text = f"Authorization: Bearer {CANARY}\nand {SECRET} {PICTURE} api_key={CANARY}"
    record = logging.LogRecord("other", logging.ERROR, "", 1, "said %s", (text,), error)
    setattr(record, FIELDS, {"status": 200, "key": None})
    line = formatter.format(record)
    assert CANARY not in line
    assert "Traceback" in line
    assert "engine process" in line
    if isinstance(formatter, JsonFormatter):
        assert "\n" not in line
        assert json.loads(line)["status"] == 200
    else:
        assert "\nand" not in line
        assert " status=200" in line


def test_the_level_decides() -> None:
    logging.config.DictConfigurator(logs.config("json", "info"))
    assert logs.config("text", "debug")["loggers"]["saccade"]["level"] == "DEBUG"


# --- spans -----------------------------------------------------------------------------------------------------------


def test_a_request_is_one_span(serve: Callable[..., Any]) -> None:
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    tracer = Tracer(exporter=exporter)
    served = serve(Breaking(), tracer=tracer)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with httpx.Client(base_url=served.url) as client:
        path = "/v1/chat/completions"
        answer = client.post(path, json=body(CANARY, max_tokens=5, seed=7), headers={"traceparent": parent})
        client.post(path, json=body("break", stream=True))
        client.post(path, json=body(temperature=9))  # it never reaches the model
        client.get("/v1/models")
    tracer._provider.force_flush()
    done, broken = exporter.get_finished_spans()
    assert done.name == "chat echo"
    assert f"{done.context.trace_id:032x}" in parent
    told = dict(done.attributes)
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (9, 5)
    assert told["gen_ai.response.finish_reasons"] == ("length",)
    assert (told["gen_ai.request.max_tokens"], told["gen_ai.request.seed"]) == (5, 7)
    assert told["gen_ai.response.id"] == answer.json()["id"]
    assert told["http.response.status_code"] == 200
    assert [event.name for event in done.events][-2:] == ["first_token", "decode"]
    assert done.start_time < done.end_time
    assert not broken.status.is_ok
    assert CANARY not in done.to_json() + broken.to_json()


def test_without_the_extra_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match="OpenTelemetry") as caught:
        Tracer("http://127.0.0.1:4318/v1/traces")
    assert "saccade[otel]" in (caught.value.hint or "")


# --- the event loop --------------------------------------------------------------------------------------------------


def test_a_loop_that_is_held_up_is_told(serve: Callable[..., Any]) -> None:
    import time

    class Blocking(Echo):
        async def generate(self, request: Request) -> Any:
            time.sleep(0.3)
            async for delta in super().generate(request):
                yield delta

    served = serve(Blocking())
    httpx.post(f"{served.url}/v1/chat/completions", json=body())
    time.sleep(0.1)
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    worst = next(line for line in lines if line.startswith("saccade:event_loop_lag_max_seconds{"))
    assert 0.2 < float(worst.split()[-1]) < 5
    assert any(line.startswith("saccade:event_loop_lag_seconds_bucket{") for line in lines)
