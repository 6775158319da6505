"""The body of a chat completion becomes a Request, that of /tokenize a Request or a text; every field that is not
honoured is refused by name. Knows JSON and types, no sockets and no backend."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from saccade.errors import RequestError
from saccade.server.fields import without_idle_fields
from saccade.server.validate import json_object, validated
from saccade.types import MediaPart, MediaRef, Message, Part, Request, Role, SamplingParams, TextPart

LOW_DETAIL_PIXELS = 512 * 512
"""What `detail: "low"` means: the pixel budget of a 512 x 512 picture."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _as_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# --- messages --------------------------------------------------------------------------------------------------------


class _Pixels(_Wire):
    url: str = Field(min_length=1)
    min_pixels: int | None = Field(None, ge=1)
    max_pixels: int | None = Field(None, ge=1)


class _ImageUrl(_Pixels):
    detail: Literal["auto", "low", "high", "original"] | None = None


class _VideoUrl(_Pixels):
    fps: float | None = Field(None, gt=0)
    num_frames: int | None = Field(None, ge=1)


class _TextPart(_Wire):
    type: Literal["text"]
    text: str


class _ImagePart(_Wire):
    type: Literal["image_url"]
    image_url: Annotated[_ImageUrl, BeforeValidator(_as_url)]


class _VideoPart(_Wire):
    type: Literal["video_url"]
    video_url: Annotated[_VideoUrl, BeforeValidator(_as_url)]


_Part: TypeAlias = Annotated[_TextPart | _ImagePart | _VideoPart, Field(discriminator="type")]
_Parts: TypeAlias = Annotated[list[_Part], BeforeValidator(_as_parts), Field(min_length=1)]


class _Function(_Wire):
    name: str
    arguments: str


class _ToolCall(_Wire):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(_Wire):
    name: str | None = None


class _SystemMessage(_Message):
    role: Literal["system", "developer"]
    content: _Parts


class _UserMessage(_Message):
    role: Literal["user"]
    content: _Parts


class _AssistantMessage(_Message):
    """An earlier answer; the fields without a meaning here are those that clients send back as they got them."""

    role: Literal["assistant"]
    content: _Parts | None = None
    tool_calls: list[_ToolCall] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = None


class _ToolMessage(_Message):
    role: Literal["tool"]
    content: _Parts
    tool_call_id: str


_AnyMessage: TypeAlias = Annotated[
    _SystemMessage | _UserMessage | _AssistantMessage | _ToolMessage, Field(discriminator="role")
]


# --- the body --------------------------------------------------------------------------------------------------------


class _StreamOptions(_Wire):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class ChatBody(_Wire):
    """The honoured fields."""

    model: str = Field(description="The name that `GET /v1/models` gives; any other is a 404.")
    messages: list[_AnyMessage] = Field(min_length=1, description="The conversation; see below.")
    stream: bool | None = Field(None, description="Send the answer as server-sent events.")
    stream_options: _StreamOptions | None = Field(
        None, description="`include_usage`: one more chunk with the token counts. Only with `stream`."
    )
    max_tokens: int | None = Field(None, ge=1, description="Longest answer; unset: until the context is full.")
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of `max_tokens`.")
    min_tokens: int | None = Field(None, ge=0, description="The answer does not end before.")
    ignore_eos: bool | None = Field(None, description="The answer does not end by itself.")
    temperature: float | None = Field(None, ge=0, le=2, description="0: always the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1, description="Sample from the likeliest tokens up to this mass.")
    top_k: int | None = Field(None, ge=-1, description="Sample from this many tokens; 0 or -1: from all.")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Leave out what is less likely than this times the likeliest."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="-2 to 2, taken from the logit of every token that the answer has."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="The same, once for each time that the answer has it."
    )
    repetition_penalty: float | None = Field(
        None, ge=0.1, le=10, description="0.1 to 10; above 1, tokens of the prompt and the answer are less likely."
    )
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None,
        max_length=1024,
        description="Up to 1,024 token ids, as strings, and what is added to their logits: -100 to 100.",
    )
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="Equal seeds give equal answers.")
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_listed)] = Field(
        None, max_length=16, description="A string or up to 16; the answer ends before the first that appears."
    )
    logprobs: bool | None = Field(None, description="Tell the log probability of each token.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="And of this many alternatives. Only with `logprobs`."
    )


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A checked request and how its answer shall be sent."""

    request: Request
    stream: bool
    include_usage: bool


def parse_chat(body: bytes, request_id: str) -> ChatCall:
    """The body of POST /v1/chat/completions. Raises RequestError whose `param` is the path of the field at fault."""
    chat = validated(ChatBody, without_idle_fields(json_object(body)))
    request = Request(request_id, chat.model, _messages(chat.messages), _sampling(chat))
    options = chat.stream_options
    if options and not chat.stream:
        raise RequestError("'stream_options' is only possible with 'stream'.", param="stream_options")
    return ChatCall(request, bool(chat.stream), bool(options and options.include_usage))


class TokenizeBody(_Wire):
    """The honoured fields."""

    model: str | None = Field(None, description="As for a chat completion; unset: the one that is served.")
    prompt: str | None = Field(None, description="A text, taken as it is; it can never become a special token.")
    messages: list[_AnyMessage] | None = Field(
        None, min_length=1, description="Or a conversation, as for a chat completion, up to where the answer begins."
    )
    add_special_tokens: bool | None = Field(
        None, description="Accepted for vLLM's clients; tokenizers of this family put none around a text."
    )


@dataclass(frozen=True, slots=True)
class TokenizeCall:
    """A checked text or conversation whose tokens are wanted; `model` None: of the model that is served."""

    model: str | None
    asked: Request | str


def parse_tokenize(body: bytes) -> TokenizeCall:
    """The body of POST /tokenize. Raises RequestError as `parse_chat` does."""
    fields = validated(TokenizeBody, json_object(body))
    if (fields.prompt is None) == (fields.messages is None):
        raise RequestError("Exactly one of 'prompt' and 'messages' is needed.", param="prompt")
    if fields.messages is None:
        assert fields.prompt is not None, "one of them is there"
        return TokenizeCall(fields.model, fields.prompt)
    request = Request("tokenize", fields.model or "", _messages(fields.messages), SamplingParams())
    return TokenizeCall(fields.model, request)


# --- conversion ------------------------------------------------------------------------------------------------------


def _messages(messages: Iterable[_AnyMessage]) -> tuple[Message, ...]:
    return tuple(_message(f"messages[{i}]", message) for i, message in enumerate(messages))


def _message(path: str, message: _AnyMessage) -> Message:
    parts = tuple(_part(f"{path}.content[{i}]", part) for i, part in enumerate(message.content or ()))
    role: Role = "system" if message.role == "developer" else message.role
    if role == "system" and path != "messages[0]":
        # Qwen's chat template reads no other; it would leave this one out without a word.
        raise RequestError(
            "A system message is only possible as the first.", param=f"{path}.role", code="invalid_value"
        )
    if role in ("system", "assistant"):
        for i, part in enumerate(parts):
            if isinstance(part, MediaPart):
                raise RequestError(
                    f"A {part.media.kind} cannot be part of a message of role '{message.role}'.",
                    param=f"{path}.content[{i}].type",
                    code="invalid_value",
                    hint="Put it in a user or tool message.",
                )
    if isinstance(message, _AssistantMessage):
        if message.content is None and not message.tool_calls:
            raise RequestError(
                f"Missing required field '{path}.content'.", param=f"{path}.content", code="missing_required_parameter"
            )
        calls = tuple(call.model_dump() for call in message.tool_calls or ())
        reasoning = message.reasoning_content or message.reasoning
        return Message(role, parts, tool_calls=calls, name=message.name, reasoning=reasoning)
    if isinstance(message, _ToolMessage):
        return Message(role, parts, tool_call_id=message.tool_call_id, name=message.name)
    return Message(role, parts, name=message.name)


def _part(path: str, part: _Part) -> Part:
    if isinstance(part, _TextPart):
        return TextPart(part.text)
    if isinstance(part, _ImagePart):
        image, param = part.image_url, f"{path}.image_url"
        max_pixels = image.max_pixels
        if image.detail == "low":
            max_pixels = min(max_pixels or LOW_DETAIL_PIXELS, LOW_DETAIL_PIXELS)
        _check_pixels(param, image)
        return MediaPart(MediaRef("image", param, image.url, min_pixels=image.min_pixels, max_pixels=max_pixels))
    video, param = part.video_url, f"{path}.video_url"
    _check_pixels(param, video)
    if video.fps is not None and video.num_frames is not None:
        raise RequestError("'fps' and 'num_frames' exclude each other.", param=f"{param}.num_frames")
    return MediaPart(
        MediaRef(
            "video",
            param,
            video.url,
            min_pixels=video.min_pixels,
            max_pixels=video.max_pixels,
            fps=video.fps,
            num_frames=video.num_frames,
        )
    )


def _check_pixels(param: str, wanted: _Pixels) -> None:
    if wanted.min_pixels and wanted.max_pixels and wanted.min_pixels > wanted.max_pixels:
        raise RequestError("'min_pixels' is greater than 'max_pixels'.", param=f"{param}.min_pixels")


def _sampling(chat: ChatBody) -> SamplingParams:
    limits = {limit for limit in (chat.max_tokens, chat.max_completion_tokens) if limit is not None}
    if len(limits) == 2:
        raise RequestError("'max_tokens' and 'max_completion_tokens' contradict each other.", param="max_tokens")
    if limits and (chat.min_tokens or 0) > min(limits):
        raise RequestError("'min_tokens' is greater than 'max_tokens'.", param="min_tokens")
    if chat.top_logprobs is not None and not chat.logprobs:
        raise RequestError("'top_logprobs' is only possible with 'logprobs'.", param="top_logprobs")
    return SamplingParams(
        temperature=chat.temperature,
        top_k=None if chat.top_k is None else max(chat.top_k, 0),
        top_p=chat.top_p,
        min_p=chat.min_p,
        repetition_penalty=chat.repetition_penalty,
        presence_penalty=chat.presence_penalty or 0.0,
        frequency_penalty=chat.frequency_penalty or 0.0,
        logit_bias=tuple((_token(key), bias) for key, bias in (chat.logit_bias or {}).items()),
        seed=chat.seed,
        max_tokens=min(limits, default=None),
        min_tokens=chat.min_tokens or 0,
        ignore_eos=bool(chat.ignore_eos),
        stop=tuple(chat.stop or ()),
        logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
    )


def _token(key: str) -> int:
    """A key of logit_bias."""
    if not re.fullmatch("0|[1-9][0-9]{0,9}", key):
        raise RequestError("The keys of 'logit_bias' must be token ids.", param="logit_bias", code="invalid_value")
    return int(key)
