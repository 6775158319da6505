"""POST /v1/messages, by its bare bodies and through Anthropic's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from speaker import THINKS_AND_CALLS, Speaker, last

from saccade.errors import EngineError, MediaError
from saccade.server.anthropic_body import IGNORED, NEUTRAL, MessagesBody, to_chat
from saccade.server.reference_messages import reference
from saccade.server.schema import chat_call
from saccade.types import Delta

TOOLS = [{"name": "weather", "input_schema": {"type": "object"}}]
USER = {"role": "user", "content": "x"}
CACHED = {"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}

USE = {"type": "tool_use", "id": "a", "name": "weather", "input": {}}


def _said(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _chat(**body: Any) -> dict[str, Any]:
    return to_chat({"model": "m", "max_tokens": 9, "messages": [USER], **body})[1]


def _post(served: Any, **body: Any) -> httpx.Response:
    fields = {"model": "echo", "max_tokens": 9, "messages": [USER], **body}
    return httpx.post(f"{served.url}/v1/messages", json=fields)


def _events(served: Any, **body: Any) -> list[dict[str, Any]]:
    blocks = _post(served, stream=True, **body).text.strip().split("\n\n")
    events = []
    for block in blocks:
        kind, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {events[-1]['type']}"
    return events


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_a_conversation_with_calls_becomes_that_of_a_chat() -> None:
    messages = [
        {
            "role": "user",
            "content": [PICTURE, CACHED],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Köln"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {"city": "Kö"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [PICTURE]},
                {"type": "tool_result", "tool_use_id": "b", "content": "no such city", "is_error": True},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    body = _chat(messages=messages, system=[{"type": "text", "text": "Be brief."}])
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert body["messages"][1]["content"][0] == {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}
    spoken = body["messages"][2]
    assert (spoken["reasoning_content"], spoken["content"]) == ("Hm.", [{"type": "text", "text": "I look."}])
    assert json.loads(spoken["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}
    assert [part["text"] for part in body["messages"][4]["content"]] == ["Error: ", "no such city"]
    chat_call(body, "id")


def test_fields_have_the_same_meaning_as_in_a_chat() -> None:
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    body = _chat(tools=TOOLS, tool_choice=choice, stop_sequences=["END"], top_k=5, temperature=0.5)
    assert body["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False
    assert (body["stop"], body["top_k"], body["max_tokens"]) == (["END"], 5, 9)
    assert _chat(tools=TOOLS, tool_choice={"type": "any"})["tool_choice"] == "required"
    assert _chat(thinking={"type": "enabled", "budget_tokens": 7})["thinking_budget"] == 7
    schema = _chat(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}})["response_format"]
    assert schema["json_schema"]["schema"] == {"type": "object"}


def test_every_field_is_in_one_table_and_explained() -> None:
    names = [*MessagesBody.model_fields, *(name for name, _ in (*IGNORED, *NEUTRAL))]
    assert len(names) == len(set(names))
    assert all(field.description for field in MessagesBody.model_fields.values())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 10**6}, "max_tokens"),
        ({"model": "claude"}, "model"),
        ({"nonsense": 1}, "nonsense"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": _said([{"type": "document"}])}, "messages[0].content[0].type"),
        ({"messages": _said([{"type": "image", "source": {"type": "file"}}])}, "messages[0].content[0].source.type"),
        ({"messages": _said([{"type": "thinking", "thinking": "x"}])}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [PICTURE]}, USER]}, "messages[0].content[0].type"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "time"}}, "tool_choice.name"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"messages": _said([{"type": "tool_result", "tool_use_id": "a"}])}, "messages[0].content[0].tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [USE]}, USER]}, "messages[0].content[0]"),
        ({"container": "c"}, "container"),
    ],
)
def test_a_refusal_has_their_form_and_names_the_callers_field(echo: Any, body: dict[str, Any], param: str) -> None:
    told = _post(echo, **body)
    assert told.status_code in (400, 404), told.text
    assert told.json()["type"] == "error"
    kind = "not_found_error" if param == "model" else "invalid_request_error"
    assert (told.json()["error"]["type"], told.json()["error"]["param"]) == (kind, param)


def test_wrong_methods_and_bodies_have_their_form_too(echo: Any) -> None:
    for answer in (httpx.get(f"{echo.url}/v1/messages"), httpx.post(f"{echo.url}/v1/messages", content=b"{")):
        assert answer.status_code in (400, 405)
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_picture_that_fails_later_is_named_too(serve: Callable[..., Any]) -> None:
    class Refuses(Speaker):
        async def generate(self, request: Any) -> Any:
            raise MediaError("No picture.", param=request.media[0].param)
            yield

    content = [{"type": "text", "text": "?"}, PICTURE]
    told = _post(serve(Refuses()), messages=[{"role": "user", "content": content}], system="See.")
    assert told.json()["error"]["param"] == "messages[0].content[1].source"


# --- what is answered ------------------------------------------------------------------------------------------------


def test_a_whole_message(serve: Callable[..., Any]) -> None:
    told = _post(serve(Speaker(*THINKS_AND_CALLS)), tools=TOOLS).json()
    thought, said, first, second = told["content"]
    assert (thought["thinking"], said["text"]) == ("Sunny there?", "I look.")
    assert (first["id"], first["name"], first["input"]) == ("call_a", "weather", {"city": "Bonn"})
    assert second["input"] == {}
    assert (told["stop_reason"], told["stop_sequence"]) == ("tool_use", None)
    usage = told["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (4, 3, 5)


def test_the_events_build_the_message(serve: Callable[..., Any]) -> None:
    served = serve(Speaker(*THINKS_AND_CALLS))
    events = _events(served)
    whole = _post(served).json()
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"]
    assert events[-2]["usage"] == whole["usage"]
    built: list[str] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(built)
            built.append("")
        elif event["type"] == "content_block_delta":
            _, piece = event["delta"].values()
            built[event["index"]] += piece
    assert built == ["Sunny there?", "I look.", '{"city": "Bonn"}', "{}"]
    assert sum(event["type"] == "content_block_stop" for event in events) == 4


@pytest.mark.parametrize(
    ("body", "reason", "sequence", "text"),
    [
        ({}, "end_turn", None, "hello you"),
        ({"max_tokens": 3}, "max_tokens", None, "hel"),
        ({"stop_sequences": ["yo", "lo"]}, "stop_sequence", "lo", "hel"),
    ],
)
def test_why_it_ended(echo: Any, body: dict[str, Any], reason: str, sequence: str | None, text: str) -> None:
    asked = {"max_tokens": 99, "messages": [{"role": "user", "content": "hello you"}], **body}
    told = _post(echo, **asked).json()
    assert (told["stop_reason"], told["stop_sequence"]) == (reason, sequence)
    assert told["content"][0]["text"] == text


def test_a_call_that_was_cut_is_told_as_it_is(serve: Callable[..., Any]) -> None:
    cut = [*THINKS_AND_CALLS[4:6], last("length")]
    (block,) = _post(serve(Speaker(*cut))).json()["content"]
    assert block["input"] == {"INVALID_JSON": '{"city": '}


def test_a_stream_that_breaks_off_ends_with_its_error(serve: Callable[..., Any]) -> None:
    events = _events(serve(Speaker(Delta("Once"), EngineError("Gone."))))
    assert events[-1]["type"] == "error"
    assert (events[-1]["error"]["type"], events[-1]["error"]["message"]) == ("api_error", "Gone.")


def test_tokens_are_counted_without_an_answer(echo: Any) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "four"}], "system": "two"}
    told = httpx.post(f"{echo.url}/v1/messages/count_tokens", json=body)
    assert told.json() == {"input_tokens": 7}
    wrong = httpx.post(f"{echo.url}/v1/messages/count_tokens", json={**body, "max_tokens": 5})
    assert wrong.json()["error"]["param"] == "max_tokens"


def test_their_own_client(serve: Callable[..., Any]) -> None:
    url = serve(Speaker(*THINKS_AND_CALLS)).url
    asked: Any = {"model": "echo", "max_tokens": 9, "messages": [USER], "tools": TOOLS}
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
        for here, there in zip(whole.content, streamed.content, strict=True):
            assert here.model_dump().items() <= there.model_dump().items()
        assert streamed.usage.output_tokens == whole.usage.output_tokens
        assert client.messages.count_tokens(model="echo", messages=asked["messages"]).input_tokens == 1
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**{**asked, "model": "claude"})


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "messages.md"
    assert page.read_text() == reference(), (
        "run: python -c 'from saccade.server.reference_messages import reference as r; print(r(), end=\"\")' "
        "> docs/messages.md"
    )
