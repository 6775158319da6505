"""The messages of a conversation as clients send them become Messages; knows JSON and types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from saccade.errors import RequestError
from saccade.server.parts import Content, SpokenContent, part_of
from saccade.server.validate import Wire
from saccade.types import MediaPart, Message, Part, Role, TextPart


class _Function(Wire):
    name: str = Field(min_length=1)
    arguments: str


class _ToolCall(Wire):
    """`index` is what a client has that sends back the pieces of a stream as they were."""

    id: str
    type: Literal["function"] = "function"
    function: _Function
    index: int | None = None


class _Message(Wire):
    name: str | None = None


class SystemMessage(_Message):
    """What the model shall keep to."""

    role: Literal["system", "developer"]
    content: Content


class UserMessage(_Message):
    """A turn of the caller."""

    role: Literal["user"]
    content: Content


class AssistantMessage(_Message):
    """An earlier answer; the fields without a meaning here are those that clients send back as they got them."""

    role: Literal["assistant"]
    content: SpokenContent | None = None
    tool_calls: list[_ToolCall] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = None


class ToolMessage(_Message):
    """What a function returned."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str


AnyMessage: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def conversation(messages: Sequence[AnyMessage]) -> tuple[Message, ...]:
    """The messages, those of the system first and as one. Raises RequestError.

    The chat template of this family reads one system message, the first, and leaves others out without a word. Clients
    that send several, or one in the middle, mean them to be obeyed from the next answer on: so they are.
    """
    made = [_message(f"messages[{i}]", message) for i, message in enumerate(messages)]
    system = [message for message in made if message.role == "system"]
    if len(system) > 1 or (system and made[0] is not system[0]):
        text = "\n\n".join("".join(part.text for part in m.parts if isinstance(part, TextPart)) for m in system)
        first = Message("system", (TextPart(text),), name=system[0].name)
        made = [first, *(message for message in made if message.role != "system")]
    return tuple(made)


def _message(path: str, message: AnyMessage) -> Message:
    parts = tuple(part_of(f"{path}.content[{i}]", part) for i, part in enumerate(message.content or ()))
    role: Role = "system" if message.role == "developer" else message.role
    if role in ("system", "assistant"):
        _check_words_only(path, message.role, parts)
    if isinstance(message, AssistantMessage):
        if message.refusal and not parts:
            parts = (TextPart(message.refusal),)
        if not parts and not message.tool_calls:
            raise RequestError(
                f"Missing required field '{path}.content'.", param=f"{path}.content", code="missing_required_parameter"
            )
        calls = tuple(call.model_dump(exclude={"index"}) for call in message.tool_calls or ())
        reasoning = message.reasoning_content or message.reasoning
        return Message(role, parts, tool_calls=calls, name=message.name, reasoning=reasoning)
    if isinstance(message, ToolMessage):
        return Message(role, parts, tool_call_id=message.tool_call_id, name=message.name)
    return Message(role, parts, name=message.name)


def _check_words_only(path: str, role: str, parts: tuple[Part, ...]) -> None:
    for i, part in enumerate(parts):
        if isinstance(part, MediaPart):
            raise RequestError(
                f"A {part.media.kind} cannot be part of a message of role '{role}'.",
                param=f"{path}.content[{i}].type",
                code="invalid_value",
                hint="Put it in a user or tool message.",
            )
