"""The body of a chat completion becomes a Request, that of /tokenize a Request or a text; every field that is not
honoured is refused by name. Knows JSON and types, no sockets and no backend."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from saccade.errors import RequestError
from saccade.server.calls import check_results
from saccade.server.fields import without_idle_fields
from saccade.server.formats import FormatWire, grammar_of
from saccade.server.messages import AnyMessage, conversation
from saccade.server.tools import MAX_TOOLS, ToolChoiceWire, ToolWire, tools_of
from saccade.server.validate import OnlyFalse, Wire, json_object, validated
from saccade.types import Request, SamplingParams, TextPart

MAX_CHOICES = 16


def _as_unit(value: object) -> object:
    return {"unit": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


# --- the body --------------------------------------------------------------------------------------------------------


_Stop: TypeAlias = Annotated[str, Field(min_length=1)]


class _StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: OnlyFalse | None = None


_Unit: TypeAlias = Literal["relative", "pixel"]


class _Coordinates(Wire):
    """`picture`: of which picture or video, counted from 0 through all messages; needed where there are several."""

    unit: _Unit
    picture: int | None = Field(None, ge=0)


class ChatBody(Wire):
    """The honoured fields."""

    model: str = Field(description="The name that `GET /v1/models` gives; any other is a 404.")
    messages: list[AnyMessage] = Field(min_length=1, description="The conversation; see below.")
    stream: bool | None = Field(None, description="Send the answer as server-sent events.")
    stream_options: _StreamOptions | None = Field(
        None, description="`include_usage`: one more chunk with the token counts. Only with `stream`."
    )
    max_tokens: int | None = Field(
        None, ge=1, lt=2**31, description="Longest answer; unset: until the context is full."
    )
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31, description="The newer name of `max_tokens`.")
    min_tokens: int | None = Field(None, ge=0, lt=2**31, description="The answer does not end before.")
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
    stop: Annotated[list[_Stop] | None, BeforeValidator(_listed, json_schema_input_type=_Stop | list[_Stop] | None)] = (
        Field(None, max_length=16, description="A string or up to 16; the answer ends before the first that appears.")
    )
    logprobs: bool | None = Field(None, description="Tell the log probability of each token.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="And of this many alternatives. Only with `logprobs`."
    )
    n: int | None = Field(
        None,
        ge=1,
        le=MAX_CHOICES,
        description=f"1 to {MAX_CHOICES} answers, made at the same time; the seed of answer i is `seed` + i.",
    )
    tools: list[ToolWire] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions that the model may call; see below."
    )
    tool_choice: ToolChoiceWire | None = Field(
        None,
        description="`auto`; `none`: the model is told of no function; `required`: the answer is a call; a function by "
        "name, or `allowed_tools`.",
    )
    coordinates: (
        Annotated[_Coordinates, BeforeValidator(_as_unit, json_schema_input_type=_Unit | _Coordinates)] | None
    ) = Field(
        None,
        description="`pixel`: places in the answer are in pixels; see below. `relative`: from 0 to 1000, as the model "
        "tells them.",
    )
    parallel_tool_calls: bool | None = Field(None, description="`false`: the answer ends after its first call.")
    response_format: FormatWire | None = Field(
        None, description="What the answer must be: JSON, JSON of a schema, or a text of a grammar; see below."
    )
    thinking_budget: int | None = Field(
        None,
        ge=0,
        description="Of a model that thinks: after this many tokens its thoughts are closed and it answers. Less where "
        "`max_tokens` would leave no room for the answer.",
    )
    continue_final_message: bool | None = Field(
        None,
        description="The last message is the beginning of the assistant's answer; what comes goes on with it.",
    )
    repetition_guard: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="The answer ends when it says the same line or box, or the same few in turn, this many times in a "
        "row.",
    )


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A checked request and how its answer shall be sent."""

    requests: tuple[Request, ...]
    """One for each answer that is wanted; they differ in their ids and seeds."""
    stream: bool
    include_usage: bool


def parse_chat(body: bytes, request_id: str) -> ChatCall:
    """The body of POST /v1/chat/completions. Raises RequestError whose `param` is the path of the field at fault."""
    return chat_call(json_object(body), request_id)


def chat_call(fields: dict[str, Any], request_id: str, *, in_turn: bool = True) -> ChatCall:
    """The fields of such a body; `in_turn` as in `check_results`. Raises RequestError."""
    chat = validated(ChatBody, without_idle_fields(fields))
    check_results(chat.messages, in_turn=in_turn)
    tools, choice = tools_of(chat.tools, chat.tool_choice, parallel=chat.parallel_tool_calls is not False)
    request = Request(request_id, chat.model, conversation(chat.messages), _sampling(chat), tools, choice)
    request = replace(request, pixels_of=_pixels_of(chat.coordinates, len(request.media)))
    if chat.continue_final_message:
        request = _continued(request, chat)
    options = chat.stream_options
    if options and not chat.stream:
        raise RequestError("'stream_options' is only possible with 'stream'.", param="stream_options")
    return ChatCall(_times(request, chat.n or 1), bool(chat.stream), bool(options and options.include_usage))


class TokenizeBody(Wire):
    """The honoured fields."""

    model: str | None = Field(None, description="As for a chat completion; unset: the one that is served.")
    prompt: str | None = Field(None, description="A text, taken as it is; it can never become a special token.")
    messages: list[AnyMessage] | None = Field(
        None, min_length=1, description="Or a conversation, as for a chat completion, up to where the answer begins."
    )
    tools: list[ToolWire] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions that the model is told of. Only with `messages`."
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
        if fields.tools:
            raise RequestError("'tools' are only possible with 'messages'.", param="tools", code="invalid_value")
        return TokenizeCall(fields.model, fields.prompt)
    tools, _ = tools_of(fields.tools, None, parallel=True)
    request = Request("tokenize", fields.model or "", conversation(fields.messages), SamplingParams(), tools)
    return TokenizeCall(fields.model, request)


# --- conversion ------------------------------------------------------------------------------------------------------


def _continued(request: Request, chat: ChatBody) -> Request:
    """The same, going on with its last message. Raises RequestError where that is no beginning of an answer."""
    last = request.messages[-1]
    if last.role != "assistant" or last.tool_calls or not any(isinstance(p, TextPart) and p.text for p in last.parts):
        raise RequestError(
            "'continue_final_message' needs a last message of the assistant, with text and without calls.",
            param="continue_final_message",
            code="invalid_value",
        )
    if chat.response_format and chat.response_format.type != "text":
        raise RequestError(
            "'continue_final_message' does not go together with 'response_format': the form is that of a whole answer.",
            param="continue_final_message",
            code="invalid_value",
        )
    return replace(request, continues=True)


def _pixels_of(wanted: _Coordinates | None, num_media: int) -> int | None:
    """The picture whose pixels places are told in. Raises RequestError when it is not clear which one that is."""
    if wanted is None or wanted.unit == "relative":
        return None
    if wanted.picture is None and num_media != 1:
        raise RequestError(
            f"'coordinates' in pixels need one picture; this request has {num_media}.",
            param="coordinates",
            code="invalid_value",
            hint='With several, name one: {"unit": "pixel", "picture": 0} is the first.',
        )
    picture = wanted.picture or 0
    if picture >= num_media:
        raise RequestError(
            f"'coordinates.picture' is {picture}; this request has {num_media}, counted from 0.",
            param="coordinates.picture",
            code="invalid_value",
        )
    return picture


def _times(request: Request, num: int) -> tuple[Request, ...]:
    """`num` requests for answers to the same prompt."""
    if num == 1:
        return (request,)
    seed = request.sampling.seed
    seeds = [None if seed is None else (seed + i + 2**63) % 2**64 - 2**63 for i in range(num)]
    return tuple(
        replace(request, id=f"{request.id}-{i}", sampling=replace(request.sampling, seed=seed))
        for i, seed in enumerate(seeds)
    )


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
        grammar=grammar_of(chat.response_format),
        thinking_budget=chat.thinking_budget,
        repetition_guard=chat.repetition_guard,
    )


def _token(key: str) -> int:
    """A key of logit_bias."""
    if not re.fullmatch("0|[1-9][0-9]{0,9}", key):
        raise RequestError("The keys of 'logit_bias' must be token ids.", param="logit_bias", code="invalid_value")
    return int(key)
