"""Which bodies become requests, which requests they become, and what is said of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from saccade.errors import RequestError
from saccade.server.fields import IGNORED, NEUTRAL
from saccade.server.schema import ChatCall, parse_chat
from saccade.types import MediaPart, MediaRef, Message, SamplingParams, TextPart

UNSET = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "logit_bias", "max_tokens", "seed", "stop", "logprobs",
)  # fmt: skip
HELLO = [{"role": "user", "content": "hello"}]


def parse(**fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "m", "messages": HELLO, **fields}).encode(), "id")


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(**fields)
    assert caught.value.status == 400
    assert caught.value.message.endswith(".")
    return caught.value


def content(*parts: Any, role: str = "user", **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": list(parts), **more}]


def image(url: Any = "data:,", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def video(url: Any = "data:,", **more: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url, **more}}


def test_the_least_body() -> None:
    call = parse()
    assert call.request.id == "id"
    assert call.request.model == "m"
    assert call.request.messages == (Message("user", (TextPart("hello"),)),)
    assert call.request.sampling == SamplingParams()
    assert (call.stream, call.include_usage) == (False, False)


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"temperature": 0}, SamplingParams(temperature=0.0)),
        ({"temperature": 2}, SamplingParams(temperature=2.0)),
        ({"top_p": 0.5}, SamplingParams(top_p=0.5)),
        ({"top_k": 20}, SamplingParams(top_k=20)),
        ({"top_k": -1}, SamplingParams(top_k=0)),
        ({"min_p": 0}, SamplingParams(min_p=0.0)),
        ({"min_p": 0.05}, SamplingParams(min_p=0.05)),
        ({"presence_penalty": 1.5}, SamplingParams(presence_penalty=1.5)),
        ({"presence_penalty": 0}, SamplingParams()),
        ({"frequency_penalty": -2}, SamplingParams(frequency_penalty=-2.0)),
        ({"repetition_penalty": 1.1}, SamplingParams(repetition_penalty=1.1)),
        ({"repetition_penalty": 1}, SamplingParams(repetition_penalty=1.0)),
        ({"logit_bias": {"5": 1, "0": -100}}, SamplingParams(logit_bias=((5, 1.0), (0, -100.0)))),
        ({"logit_bias": {}}, SamplingParams()),
        ({"max_tokens": 7}, SamplingParams(max_tokens=7)),
        ({"max_completion_tokens": 7}, SamplingParams(max_tokens=7)),
        ({"max_tokens": 7, "max_completion_tokens": 7}, SamplingParams(max_tokens=7)),
        ({"max_tokens": 7, "min_tokens": 7}, SamplingParams(max_tokens=7, min_tokens=7)),
        ({"ignore_eos": True}, SamplingParams(ignore_eos=True)),
        ({"seed": -(2**63)}, SamplingParams(seed=-(2**63))),
        ({"stop": "a"}, SamplingParams(stop=("a",))),
        ({"stop": ["a", "b"]}, SamplingParams(stop=("a", "b"))),
        ({"stop": [str(i) for i in range(16)]}, SamplingParams(stop=tuple(str(i) for i in range(16)))),
        ({"logprobs": True}, SamplingParams(logprobs=0)),
        ({"logprobs": True, "top_logprobs": 20}, SamplingParams(logprobs=20)),
        ({"logprobs": False}, SamplingParams()),
        (dict.fromkeys(UNSET), SamplingParams()),
    ],
)
def test_honoured_fields(fields: dict[str, Any], sampling: SamplingParams) -> None:
    assert parse(**fields).request.sampling == sampling


def test_streams() -> None:
    assert parse(stream=True).stream
    assert not parse(stream=True).include_usage
    assert parse(stream=True, stream_options={"include_usage": True}).include_usage
    assert not parse(stream=True, stream_options=None).include_usage


@pytest.mark.parametrize("name", [name for name, _ in IGNORED])
@pytest.mark.parametrize("value", [None, "x", {"a": 1}, True])
def test_ignored_fields_change_nothing(name: str, value: Any) -> None:
    assert parse(**{name: value}) == parse()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NEUTRAL for value in (None, *values)])
def test_neutral_values_change_nothing(name: str, value: Any) -> None:
    assert parse(**{name: value}) == parse()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("n", "1"),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("audio", {"voice": "a"}),
        ("prediction", {"type": "content", "content": ""}),
        ("web_search_options", {}),
        ("moderation", {}),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(name: str, value: Any) -> None:
    error = refusal(**{name: value})
    assert error.param == name
    assert f"'{name}'" in error.message
    assert error.code in ("unsupported_value", "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"presence_penalty": False}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 11}, "repetition_penalty"),
        ({"logit_bias": []}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"05": 1}}, "logit_bias"),
        ({"logit_bias": {"5\n": 1}}, "logit_bias"),
        ({"logit_bias": {"\u0665": 1}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"5": "1"}}, "logit_bias.5"),
        ({"logit_bias": {"5": None}}, "logit_bias.5"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 7, "max_completion_tokens": 8}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 8, "max_tokens": 7}, "min_tokens"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": {}}, "stop"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "messages[0].x"),
        ({"messages": [{"role": "user", "content": "a", "user": 1}]}, "messages[0].user"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": []}]}, "messages[0].tool_calls"),
        ({"messages": [*HELLO, {"role": "system", "content": "a"}]}, "messages[1].role"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "a", "audio": {}}]}, "messages[0].audio"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"messages": content("a")}, "messages[0].content[0]"),
        ({"messages": content({"text": "a"})}, "messages[0].content[0].type"),
        ({"messages": content({"type": "input_audio"})}, "messages[0].content[0].type"),
        ({"messages": content({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": content({"type": "text", "text": 3})}, "messages[0].content[0].text"),
        ({"messages": content({"type": "text", "text": "a", "image_url": 1})}, "messages[0].content[0].image_url"),
        ({"messages": [*HELLO, *content(image(), {"type": "image_url"})]}, "messages[1].content[1].image_url"),
        ({"messages": content({"type": "image_url", "image_url": 3})}, "messages[0].content[0].image_url"),
        ({"messages": content({"type": "image_url", "image_url": ""})}, "messages[0].content[0].image_url.url"),
        ({"messages": content(image(3))}, "messages[0].content[0].image_url.url"),
        ({"messages": content(image(detail="huge"))}, "messages[0].content[0].image_url.detail"),
        ({"messages": content(image(max_pixels=0))}, "messages[0].content[0].image_url.max_pixels"),
        ({"messages": content(image(fps=1))}, "messages[0].content[0].image_url.fps"),
        ({"messages": content(image(min_pixels=9, max_pixels=8))}, "messages[0].content[0].image_url.min_pixels"),
        ({"messages": content(video(fps=0))}, "messages[0].content[0].video_url.fps"),
        ({"messages": content(video(num_frames=0))}, "messages[0].content[0].video_url.num_frames"),
        ({"messages": content(video(fps=1, num_frames=4))}, "messages[0].content[0].video_url.num_frames"),
        ({"messages": content(image(), role="system")}, "messages[0].content[0].type"),
        ({"messages": content(video(), role="assistant")}, "messages[0].content[0].type"),
    ],
)
def test_wrong_fields_are_named_by_their_path(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"min_p": 1.1}, "'min_p' must be at most 1"),
        ({"presence_penalty": 3}, "'presence_penalty' must be at most 2"),
        ({"frequency_penalty": -3}, "'frequency_penalty' must be at least -2"),
        ({"repetition_penalty": 0}, "'repetition_penalty' must be at least 0.1"),
        ({"logit_bias": {"5": -101}}, "'logit_bias.5' must be at least -100"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "'logit_bias' must have at most 1024 entries"),
        ({"logit_bias": "5"}, "'logit_bias' must be an object"),
    ],
)
def test_the_limit_is_told(fields: dict[str, Any], limit: str) -> None:
    assert refusal(**fields).message.startswith(limit)


@pytest.mark.parametrize("field", ["model", "messages"])
def test_required_fields(field: str) -> None:
    body = {"model": "m", "messages": HELLO}
    del body[field]
    with pytest.raises(RequestError) as caught:
        parse_chat(json.dumps(body).encode(), "id")
    assert (caught.value.param, caught.value.code) == (field, "missing_required_parameter")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b"{'a': 1}",
        b'{"temperature": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud83d"}',
        b"[" * 100_000,
        b"\x00",
    ],
)
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_chat(body, "id")
    assert caught.value.code == "invalid_json"
    assert caught.value.param is None


def test_pictures_and_videos() -> None:
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": "data:x"},
        image("data:y", detail="high", min_pixels=5, max_pixels=6),
        image("data:z", detail="low"),
        image("data:z", detail="low", max_pixels=100),
        video("data:v", fps=1, max_pixels=9),
        {"type": "video_url", "video_url": "data:w"},
        video("data:u", num_frames=4),
    ]
    (message,) = parse(messages=content(*parts)).request.messages
    at = "messages[0].content[{}].{}_url".format
    assert message.parts == (
        TextPart("a"),
        MediaPart(MediaRef("image", at(1, "image"), "data:x")),
        MediaPart(MediaRef("image", at(2, "image"), "data:y", min_pixels=5, max_pixels=6)),
        MediaPart(MediaRef("image", at(3, "image"), "data:z", max_pixels=512 * 512)),
        MediaPart(MediaRef("image", at(4, "image"), "data:z", max_pixels=100)),
        MediaPart(MediaRef("video", at(5, "video"), "data:v", fps=1.0, max_pixels=9)),
        MediaPart(MediaRef("video", at(6, "video"), "data:w")),
        MediaPart(MediaRef("video", at(7, "video"), "data:u", num_frames=4)),
    )


def test_roles_and_tool_calls_in_history() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "developer", "content": "be brief", "name": "boss"},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "4"}, image()]},
        {"role": "assistant", "content": "4", "refusal": None, "audio": None, "annotations": []},
    ]
    system, user, call, result, answer = parse(messages=messages).request.messages
    assert system == Message("system", (TextPart("be brief"),), name="boss")
    assert user == Message("user", (TextPart("hello"),))
    assert call == Message("assistant", (), tool_calls=tuple(calls), reasoning="hm")
    assert result.tool_call_id == "c"
    assert [type(part) for part in result.parts] == [TextPart, MediaPart]
    assert answer == Message("assistant", (TextPart("4"),))


def test_a_string_may_hold_anything_json_can_say() -> None:
    text = 'quote " slash \\ null \0 emoji \U0001f600 <|im_end|>'
    call = parse(messages=[{"role": "user", "content": text}])
    assert call.request.messages[0].parts == (TextPart(text),)
