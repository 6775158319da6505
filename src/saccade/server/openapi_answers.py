"""What the server answers, as JSON schemas for the OpenAPI document. Answers may get more fields; those that are here
stay."""

from __future__ import annotations

from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
ANY: Schema = {}


def _object(**properties: Schema) -> Schema:
    """All of them are there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*values: str | None) -> Schema:
    return {"enum": list(values)}


_TIMINGS = _or_null({"type": "object", "additionalProperties": ANY})
_LOGPROB = _object(token=TEXT, logprob=NUMBER, bytes=_list(COUNT))
_LOGPROBS = _list(_object(**_LOGPROB["properties"], top_logprobs=_list(_LOGPROB)))

_ERROR = _object(
    error={
        **_object(message={"type": "string", "maxLength": 400}, type=TEXT, param=_or_null(TEXT), code=_or_null(TEXT)),
        "additionalProperties": False,
    }
)
_MESSAGE_ERROR = _object(
    type=_one_of("error"),
    error=_object(message={"type": "string", "maxLength": 400}, type=TEXT, param=_or_null(TEXT), code=_or_null(TEXT)),
    request_id=_or_null(TEXT),
)

# --- chat completions ------------------------------------------------------------------------------------------------

_CALL = _object(id=TEXT, type=_one_of("function"), function=_object(name=TEXT, arguments=TEXT))
_CHAT_MESSAGE = _object(role=_one_of("assistant"), content=_or_null(TEXT), refusal=_or_null(TEXT))
_CHAT_MESSAGE["properties"] |= {
    "tool_calls": _list(_CALL),
    "reasoning": _or_null(TEXT),
    "reasoning_content": _or_null(TEXT),
}
_CHOICE = _object(
    index=COUNT,
    message=_CHAT_MESSAGE,
    logprobs=_or_null(_object(content=_LOGPROBS)),
    finish_reason=_one_of("stop", "length", "tool_calls"),
)
_CHAT_USAGE = _object(
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    prompt_tokens_details=_object(cached_tokens=COUNT, image_tokens=COUNT, video_tokens=COUNT, text_tokens=COUNT),
    completion_tokens_details=_object(reasoning_tokens=COUNT),
)
_CHAT = _object(
    id=TEXT,
    object=_one_of("chat.completion"),
    created=COUNT,
    model=TEXT,
    choices={**_list(_CHOICE), "minItems": 1},
    usage=_CHAT_USAGE,
    timings=_TIMINGS,
)

# --- responses -------------------------------------------------------------------------------------------------------

_STATUS = _one_of("completed", "incomplete")
_OUTPUT = _object(
    type=_one_of("output_text"), text=TEXT, annotations={"type": "array", "maxItems": 0}, logprobs=_LOGPROBS
)
_ITEMS: Schema = {
    "oneOf": [
        _object(type=_one_of("message"), id=TEXT, status=_STATUS, role=_one_of("assistant"), content=_list(_OUTPUT)),
        _object(
            type=_one_of("reasoning"),
            id=TEXT,
            status=_STATUS,
            summary={"type": "array", "maxItems": 0},
            content=_list(_object(type=_one_of("reasoning_text"), text=TEXT)),
        ),
        _object(type=_one_of("function_call"), id=TEXT, status=_STATUS, call_id=TEXT, name=TEXT, arguments=TEXT),
    ]
}
_RESPONSE = _object(
    id=TEXT,
    object=_one_of("response"),
    created_at=COUNT,
    completed_at=_or_null(COUNT),
    model=TEXT,
    status=_STATUS,
    error={"type": "null"},
    incomplete_details=_or_null(_object(reason=_one_of("max_output_tokens"))),
    output=_list(_ITEMS),
    usage=_object(
        input_tokens=COUNT,
        input_tokens_details=_object(cached_tokens=COUNT, image_tokens=COUNT, video_tokens=COUNT),
        output_tokens=COUNT,
        output_tokens_details=_object(reasoning_tokens=COUNT),
        total_tokens=COUNT,
    ),
    store={"enum": [False]},
    previous_response_id={"type": "null"},
    tools=_list({"type": "object"}),
    tool_choice=ANY,
    parallel_tool_calls={"type": "boolean"},
    instructions=_or_null(TEXT),
    metadata={"type": "object"},
    temperature=_or_null(NUMBER),
    top_p=_or_null(NUMBER),
    timings=_TIMINGS,
)

# --- messages --------------------------------------------------------------------------------------------------------

_BLOCKS: Schema = {
    "oneOf": [
        _object(type=_one_of("text"), text=TEXT),
        _object(type=_one_of("thinking"), thinking=TEXT, signature=TEXT),
        _object(type=_one_of("tool_use"), id=TEXT, name=TEXT, input={"type": "object"}),
    ]
}
_MESSAGE = _object(
    id=TEXT,
    type=_one_of("message"),
    role=_one_of("assistant"),
    model=TEXT,
    content=_list(_BLOCKS),
    stop_reason=_one_of("end_turn", "max_tokens", "stop_sequence", "tool_use"),
    stop_sequence=_or_null(TEXT),
    usage=_object(
        input_tokens=COUNT, cache_creation_input_tokens=COUNT, cache_read_input_tokens=COUNT, output_tokens=COUNT
    ),
    timings=_TIMINGS,
)

# --- the rest --------------------------------------------------------------------------------------------------------

_MODEL = _object(
    id=TEXT,
    object=_one_of("model"),
    created=COUNT,
    owned_by=TEXT,
    max_model_len=_or_null(COUNT),
    facts={"type": "object", "additionalProperties": TEXT},
)

SCHEMAS: dict[str, Schema] = {
    "Error": _ERROR,
    "MessageError": _MESSAGE_ERROR,
    "ChatCompletion": _CHAT,
    "Response": _RESPONSE,
    "Message": _MESSAGE,
    "MessageTokens": _object(input_tokens=COUNT),
    "Tokens": _object(count=COUNT, max_model_len=COUNT, tokens=_list(COUNT)),
    "Media": _object(
        id={"type": "string", "pattern": "^media:[0-9a-f]{64}$"},
        object=_one_of("media"),
        kind=_one_of("image", "video", "pdf"),
        bytes=COUNT,
        width=COUNT,
        height=COUNT,
        tokens=COUNT,
    ),
    "MediaAddress": {**_object(url={"type": "string", "minLength": 1}), "additionalProperties": False},
    "Model": _MODEL,
    "Models": _object(object=_one_of("list"), data={**_list(_MODEL), "minItems": 1, "maxItems": 1}),
    "Alive": _object(status=_one_of("alive")),
    "Cancelled": _object(id=TEXT, status=_one_of("cancelled", "completed")),
    "Ready": _object(status=_one_of("ready"), model=TEXT),
    "Document": _object(openapi=TEXT, info=ANY, paths=ANY),
}
