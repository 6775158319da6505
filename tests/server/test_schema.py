"""Which bodies become requests, which requests they become, and what is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from saccade.errors import RequestError
from saccade.server.fields import IGNORED, NEUTRAL
from saccade.server.schema import ChatCall, parse_chat
from saccade.types import MediaPart, MediaRef, Message, SamplingParams, TextPart, ToolChoice

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
    assert call.requests[0].id == "id"
    assert call.requests[0].model == "m"
    assert call.requests[0].messages == (Message("user", (TextPart("hello"),)),)
    assert call.requests[0].sampling == SamplingParams()
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
    assert parse(**fields).requests[0].sampling == sampling


def test_whose_pixels_places_are_told_in() -> None:
    one, two = content(image()), content(image(), video())
    assert parse(messages=one).requests[0].pixels_of is None
    assert parse(messages=one, coordinates="relative") == parse(messages=one)
    assert parse(messages=one, coordinates="pixel").requests[0].pixels_of == 0
    assert parse(messages=two, coordinates={"unit": "pixel", "picture": 1}).requests[0].pixels_of == 1
    for messages, wanted, param in (
        (HELLO, "pixel", "coordinates"),
        (two, "pixel", "coordinates"),
        (one, "percent", "coordinates.unit"),
        (two, {"unit": "pixel", "picture": 2}, "coordinates.picture"),
        (two, {"unit": "pixel", "picture": -1}, "coordinates.picture"),
        (one, 3, "coordinates"),
    ):
        assert refusal(messages=messages, coordinates=wanted).param == param


def test_several_answers_are_several_requests() -> None:
    assert parse(n=1) == parse(n=None) == parse()
    one, two, three = parse(n=3, seed=2**63 - 2).requests
    assert [one.id, two.id, three.id] == ["id-0", "id-1", "id-2"]
    assert [r.sampling.seed for r in (one, two, three)] == [2**63 - 2, 2**63 - 1, -(2**63)]
    assert replace(one, id="id", sampling=two.sampling) == replace(two, id="id")
    assert [r.sampling.seed for r in parse(n=2).requests] == [None, None]


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
        ("modalities", ["text", "audio"]),
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
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"n": "1"}, "n"),
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
    (message,) = parse(messages=content(*parts)).requests[0].messages
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
    system, user, call, result, answer = parse(messages=messages).requests[0].messages
    assert system == Message("system", (TextPart("be brief"),), name="boss")
    assert user == Message("user", (TextPart("hello"),))
    assert call == Message("assistant", (), tool_calls=tuple(calls), reasoning="hm")
    assert result.tool_call_id == "c"
    assert [type(part) for part in result.parts] == [TextPart, MediaPart]
    assert answer == Message("assistant", (TextPart("4"),))


def test_system_messages_are_one_and_come_first() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        *HELLO,
        {"role": "system", "content": "Speak French."},
    ]
    system, user = parse(messages=messages).requests[0].messages
    assert system == Message("system", (TextPart("Be brief.\n\nBe kind.\n\nSpeak French."),))
    assert user == Message("user", (TextPart("hello"),))
    late, _ = parse(messages=[*HELLO, {"role": "system", "content": "a"}]).requests[0].messages
    assert late == Message("system", (TextPart("a"),))


def test_earlier_answers_may_come_back_as_they_were_sent() -> None:
    call = {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": "a", "reasoning": "b", "reasoning_content": "b", "tool_calls": [call]}
    refused = {"role": "assistant", "content": None, "refusal": "no"}
    parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "4"}
    first, _, second, third = parse(messages=[said, result, refused, parts]).requests[0].messages
    assert first.reasoning == "b"
    assert first.tool_calls == ({key: value for key, value in call.items() if key != "index"},)
    assert second.parts == (TextPart("no"),)
    assert third.parts == (TextPart("never"),)


def test_a_schema_of_too_many_properties_is_refused_before_it_is_compiled() -> None:
    """To compile 3,000 took seconds, in which no other schema was."""

    def schema(num: int) -> dict[str, Any]:
        return {"type": "array", "items": {"anyOf": [{"properties": {f"p{i}": {} for i in range(num)}}]}}

    for num in (1000, 1001):
        named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema(num)}}
        tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema(num)}}}}
        for fields, param in (
            ({"response_format": named}, "response_format.json_schema.schema"),
            ({"tools": [tool]}, "tools[0].function.parameters"),
        ):
            if num == 1000:
                assert parse(messages=HELLO, **fields)
                continue
            error = refusal(messages=HELLO, **fields)
            assert error.param == param
            assert str(error).startswith(f"'{param}' has an object with 1,001 properties; at most 1,000 are taken.")


def calls(*ids: str) -> dict[str, Any]:
    made = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "tool_calls": made}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "4"}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([result("a")], "messages[1].tool_call_id"),
        ([calls("a"), result("b")], "messages[2].tool_call_id"),
        ([calls("a"), *HELLO, result("a")], "messages[1].tool_calls[0]"),
        ([calls("a", "b"), result("a"), *HELLO], "messages[1].tool_calls[1]"),
        ([calls("a")], "messages[1].tool_calls[0]"),
        ([calls("a"), result("a"), *HELLO, result("a")], "messages[4].tool_call_id"),
        ([calls("a"), result("a"), calls("b"), result("a")], "messages[4].tool_call_id"),
    ],
)
def test_a_result_names_its_call_and_each_call_has_one(messages: list[Any], param: str) -> None:
    error = refusal(messages=[*HELLO, *messages])
    assert (error.param, error.code) == (param, "invalid_value")
    assert error.message.startswith(f"'{param}' ")


@pytest.mark.parametrize(
    "messages",
    [
        [calls("a", "b"), result("b"), result("a"), *HELLO],
        [calls("a"), result("a"), calls("a"), result("a")],
        [calls("a"), calls("b"), result("a"), result("b")],
        [calls("a"), {"role": "assistant", "content": "I look."}, result("a")],
    ],
)
def test_results_in_any_order_and_ids_used_again_are_taken(messages: list[Any]) -> None:
    assert len(parse(messages=[*HELLO, *messages]).requests[0].messages) == 1 + len(messages)


@pytest.mark.parametrize(
    ("part", "ref"),
    [
        ({"type": "video_url", "video_url": "a"}, MediaRef("video", "video_url", "a")),
        ({"type": "video_url", "video_url": {"url": "a"}, "fps": 3}, MediaRef("video", "video_url", "a", fps=3.0)),
        (
            {"type": "input_video", "input_video": {"data": "AA=="}},
            MediaRef("video", "input_video", "data:video/mp4;base64,AA=="),
        ),
        ({"type": "input_video", "input_video": "a"}, MediaRef("video", "input_video", "a")),
        ({"type": "video", "video": "a", "num_frames": 4}, MediaRef("video", "video", "a", num_frames=4)),
        ({"type": "video", "video": ["a", "b"], "fps": 2}, MediaRef("video", "video", frames=("a", "b"), fps=2.0)),
        (
            {"type": "video", "video": ["data:image/png;base64,AA"]},
            MediaRef("video", "video", frames=("data:image/png;base64,AA",)),
        ),
        (
            {"type": "video_url", "video_url": "DATA:video/jpeg;base64,AA,BB"},
            MediaRef("video", "video_url", frames=("data:image/jpeg;base64,AA", "data:image/jpeg;base64,BB")),
        ),
        ({"type": "image", "image": "a", "max_pixels": 5}, MediaRef("image", "image", "a", max_pixels=5)),
        ({"type": "image_url", "image_url": "a", "min_pixels": 5}, MediaRef("image", "image_url", "a", min_pixels=5)),
        (image("a", detail="original"), MediaRef("image", "image_url", "a", max_pixels=10_240_000)),
        (image("a", detail="original", max_pixels=9), MediaRef("image", "image_url", "a", max_pixels=9)),
        (image("a", detail="auto"), MediaRef("image", "image_url", "a")),
        ({**image("a", max_pixels=5), "max_pixels": 5}, MediaRef("image", "image_url", "a", max_pixels=5)),
    ],
)  # fmt: skip
def test_all_forms_of_pictures_and_videos(part: dict[str, Any], ref: MediaRef) -> None:
    ((read,),) = (message.parts for message in parse(messages=content(part)).requests[0].messages)
    assert isinstance(read, MediaPart)
    assert read.media == replace(ref, param=f"messages[0].content[0].{ref.param}")


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({**image(max_pixels=5), "max_pixels": 6}, ".max_pixels"),
        ({**image(max_pixels=5), "min_pixels": 6}, ".image_url.min_pixels"),
        ({**image(), "fps": 6}, ".fps"),
        ({**video(fps=1), "num_frames": 6}, ".video_url.num_frames"),
        ({"type": "input_video", "input_video": {}}, ".input_video.data"),
        ({"type": "input_video", "input_video": {"url": "a", "data": "b"}}, ".input_video.data"),
        ({"type": "video", "video": []}, ".video"),
        ({"type": "video", "video": ["a", ""]}, ".video[1]"),
        ({"type": "video", "video": ["a"] * 2049}, ".video"),
        (video("data:video/jpeg;base64," + "A," * 2048), ".video_url"),
        ({"type": "refusal", "refusal": "no"}, ".type"),
    ],
)
def test_wishes_that_make_no_sense(part: dict[str, Any], param: str) -> None:
    assert refusal(messages=content(part)).param == f"messages[0].content[0]{param}"


def tool(name: str = "look", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def test_tools_and_the_choice_of_them() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    declared = [{"function": {"strict": True, "parameters": schema, "name": "f"}, "type": "function"}, tool("g")]
    call = parse(tools=declared).requests[0]
    assert json.dumps(call.tools) == json.dumps([tool("f", parameters=schema), tool("g")]), "in the order of training"
    assert call.tool_choice == ToolChoice(strict=frozenset({"f"}))

    def chosen(choice: Any, **more: Any) -> tuple[list[str], ToolChoice]:
        made = parse(tools=[tool("f"), tool("g")], tool_choice=choice, **more).requests[0]
        return [shown["function"]["name"] for shown in made.tools], made.tool_choice

    assert chosen("auto") == chosen(None) == (["f", "g"], ToolChoice())
    assert chosen("none") == ([], ToolChoice())
    assert chosen("required") == (["f", "g"], ToolChoice(required=True))
    assert chosen(tool("g")) == (["g"], ToolChoice(required=True, parallel=False))
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}}
    assert chosen(allowed) == (["g"], ToolChoice())
    allowed["allowed_tools"]["mode"] = "required"  # type: ignore[index]
    assert chosen(allowed, parallel_tool_calls=False) == (["g"], ToolChoice(required=True, parallel=False))
    assert parse(tools=[]) == parse(tool_choice="auto") == parse()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [tool("f\n")]}, "tools[0].function.name"),
        ({"tools": [tool("f" * 65)]}, "tools[0].function.name"),
        ({"tools": [tool(parameters="x")]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"type": "array"})]}, "tools[0].function.parameters.type"),
        ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name"),
        ({"tools": [tool(f"f{i}") for i in range(129)]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice.type"),
        ({"tool_choice": 3}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": tool("other")}, "tool_choice.function.name"),
        ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": [tool()], "parallel_tool_calls": 1}, "parallel_tool_calls"),
    ],
)
def test_tools_that_make_no_sense(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_a_string_may_hold_anything_json_can_say() -> None:
    text = 'quote " slash \\ null \0 emoji \U0001f600 <|im_end|>'
    call = parse(messages=[{"role": "user", "content": text}])
    assert call.requests[0].messages[0].parts == (TextPart(text),)


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        ([{"role": "user", "content": "a"}], {}),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], {}),
        ([{"role": "assistant", "content": "a"}], {"response_format": {"type": "json_object"}}),
    ],
)
def test_only_the_beginning_of_an_answer_goes_on(messages: list[dict[str, Any]], more: dict[str, Any]) -> None:
    body = {"model": "m", "messages": messages, "continue_final_message": True, **more}
    with pytest.raises(RequestError) as refused:
        parse_chat(json.dumps(body).encode(), "id")
    assert refused.value.param == "continue_final_message"


def test_an_answer_goes_on() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    body = {"model": "m", "messages": messages, "continue_final_message": True}
    (request,) = parse_chat(json.dumps(body).encode(), "id").requests
    assert request.continues


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "min_tokens"])
def test_numbers_beyond_any_context_are_refused_with_their_limit(name: str) -> None:
    assert refusal(**{name: 10**300}).message == f"'{name}' must be less than 2147483648."


def test_numbers_beyond_all_bounds_have_words_of_their_own() -> None:
    body = json.dumps({"model": "m", "messages": HELLO, "temperature": 0}).replace("0}", "1e400}")
    with pytest.raises(RequestError) as caught:
        parse_chat(body.encode(), "id")
    assert caught.value.message == "'temperature' must be a finite number."


def test_what_a_caller_made_up_is_repeated_without_its_control_characters() -> None:
    told = refusal(**{"a\nb\x1b[31m\u202e": 1}).to_openai()["error"]
    assert told["message"] == "Unknown field 'a\ufffdb\ufffd[31m\ufffd'."
    assert told["param"] == "a\ufffdb\ufffd[31m\ufffd"


def test_every_refusal_has_a_code() -> None:
    assert refusal(min_tokens=5, max_tokens=4).to_openai()["error"]["code"] == "invalid_value"


@pytest.mark.parametrize("entry", [b"[]", b"{}", b"1"])
def test_bodies_of_very_many_entries_are_not_parsed(entry: bytes) -> None:
    with pytest.raises(RequestError, match="more than 500,000 brackets and commas"):
        parse_chat(b'{"metadata": [' + (entry + b",") * 600_000 + b"1]}", "id")
