"""The body of POST /v1/responses becomes that of a chat completion; every field that is not honoured is refused by
name. Knows JSON, no sockets and no backend."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from saccade.errors import RequestError
from saccade.server.fields import Ignored, Neutral, without_idle_fields
from saccade.server.translate import Paths
from saccade.server.validate import OnlyFalse, Wire, validated

IGNORED: Ignored = (
    ("user", "names the caller's customer"),
    ("safety_identifier", "the same, by its newer name"),
    ("service_tier", "there is one tier"),
    ("prompt_cache_key", "a hint for a hosted cache"),
    ("prompt_cache_retention", "a hint for a hosted cache"),
    ("prompt_cache_options", "a hint for a hosted cache"),
)
"""Fields that cannot change an answer, and why: accepted with any value."""

NEUTRAL: Neutral = (
    ("store", (False,)),
    ("previous_response_id", ()),
    ("conversation", ()),
    ("prompt", ()),
    ("background", (False,)),
    ("background_options", ()),
    ("truncation", ("disabled",)),
    ("max_tool_calls", ()),
    ("context_management", ([],)),
    ("access_programs", ()),
    ("moderation", ()),
    ("image", ()),
)
"""Fields that are not honoured: accepted as null or with a value that asks for nothing, refused with any other."""

PASSED = (
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "stop",
    "min_tokens",
    "ignore_eos",
)
"""Fields of a chat completion that mean the same here, and that OpenAI's interface has not."""


def _as_texts(value: object) -> object:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


def _as_messages(value: object) -> object:
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else value


def _typed(value: object) -> object:
    """A message need not say that it is one."""
    return {"type": "message", **value} if isinstance(value, dict) and "type" not in value else value


def _as_tool(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class _InputText(Wire):
    type: Literal["input_text", "text"]
    text: str
    prompt_cache_breakpoint: Any = None


class _OutputText(Wire):
    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class _Refusal(Wire):
    type: Literal["refusal"]
    refusal: str


class _InputImage(Wire):
    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None
    prompt_cache_breakpoint: Any = None


class _InputVideo(Wire):
    """Not OpenAI's: a video file, as in a chat completion."""

    type: Literal["input_video"]
    video_url: str = Field(min_length=1)
    fps: float | None = Field(None, gt=0)
    num_frames: int | None = Field(None, ge=1)


_Part: TypeAlias = Annotated[
    _InputText | _OutputText | _Refusal | _InputImage | _InputVideo, Field(discriminator="type")
]
_Parts: TypeAlias = Annotated[
    list[_Part], BeforeValidator(_as_texts, json_schema_input_type=str | list[_Part]), Field(min_length=1)
]
_Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class _Message(Wire):
    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer", "assistant"]
    content: _Parts
    id: str | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class _FunctionCall(Wire):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: _Status | None = None


class _FunctionCallOutput(Wire):
    type: Literal["function_call_output"]
    call_id: str
    output: _Parts
    id: str | None = None
    status: _Status | None = None


class _Thought(Wire):
    type: Literal["reasoning_text", "summary_text"]
    text: str


class _Reasoning(Wire):
    type: Literal["reasoning"]
    id: str | None = None
    summary: list[_Thought] = Field(default_factory=list)
    content: list[_Thought] | None = None
    encrypted_content: None = None
    status: _Status | None = None


_AnyItem: TypeAlias = Annotated[
    _Message | _FunctionCall | _FunctionCallOutput | _Reasoning, Field(discriminator="type")
]
_Item: TypeAlias = Annotated[_AnyItem, BeforeValidator(_typed, json_schema_input_type=_AnyItem)]


class _Function(Wire):
    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Mode(Wire):
    type: Literal["none", "auto", "required"]


class _Named(Wire):
    type: Literal["function"]
    name: str


_Choice: TypeAlias = Annotated[_Mode | _Named, Field(discriminator="type")]


class _PlainText(Wire):
    type: Literal["text"]


class _JsonObject(Wire):
    type: Literal["json_object"]


class _JsonSchema(Wire):
    type: Literal["json_schema"]
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class _Text(Wire):
    format: Annotated[_PlainText | _JsonObject | _JsonSchema, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class _Effort(Wire):
    effort: str | None = None
    summary: None = None
    generate_summary: None = None


class _StreamOptions(Wire):
    include_obfuscation: OnlyFalse | None = None


_Choices: TypeAlias = Literal["none", "auto", "required"] | _Named


class ResponsesBody(Wire):
    """The honoured fields."""

    model: str | None = Field(None, description="As for a chat completion; unset: the one that is served.")
    input: Annotated[
        list[_Item], BeforeValidator(_as_messages, json_schema_input_type=str | list[_Item]), Field(min_length=1)
    ] = Field(description="A text, or a list of messages, function calls, their outputs and reasoning.")
    instructions: str | None = Field(None, description="A system message before the input.")
    stream: bool | None = Field(None, description="Send the response as server-sent events.")
    stream_options: _StreamOptions | None = Field(None, description="Only `include_obfuscation: false`.")
    max_output_tokens: int | None = Field(None, ge=1, description="As `max_tokens` of a chat completion.")
    temperature: float | None = Field(None, ge=0, le=2, description="As there.")
    top_p: float | None = Field(None, gt=0, le=1, description="As there.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="Alternatives of each token; needs `include` of `message.output_text.logprobs`."
    )
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = Field(
        None,
        description="`message.output_text.logprobs`. `reasoning.encrypted_content` adds nothing: reasoning is told "
        "in the clear.",
    )
    tools: list[_Function] | None = Field(None, description="Functions the model may call.")
    tool_choice: Annotated[_Choice, BeforeValidator(_as_tool, json_schema_input_type=_Choices)] | None = Field(
        None, description='`"none"`, `"auto"`, `"required"` or `{"type": "function", "name": "..."}`.'
    )
    parallel_tool_calls: bool | None = Field(None, description="As for a chat completion.")
    text: _Text | None = Field(None, description="`format`: as `response_format` of a chat completion.")
    reasoning: _Effort | None = Field(None, description="`effort`: as `reasoning_effort` of a chat completion.")
    metadata: dict[str, str] | None = Field(None, description="Repeated in the response.")


def to_chat(fields: dict[str, Any]) -> tuple[ResponsesBody, dict[str, Any], Paths]:
    """The checked body, the body of a chat completion that asks the same, and where its fields came from. Raises
    RequestError."""
    fields = without_idle_fields(fields, IGNORED, NEUTRAL)
    passed = {name: fields.pop(name) for name in PASSED if name in fields}
    body = validated(ResponsesBody, fields)
    paths = Paths(ENDS)
    for name, origin in NAMES:
        paths.came(name, origin)
    chat = passed | {
        "messages": _messages(body, paths),
        "stream": body.stream,
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "tools": [_tool(tool) for tool in body.tools or ()] or None,
        "tool_choice": _choice(body.tool_choice),
        "parallel_tool_calls": body.parallel_tool_calls,
        "response_format": _format(body.text),
        "reasoning_effort": body.reasoning and body.reasoning.effort,
    }
    if "message.output_text.logprobs" in (body.include or ()):
        chat |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    elif body.top_logprobs:
        raise RequestError(
            "'top_logprobs' is only possible with 'message.output_text.logprobs' in 'include'.", param="top_logprobs"
        )
    return body, {name: value for name, value in chat.items() if value is not None}, paths


NAMES = (
    ("messages", "input"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
)
ENDS = (
    (".image_url.url", ".image_url"),
    (".video_url.url", ".video_url"),
    (".tool_call_id", ".call_id"),
    (".function.", "."),
    (".json_schema", ""),
)
"""What a chat body calls otherwise, from its beginning or at its end."""


def _messages(body: ResponsesBody, paths: Paths) -> list[dict[str, Any]]:
    """One message of an assistant for what one answer said, thought and called."""
    messages: list[dict[str, Any]] = []
    if body.instructions is not None:
        paths.came("messages[0].content", "instructions")
        messages.append({"role": "system", "content": body.instructions})
    for i, item in enumerate(body.input):
        path = f"input[{i}]"
        spoken = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
        if isinstance(item, _Message) and item.role == "assistant":
            if spoken is None or "content" in spoken or "tool_calls" in spoken:
                messages.append(spoken := {"role": "assistant"})
            spoken["content"] = [_part(part) for part in item.content]
            paths.came(f"messages[{len(messages) - 1}].content", f"{path}.content")
        elif isinstance(item, _Reasoning):
            thought = "".join(piece.text for piece in item.content or item.summary)
            messages.append({"role": "assistant", "reasoning_content": thought})
            paths.came(f"messages[{len(messages) - 1}]", path)
        elif isinstance(item, _FunctionCall):
            if spoken is None:
                messages.append(spoken := {"role": "assistant"})
                paths.came(f"messages[{len(messages) - 1}]", path)
            calls = spoken.setdefault("tool_calls", [])
            paths.came(f"messages[{len(messages) - 1}].tool_calls[{len(calls)}]", path)
            function = {"name": item.name, "arguments": item.arguments}
            calls.append({"id": item.call_id, "type": "function", "function": function})
        else:
            origin = "output" if isinstance(item, _FunctionCallOutput) else "content"
            paths.came(f"messages[{len(messages)}]", path)
            paths.came(f"messages[{len(messages)}].content", f"{path}.{origin}")
            if isinstance(item, _FunctionCallOutput):
                content = [_part(part) for part in item.output]
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
            else:
                messages.append({"role": item.role, "content": [_part(part) for part in item.content]})
    return messages


def _part(part: _Part) -> dict[str, Any]:
    match part:
        case _InputImage(image_url=url, detail=detail):
            return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
        case _InputVideo(video_url=url, fps=fps, num_frames=num):
            wishes = {"fps": fps, "num_frames": num}
            return {"type": "video_url", "video_url": {"url": url, **{k: v for k, v in wishes.items() if v}}}
        case _Refusal(refusal=text):
            return {"type": "text", "text": text}
    return {"type": "text", "text": part.text}


def _tool(tool: _Function) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _choice(choice: _Mode | _Named | None) -> Any:
    if isinstance(choice, _Named):
        return {"type": "function", "function": {"name": choice.name}}
    return choice and choice.type


def _format(text: _Text | None) -> dict[str, Any] | None:
    if text is None or text.format is None:
        return None
    if isinstance(text.format, _JsonSchema):
        schema = text.format.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)
        return {"type": "json_schema", "json_schema": schema}
    return {"type": text.format.type}
