"""The body of POST /v1/messages, in Anthropic's form, becomes that of a chat completion; every field that is not
honoured is refused by name. Knows JSON, no sockets and no backend."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from saccade.errors import RequestError
from saccade.server.fields import Ignored, Neutral, without_idle_fields
from saccade.server.translate import Paths
from saccade.server.validate import Wire, validated

IGNORED: Ignored = (
    ("metadata", "labels for a hosted archive"),
    ("service_tier", "there is one tier"),
    ("inference_geo", "the model runs where the server is"),
    ("cache_control", "what can be reused is found without being told"),
)
"""Fields that cannot change an answer, and why: accepted with any value."""

NEUTRAL: Neutral = (
    ("container", ()),
    ("context_management", ()),
    ("mcp_servers", ([],)),
    ("speed", ("standard",)),
    ("diagnostics", ()),
    ("user_profile_id", ()),
    ("workspace_id", ()),
)
"""Fields that are not honoured: accepted as null or with a value that asks for nothing, refused with any other."""

ERROR = "Error: "
"""What the model sees before the result of a function that failed."""


def _as_texts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class _Block(Wire):
    cache_control: Any = None


class _Text(_Block):
    type: Literal["text"]
    text: str
    citations: Any = None


class _Base64(Wire):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str = Field(min_length=1)


class _Url(Wire):
    type: Literal["url"]
    url: str = Field(min_length=1)


class _Image(_Block):
    type: Literal["image"]
    source: Annotated[_Base64 | _Url, Field(discriminator="type")]


class _ToolUse(_Block):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    caller: Any = None


_Shown: TypeAlias = Annotated[_Text | _Image, Field(discriminator="type")]


class _ToolResult(_Block):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[list[_Shown], BeforeValidator(_as_texts, json_schema_input_type=str | list[_Shown])] = Field(
        default_factory=list
    )
    is_error: bool | None = None


class _Thinking(Wire):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


_AnyBlock: TypeAlias = Annotated[_Text | _Image | _ToolUse | _ToolResult | _Thinking, Field(discriminator="type")]
_Content: TypeAlias = Annotated[
    list[_AnyBlock], BeforeValidator(_as_texts, json_schema_input_type=str | list[_AnyBlock]), Field(min_length=1)
]
_System: TypeAlias = Annotated[list[_Text], BeforeValidator(_as_texts, json_schema_input_type=str | list[_Text])]


class _Message(Wire):
    role: Literal["user", "assistant"]
    content: _Content


class _Tool(Wire):
    type: Literal["custom"] | None = None
    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: Any = None


class _Choice(Wire):
    disable_parallel_tool_use: bool | None = None


class _Mode(_Choice):
    type: Literal["auto", "any"]


class _NoTool(Wire):
    type: Literal["none"]


class _OneTool(_Choice):
    type: Literal["tool"]
    name: str


class _Thinks(Wire):
    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1)


class _ThinksOrNot(Wire):
    type: Literal["disabled", "adaptive"]


class _JsonSchema(Wire):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class _Output(Wire):
    format: _JsonSchema | None = None


class CountBody(Wire):
    """The honoured fields of a conversation whose tokens are counted."""

    model: str = Field(description="The name that `GET /v1/models` gives; any other is a 404.")
    messages: list[_Message] = Field(min_length=1, description="The conversation; the last message is the user's.")
    system: _System | None = Field(None, description="What the model shall keep to: a text or a list of text blocks.")
    tools: list[_Tool] | None = Field(None, description="Functions the model may call.")
    tool_choice: Annotated[_Mode | _NoTool | _OneTool, Field(discriminator="type")] | None = Field(
        None, description="`auto`, `any`, `tool` with its `name`, or `none`; `disable_parallel_tool_use`."
    )
    thinking: Annotated[_Thinks | _ThinksOrNot, Field(discriminator="type")] | None = Field(
        None,
        description="`enabled` with `budget_tokens`: as `thinking_budget` of a chat completion. `adaptive` and "
        "`disabled` leave to the model what it was trained for.",
    )
    output_config: _Output | None = Field(None, description="`format`: a `json_schema` that the answer follows.")


class MessagesBody(CountBody):
    """The honoured fields."""

    max_tokens: int = Field(ge=1, description="Longest answer.")
    stream: bool | None = Field(None, description="Send the answer as server-sent events.")
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, max_length=16, description="Up to 16; the answer ends before the first that appears."
    )
    temperature: float | None = Field(None, ge=0, le=2, description="0: always the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1, description="As for a chat completion.")
    top_k: int | None = Field(None, ge=-1, description="As for a chat completion.")


NAMES = (
    ("stop", "stop_sequences"),
    ("response_format", "output_config.format"),
    ("thinking_budget", "thinking.budget_tokens"),
    ("max_completion_tokens", "max_tokens"),
)
ENDS = (
    (".image_url", ".source"),
    (".tool_call_id", ".tool_use_id"),
    (".function.parameters", ".input_schema"),
    (".function.", "."),
    (".json_schema", ""),
)
"""What a chat body calls otherwise, from its beginning or at its end."""


def to_chat(fields: dict[str, Any]) -> tuple[MessagesBody, dict[str, Any], Paths]:
    """The checked body, the body of a chat completion that asks the same, and where its fields came from. Raises
    RequestError."""
    body = validated(MessagesBody, without_idle_fields(fields, IGNORED, NEUTRAL))
    chat, paths = _conversation(body)
    chat |= {
        "stream": body.stream,
        "max_tokens": body.max_tokens,
        "stop": body.stop_sequences or None,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
    }
    return body, {name: value for name, value in chat.items() if value is not None}, paths


def to_count(fields: dict[str, Any]) -> tuple[CountBody, dict[str, Any], Paths]:
    """The same for a conversation whose tokens are counted."""
    body = validated(CountBody, without_idle_fields(fields, IGNORED, NEUTRAL))
    chat, paths = _conversation(body)
    return body, {name: value for name, value in chat.items() if value is not None}, paths


def _conversation(body: CountBody) -> tuple[dict[str, Any], Paths]:
    paths = Paths(ENDS)
    for name, origin in NAMES:
        paths.came(name, origin)
    choice = body.tool_choice
    budget = body.thinking.budget_tokens if isinstance(body.thinking, _Thinks) else None
    once = isinstance(choice, _Choice) and choice.disable_parallel_tool_use
    return {
        "model": body.model,
        "messages": _messages(body, paths),
        "tools": [_tool(tool) for tool in body.tools or ()] or None,
        "tool_choice": _choice(choice),
        "parallel_tool_calls": False if once else None,
        "thinking_budget": budget,
        "response_format": _format(body.output_config),
    }, paths


def _messages(body: CountBody, paths: Paths) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if body.system:
        paths.came("messages[0].content", "system")
        messages.append({"role": "system", "content": [_shown(block) for block in body.system]})
    for i, message in enumerate(body.messages):
        path = f"messages[{i}].content"
        blocks = [(f"{path}[{j}]", block) for j, block in enumerate(message.content)]
        if message.role == "assistant":
            _spoken(blocks, messages, paths)
        else:
            _heard(blocks, messages, paths)
    if body.messages[-1].role == "assistant":
        raise RequestError(
            "The last message must be the user's; an answer cannot be begun for the model.",
            param=f"messages[{len(body.messages) - 1}].role",
            code="unsupported_value",
        )
    return messages


def _heard(blocks: list[tuple[str, Any]], messages: list[dict[str, Any]], paths: Paths) -> None:
    """A turn of the user: results of functions are messages of their own."""
    content: list[dict[str, Any]] | None = None
    for path, block in blocks:
        if isinstance(block, _ToolResult):
            content = None
            place = f"messages[{len(messages)}]"
            paths.came(place, path)
            result = [_shown(one) for one in block.content]
            if block.is_error or not result:
                result.insert(0, {"type": "text", "text": ERROR if block.is_error else ""})
                for j in range(len(block.content)):
                    paths.came(f"{place}.content[{j + 1}]", f"{path}.content[{j}]")
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": result})
            continue
        if isinstance(block, _ToolUse | _Thinking):
            raise _misplaced(path, block.type, "user")
        if content is None:
            content = []
            messages.append({"role": "user", "content": content})
        paths.came(f"messages[{len(messages) - 1}].content[{len(content)}]", path)
        content.append(_shown(block))


def _spoken(blocks: list[tuple[str, Any]], messages: list[dict[str, Any]], paths: Paths) -> None:
    """A turn of the assistant."""
    spoken: dict[str, Any] = {"role": "assistant"}
    place = f"messages[{len(messages)}]"
    for path, block in blocks:
        match block:
            case _Text():
                content = spoken.setdefault("content", [])
                paths.came(f"{place}.content[{len(content)}]", path)
                content.append(_shown(block))
            case _Thinking(thinking=thought):
                spoken["reasoning_content"] = spoken.get("reasoning_content", "") + thought
            case _ToolUse(id=id, name=name, input=given):
                calls = spoken.setdefault("tool_calls", [])
                paths.came(f"{place}.tool_calls[{len(calls)}]", path)
                function = {"name": name, "arguments": json.dumps(given, ensure_ascii=False)}
                calls.append({"id": id, "type": "function", "function": function})
            case _:
                raise _misplaced(path, block.type, "assistant")
    messages.append(spoken)


def _misplaced(path: str, kind: str, role: str) -> RequestError:
    return RequestError(
        f"A block of type '{kind}' cannot be part of a message of role '{role}'.",
        param=f"{path}.type",
        code="invalid_value",
    )


def _shown(block: _Text | _Image) -> dict[str, Any]:
    if isinstance(block, _Text):
        return {"type": "text", "text": block.text}
    source = block.source
    url = source.url if isinstance(source, _Url) else f"data:{source.media_type};base64,{source.data}"
    return {"type": "image_url", "image_url": url}


def _tool(tool: _Tool) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.input_schema}
    more = {"description": tool.description, "strict": tool.strict}
    return {"type": "function", "function": {**function, **{k: v for k, v in more.items() if v is not None}}}


def _choice(choice: _Mode | _NoTool | _OneTool | None) -> Any:
    match choice:
        case _OneTool(name=name):
            return {"type": "function", "function": {"name": name}}
        case _Mode(type="any"):
            return "required"
    return choice and choice.type


def _format(output: _Output | None) -> dict[str, Any] | None:
    if output is None or output.format is None:
        return None
    schema = {"name": "answer", "schema": output.format.schema_, "strict": True}
    return {"type": "json_schema", "json_schema": schema}
