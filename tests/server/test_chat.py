"""The chat endpoint as clients meet it: over a real port, through openai's client and by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from saccade.backends.base import Echo
from saccade.errors import EngineError, MediaError
from saccade.types import Delta, Request, StageTimes, TextLogprob, Usage

PATH = "/v1/chat/completions"


class Scripted(Echo):
    """Gives the deltas and raises the errors it is told to."""

    def __init__(self, *script: Delta | Exception) -> None:
        super().__init__(name="scripted")
        self._script = script

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        for item in self._script:
            await asyncio.sleep(0)
            if isinstance(item, Exception):
                raise item
            yield item


def body(text: str = "hello", model: str = "echo", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(response: httpx.Response) -> list[Any]:
    """The data of each event of a stream; "[DONE]" as it is."""
    assert response.text.endswith("\n\n")
    lines = response.text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


@pytest.fixture
def client(echo: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{echo.url}/v1", api_key="none", max_retries=0) as client:
        yield client


# --- through openai's client -----------------------------------------------------------------------------------------


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**body())
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "echo"
    assert abs(answer.created - time.time()) < 60
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "hello")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)
    timings = answer.model_extra["timings"]
    assert timings.pop("cache") == {"pictures": None, "vision": None, "prefix_tokens": 0, "shared": False}
    assert set(timings) == {f"{name}_ms" for name in StageTimes.__slots__ if name != "cache"}
    assert all(isinstance(value, float) for value in timings.values())


def test_a_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**body("héllo\n\U0001f600"), stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", "echo")}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks[1:-1]] == list("héllo\n\U0001f600")
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.content is None
    assert all(chunk.usage is None for chunk in chunks)
    assert [bool(chunk.model_extra.get("timings")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_a_stream_with_usage(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**body(), stream=True, stream_options={"include_usage": True}))
    last = chunks[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 10
    assert last.model_extra["timings"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_length_and_stop(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(**body(), max_tokens=2).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("he", "length")
    stopped = client.chat.completions.create(**body(), stop=["l"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("he", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client: openai.OpenAI, stream: bool) -> None:
    answer = client.chat.completions.create(**body("hé"), logprobs=True, top_logprobs=2, stream=stream)
    choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    entries = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content or []]
    assert [(e.token, e.bytes, e.logprob) for e in entries] == [("h", [104], 0.0), ("é", [195, 169], 0.0)]


def test_alternatives_and_impossible_tokens(serve: Callable[..., Any]) -> None:
    entry = TextLogprob("a", b"a", -0.5, (("a", b"a", -0.5), ("\ufffd", b"\xc3", float("-inf"))))
    last = Delta(finish_reason="stop", usage=Usage(3, 1, image_tokens=2), times=StageTimes())
    served = serve(Scripted(Delta("a", (1,), (entry,)), last))
    answer = httpx.post(served.url + PATH, json=body(model="scripted", logprobs=True, top_logprobs=2)).json()
    (told,) = answer["choices"][0]["logprobs"]["content"]
    assert told["top_logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97]},
        {"token": "\ufffd", "logprob": -9999.0, "bytes": [195]},
    ]
    assert answer["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 0, "image_tokens": 2, "video_tokens": 0, "text_tokens": 1,
    }  # fmt: skip
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_delta_without_text_sends_nothing(serve: Callable[..., Any]) -> None:
    last = Delta(finish_reason="length", usage=Usage(1, 3), times=StageTimes())
    served = serve(Scripted(Delta("", (1,)), Delta("a", (2,)), Delta("", (3,)), last))
    heard = events(httpx.post(served.url + PATH, json=body(model="scripted", stream=True)))
    assert [e["choices"][0]["delta"] for e in heard[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {},
    ]
    assert heard[-1] == "[DONE]"


def test_the_last_delta_may_hold_text(serve: Callable[..., Any]) -> None:
    served = serve(Scripted(Delta("all", (1,), finish_reason="stop", usage=Usage(1, 1), times=StageTimes())))
    heard = events(httpx.post(served.url + PATH, json=body(model="scripted", stream=True)))
    assert [e["choices"][0]["delta"].get("content") for e in heard[:-1]] == ["", "all", None]


def test_errors_are_openai_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**body(model="gpt"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**body(), n=17)
    assert refused.value.param == "n"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(**body("a" * 9000), stream=True)
    assert long.value.code == "context_length_exceeded"


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_headers(echo: Any) -> None:
    whole = httpx.post(echo.url + PATH, json=body())
    assert whole.headers["x-request-id"] == whole.json()["id"]
    stream = httpx.post(echo.url + PATH, json=body(stream=True))
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["x-request-id"] == events(stream)[0]["id"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MediaError("Not a picture.", param="messages[0]"), 400),
        (EngineError("Broken."), 500),
        (ValueError("secret"), 500),
    ],
)
def test_an_error_before_the_first_delta_is_a_status(
    serve: Callable[..., Any], error: Exception, status: int, stream: bool
) -> None:
    response = httpx.post(serve(Scripted(error)).url + PATH, json=body(model="scripted", stream=stream))
    assert response.status_code == status
    told = response.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert "secret" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize("error", [EngineError("Broken."), ValueError("secret")])
def test_an_error_within_a_stream_is_its_last_event(serve: Callable[..., Any], error: Exception) -> None:
    served = serve(Scripted(Delta("a", (1,)), error))
    heard = events(httpx.post(served.url + PATH, json=body(model="scripted", stream=True)))
    assert heard[-1]["error"]["type"] == "server_error"
    assert "secret" not in str(heard)
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:  # noqa: SIM117
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(**body(model="scripted"), stream=True))


def test_bodies_that_are_no_json(echo: Any) -> None:
    for data in (b"", b"{", b"[]", b"\xff\xfe"):
        response = httpx.post(echo.url + PATH, content=data)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("announced", [False, True])
def test_the_body_limit(serve: Callable[..., Any], announced: bool) -> None:
    served = serve(Echo(context=10**6), max_body_bytes=1000)
    sent = json.dumps(body("a" * 2000)).encode()
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        for start in range(0, len(sent), 100):
            read += 100
            yield sent[start : start + 100]

    response = httpx.post(served.url + PATH, content=sent if announced else pieces())
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    exact = json.dumps(body("")).encode()
    padded = json.dumps(body("a" * (1000 - len(exact)))).encode()
    assert len(padded) == 1000
    assert httpx.post(served.url + PATH, content=padded).status_code == 200


def test_a_large_body_is_not_kept_waiting(serve: Callable[..., Any]) -> None:
    """The answer comes while the client is still sending, and the server goes on."""
    served = serve(Echo(), max_body_bytes=1000)
    assert httpx.post(served.url + PATH, content=b"a" * 20_000_000).status_code == 413
    assert httpx.post(served.url + PATH, json=body()).status_code == 200


# --- leaving ---------------------------------------------------------------------------------------------------------


def until(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not question():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("stream", "delay"), [(True, 0.02), (True, 0.5), (False, 0.5)])
def test_a_client_that_leaves_ends_the_work(serve: Callable[..., Any], stream: bool, delay: float) -> None:
    """Within a stream, before its first delta, and while a whole answer is made."""
    backend = Echo(delay=delay)
    served = serve(backend)
    with httpx.Client(timeout=0.3) as client:
        wanted = client.stream("POST", served.url + PATH, json=body("a" * 500, stream=stream))
        if delay < 0.3:
            with wanted as response:
                pieces = response.iter_bytes()
                next(pieces)
                assert backend.running == 1
        else:
            with pytest.raises(httpx.ReadTimeout), wanted:
                pass
    begin = time.monotonic()
    until(lambda: backend.running == 0)
    assert time.monotonic() - begin < 0.4, "the work ended by itself"
    assert httpx.post(served.url + PATH, json=body("b", stream=True), timeout=5).status_code == 200


def test_many_at_once(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.01))

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=40), timeout=20) as client:
            posts = (client.post(served.url + PATH, json=body(f"text {i}", stream=i % 2 == 0)) for i in range(40))
            return await asyncio.gather(*posts)

    for i, response in enumerate(asyncio.run(all_of_them())):
        if i % 2 == 0:
            said = "".join(e["choices"][0]["delta"].get("content", "") for e in events(response)[:-1])
        else:
            said = response.json()["choices"][0]["message"]["content"]
        assert said == f"text {i}"
