"""POST /v1/responses, mostly through OpenAI's own client, which checks the types of all that it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from speaker import THINKS_AND_CALLS, Speaker, last

from saccade.backends.base import Echo
from saccade.errors import EngineError, MediaError
from saccade.server.reference_responses import reference
from saccade.server.responses_body import IGNORED, NEUTRAL, PASSED, ResponsesBody, to_chat
from saccade.server.schema import ChatBody, chat_call
from saccade.types import Delta, MediaPart, TextPart

TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]


@pytest.fixture
def ask(serve: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """`ask(backend, **body)`: what the client makes of it."""
    clients = []

    def asked(backend: Any, **body: Any) -> Any:
        url = f"{serve(backend).url}/v1"
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, _strict_response_validation=True)
        clients.append(client)
        return client.responses.create(**{"model": "echo", **body})

    yield asked
    for client in clients:
        client.close()


def _chat(**body: Any) -> dict[str, Any]:
    return to_chat(body)[1]


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_a_text_is_a_message_of_the_user() -> None:
    assert _chat(input="Hi")["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


def test_what_one_answer_said_is_one_message() -> None:
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "sun"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_image", "image_url": "data:x"}]},
        {"role": "assistant", "content": "Sunny."},
        {"role": "assistant", "content": "Very."},
    ]
    body = _chat(input=items, instructions="Be brief.")
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "assistant"]
    spoken = body["messages"][2]
    assert spoken["reasoning_content"] == "Hm."
    assert spoken["content"] == [{"type": "text", "text": "I look."}]
    assert [call["id"] for call in spoken["tool_calls"]] == ["a", "b"]
    request = chat_call({**body, "model": "m"}, "id").requests[0]
    assert request.messages[0].parts == (TextPart("Be brief."),)
    assert isinstance(request.messages[4].parts[0], MediaPart)


def test_fields_have_the_same_meaning_as_in_a_chat() -> None:
    body = _chat(
        input="x",
        max_output_tokens=9,
        temperature=0.5,
        top_k=3,
        tools=TOOLS,
        tool_choice={"type": "function", "name": "weather"},
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        reasoning={"effort": "low"},
    )
    assert body["max_completion_tokens"] == 9
    assert body["top_k"] == 3
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}},
    }
    assert body["reasoning_effort"] == "low"


def test_every_field_is_in_one_table_and_explained() -> None:
    names = [*ResponsesBody.model_fields, *(name for name, _ in (*IGNORED, *NEUTRAL)), *PASSED]
    assert len(names) == len(set(names))
    assert set(PASSED) <= set(ChatBody.model_fields)
    assert all(field.description for field in ResponsesBody.model_fields.values())


CALL = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "a", "output": "sun"}


def test_a_result_may_come_later(echo: Any) -> None:
    user = {"role": "user", "content": "Well?"}
    answer = httpx.post(f"{echo.url}/v1/responses", json={"input": [CALL, user, RESULT, user]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [RESULT]}, "input[0].call_id"),
        ({"input": [CALL, {"role": "user", "content": "Well?"}]}, "input[0]"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"nonsense": 1}, "nonsense"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input[0].content[0].type",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 5, "min_tokens": 9}, "min_tokens"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "time"}}, "tool_choice.name"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"model": "other"}, "model"),
    ],
)
def test_a_refusal_names_the_callers_field(echo: Any, body: dict[str, Any], param: str) -> None:
    answer = httpx.post(f"{echo.url}/v1/responses", json={"input": "x", **body})
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert "messages[" not in error["message"]


def test_a_picture_that_fails_later_is_named_too(serve: Callable[..., Any]) -> None:
    class Refuses(Speaker):
        async def generate(self, request: Any) -> Any:
            raise MediaError("No picture.", param=request.media[0].param)
            yield

    picture = {"type": "input_image", "image_url": "data:x"}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "?"}, picture]}]
    answer = httpx.post(f"{serve(Refuses()).url}/v1/responses", json={"input": items, "instructions": "See."})
    assert answer.json()["error"]["param"] == "input[0].content[1].image_url"


# --- what is answered ------------------------------------------------------------------------------------------------


def test_a_whole_response(ask: Callable[..., Any]) -> None:
    response = ask(Speaker(*THINKS_AND_CALLS), input="x", tools=TOOLS, metadata={"a": "b"})
    thought, said, first, second = response.output
    assert thought.content[0].text == "Sunny there?"
    assert said.content[0].text == response.output_text == "I look."
    assert (first.call_id, first.name, first.arguments) == ("call_a", "weather", '{"city": "Bonn"}')
    assert (second.call_id, second.name, second.arguments) == ("call_b", "time", "{}")
    assert (response.status, response.metadata, response.error) == ("completed", {"a": "b"}, None)
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.usage.output_tokens_details.reasoning_tokens == 2


def test_the_events_build_the_response(ask: Callable[..., Any]) -> None:
    events = list(ask(Speaker(*THINKS_AND_CALLS), input="x", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    final = events[-1].response
    assert events[-1].type == "response.completed"
    built: dict[int, str] = {}
    for event in events:
        if event.type.endswith(".delta"):
            built[event.output_index] = built.get(event.output_index, "") + event.delta
    assert built == {0: "Sunny there?", 1: "I look.", 2: '{"city": "Bonn"}', 3: "{}"}
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.model_dump() for item in done] == [item.model_dump() for item in final.output]
    assert len({item.id for item in done}) == 4


def test_an_answer_that_was_cut_says_so(ask: Callable[..., Any]) -> None:
    response = ask(Speaker(Delta("Once"), last("length")), input="x", max_output_tokens=5)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    events = list(ask(Speaker(Delta("Once"), last("length")), input="x", stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-2].item.status == "incomplete"


def test_a_stream_that_breaks_off_ends_with_its_failure(ask: Callable[..., Any]) -> None:
    events = list(ask(Speaker(Delta("Once"), EngineError("Gone.")), input="x", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message == "Gone."


def test_logprobs_are_told_when_included(ask: Callable[..., Any]) -> None:
    response = ask(Echo(), input="ab", include=["message.output_text.logprobs"], top_logprobs=1)
    entries = response.output[0].content[0].logprobs
    assert [entry.token for entry in entries] == ["a", "b"]
    assert entries[0].top_logprobs[0].bytes == [97]
    assert ask(Echo(), input="ab").output[0].content[0].logprobs == []


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "responses.md"
    assert page.read_text() == reference(), (
        "run: python -c 'from saccade.server.reference_responses import reference as r; print(r(), end=\"\")' "
        "> docs/responses.md"
    )
