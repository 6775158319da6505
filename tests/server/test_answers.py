"""What an answer may hold besides text, as openai's client reads it: calls, thoughts, several choices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from saccade.backends.base import Echo
from saccade.server.answer import Answer
from saccade.types import Delta, Request, StageTimes, TextLogprob, ToolCallPiece, Usage

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "wait"}},
]
CALLS = (
    'I look.\n<tool_call>\n{"name": "look", "arguments": {"at": "é </tool_call>"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "wait", "arguments": {}}\n</tool_call>'
)
LAST = Delta(finish_reason="stop", usage=Usage(3, 2, cached_tokens=2, reasoning_tokens=1), times=StageTimes())


@pytest.fixture
def client(echo: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{echo.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def body(text: str = CALLS, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


# --- calls -----------------------------------------------------------------------------------------------------------


def test_calls_of_a_whole_answer(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(**body(), tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    calls = choice.message.tool_calls or []
    assert [(call.type, call.function.name) for call in calls if call.type == "function"] == [
        ("function", "look"),
        ("function", "wait"),
    ]
    assert json.loads(calls[0].function.arguments) == {"at": "é </tool_call>"}  # type: ignore[union-attr]
    assert len({call.id for call in calls}) == 2
    only = client.chat.completions.create(**body(CALLS.removeprefix("I look.\n")), tools=TOOLS).choices[0]
    assert only.message.content is None


def test_calls_of_a_stream(client: openai.OpenAI) -> None:
    """openai's own accumulator puts the pieces together."""
    with client.chat.completions.stream(**body(), tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.content == "I look."
    told = [(call.function.name, call.function.arguments) for call in final.message.tool_calls or []]
    assert told == [("look", '{"at": "é </tool_call>"}'), ("wait", "{}")]
    pieces = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    assert len(pieces) > 10, "arguments are streamed"


@pytest.mark.parametrize("more", [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}])
def test_without_tools_a_call_is_text(client: openai.OpenAI, more: dict[str, Any]) -> None:
    (choice,) = client.chat.completions.create(**body(), **more).choices
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (CALLS, None, "stop")


def test_a_call_that_cannot_be_read_is_text(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(**body("<tool_call>look(it)</tool_call>"), tools=TOOLS).choices
    assert (choice.message.content, choice.finish_reason) == ("<tool_call>look(it)</tool_call>", "stop")


def test_an_answer_that_is_cut_says_so(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(**body(), tools=TOOLS, max_tokens=75).choices
    assert choice.finish_reason == "length"
    assert len(choice.message.tool_calls or []) == 1


# --- thoughts --------------------------------------------------------------------------------------------------------


class Scripted(Echo):
    """Gives the same deltas to each request, or others to each."""

    def __init__(self, *scripts: list[Delta]) -> None:
        super().__init__(name="echo")
        self._scripts = scripts
        self.asked: list[str] = []

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        index = len(self.asked)
        self.asked.append(request.id)
        self.running += 1
        try:
            for delta in self._scripts[index % len(self._scripts)]:
                await asyncio.sleep(self._delay)
                yield delta
        finally:
            self.running -= 1


def test_thoughts_have_both_names(serve: Callable[..., Any]) -> None:
    served = serve(Scripted([Delta(reasoning="Hm"), Delta(reasoning="!"), Delta("So", reasoning="?"), LAST]))
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        whole = client.chat.completions.create(**body())
        chunks = list(client.chat.completions.create(**body(), stream=True))
    message: Any = whole.choices[0].message
    assert (message.reasoning_content, message.reasoning, message.content) == ("Hm!?", "Hm!?", "So")
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 1
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 2
    for name in ("reasoning_content", "reasoning"):
        assert [getattr(c.choices[0].delta, name, None) for c in chunks] == [None, "Hm", "!", "?", None]
    plain = httpx.post(f"{served.url}/v1/chat/completions", json=body()).json()["choices"][0]["message"]
    assert "tool_calls" not in plain


# --- several choices -------------------------------------------------------------------------------------------------


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**body("hello"), n=3)
    assert [(c.index, c.message.content, c.finish_reason) for c in answer.choices] == [
        (i, "hello", "stop") for i in range(3)
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 15), "one prompt, three answers"


def test_several_choices_in_a_stream(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(**body("hello"), n=3, stream=True, stream_options=options))
    said = {index: "" for index in range(3)}
    ended = []
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        said[choice.index] += choice.delta.content or ""
        ended += [choice.index] if choice.finish_reason else []
    assert said == dict.fromkeys(range(3), "hello")
    assert sorted(ended) == [0, 1, 2]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 15


def test_the_first_choice_goes_ahead_by_a_piece(serve: Callable[..., Any]) -> None:
    """So that the prompt is computed once: the others find it in the prefix cache."""
    seen: list[str] = []

    class Watched(Echo):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            seen.append(f"{request.id[-2:]} begins")
            async for delta in super().generate(request):
                seen.append(f"{request.id[-2:]} speaks")
                yield delta

    assert httpx.post(f"{serve(Watched()).url}/v1/chat/completions", json=body("ab", n=3)).status_code == 200
    assert seen[:2] == ["-0 begins", "-0 speaks"]
    assert sorted(seen[2:]) == sorted(
        ["-0 speaks"] * 2 + [f"-{i} begins" for i in (1, 2)] + [f"-{i} speaks" for i in (1, 2)] * 3
    )


def test_a_choice_that_is_done_says_so_at_once(serve: Callable[..., Any]) -> None:
    short, long = [Delta("a"), LAST], [*[Delta("b")] * 20, LAST]
    served = serve(Scripted(long, short))
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        chunks = list(client.chat.completions.create(**body(), n=2, stream=True))
    ends = [number for number, chunk in enumerate(chunks) if chunk.choices[0].finish_reason]
    assert len(ends) == 2
    assert ends[0] < len(chunks) - 5
    assert all(chunks[end].model_extra["timings"] for end in ends)


def test_a_client_that_leaves_ends_all_choices(serve: Callable[..., Any]) -> None:
    backend = Scripted([Delta("a")] * 1000 + [LAST])
    backend._delay = 0.02
    served = serve(backend)
    with (
        httpx.Client() as client,
        client.stream("POST", f"{served.url}/v1/chat/completions", json=body(n=4, stream=True)) as response,
    ):
        pieces = response.iter_bytes()
        while backend.running < 4:
            next(pieces)
    for _ in range(100):
        if backend.running == 0:
            break
        asyncio.run(asyncio.sleep(0.02))
    assert backend.running == 0
    assert len(set(backend.asked)) == 4, "each has an id of its own"


# --- the form of a stream --------------------------------------------------------------------------------------------


def test_what_is_quick_and_what_is_general_write_the_same() -> None:
    """The pieces that differ only in their text are made by hand."""
    answer = Answer("id", "m", num=2)
    entry = (TextLogprob("a", b"a", -1.0),)
    for text in ('"quoted" \\ \n \x00 é \U0001f600', "\u2028", "\x7f"):
        for index in (0, 1):
            quick = json.loads(answer.piece(index, Delta(text)).removeprefix(b"data: "))
            general = json.loads(answer.piece(index, Delta(text, logprobs=entry)).removeprefix(b"data: "))
            assert general["choices"][0].pop("logprobs")
            assert quick["choices"][0].pop("logprobs") is None
            assert quick == general
            assert quick["choices"][0]["delta"] == {"content": text}
            thought = json.loads(answer.piece(index, Delta(reasoning=text)).removeprefix(b"data: "))
            assert thought["choices"][0]["delta"] == {"reasoning_content": text, "reasoning": text}


def test_a_delta_of_everything() -> None:
    call = ToolCallPiece(0, "call_1", "look", '{"a"')
    told = json.loads(Answer("id", "m").piece(0, Delta("a", reasoning="b", tool_calls=(call,)))[6:])
    assert told["choices"][0]["delta"] == {
        "content": "a",
        "reasoning": "b",
        "reasoning_content": "b",
        "tool_calls": [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a"'}}
        ],
    }
    more = json.loads(Answer("id", "m").piece(0, Delta(tool_calls=(ToolCallPiece(1, arguments=": 1}"),)))[6:])
    assert more["choices"][0]["delta"] == {"tool_calls": [{"index": 1, "function": {"arguments": ": 1}"}}]}
