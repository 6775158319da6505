"""The functions a model may call, and whether it must: JSON becomes the tools that the chat template shows and a
ToolChoice; knows no dialect of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from saccade.errors import RequestError
from saccade.server.formats import check_schema
from saccade.server.validate import Wire
from saccade.types import ToolChoice

MAX_TOOLS = 128


class _Function(Wire):
    name: str = Field(pattern="^[a-zA-Z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolWire(Wire):
    """A function as it is declared."""

    type: Literal["function"]
    function: _Function


class _Named(Wire):
    name: str


class _OneTool(Wire):
    type: Literal["function"]
    function: _Named


class _Allowed(Wire):
    mode: Literal["auto", "required"]
    tools: list[_OneTool] = Field(min_length=1)


class _AllowedTools(Wire):
    type: Literal["allowed_tools"]
    allowed_tools: _Allowed


class _Mode(Wire):
    type: Literal["none", "auto", "required"]


def _as_object(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


_Choice: TypeAlias = Annotated[_Mode | _OneTool | _AllowedTools, Field(discriminator="type")]
_Words: TypeAlias = Literal["none", "auto", "required"]
ToolChoiceWire: TypeAlias = Annotated[_Choice, BeforeValidator(_as_object, json_schema_input_type=_Words | _Choice)]


def tools_of(
    tools: Sequence[ToolWire] | None, choice: _Mode | _OneTool | _AllowedTools | None, *, parallel: bool
) -> tuple[tuple[dict[str, Any], ...], ToolChoice]:
    """The functions that may be called, as the chat template shows them, and whether one must be; with "none" the model
    is not told of any. Raises RequestError when the choice names what is not declared."""
    declared: dict[str, _Function] = {}
    for i, tool in enumerate(tools or ()):
        name = tool.function.name
        if (tool.function.parameters or {}).get("type", "object") != "object":
            path = f"tools[{i}].function.parameters.type"
            raise RequestError(f"'{path}' must be 'object'.", param=path, code="invalid_value")
        check_schema(f"tools[{i}].function.parameters", tool.function.parameters or {})
        if name in declared:
            path = f"tools[{i}].function.name"
            raise RequestError(f"The function '{name}' is declared twice.", param=path, code="invalid_value")
        declared[name] = tool.function
    mode, names = _allowed(choice, list(declared))
    for path, name in names:
        if name not in declared:
            raise RequestError(f"'{path}' is not one of the names in 'tools'.", param=path, code="invalid_value")
    if mode == "required" and not declared:
        raise RequestError(
            "'tool_choice' asks for a call, but there are no 'tools'.", param="tool_choice", code="invalid_value"
        )
    if mode == "none":
        return (), ToolChoice()
    wanted = {name for _, name in names}
    used = [function for name, function in declared.items() if name in wanted]
    shown = tuple({"type": "function", "function": _shown(function)} for function in used)
    strict = frozenset(function.name for function in used if function.strict)
    return shown, ToolChoice(mode == "required", parallel and not isinstance(choice, _OneTool), strict)


def _allowed(
    choice: _Mode | _OneTool | _AllowedTools | None, declared: list[str]
) -> tuple[Literal["none", "auto", "required"], list[tuple[str, str]]]:
    """The mode, and the names that may be called, each with the field that names it."""
    match choice:
        case _OneTool():
            return "required", [("tool_choice.function.name", choice.function.name)]
        case _AllowedTools(allowed_tools=allowed):
            path = "tool_choice.allowed_tools.tools[{}].function.name".format
            return allowed.mode, [(path(i), tool.function.name) for i, tool in enumerate(allowed.tools)]
    return choice.type if choice else "auto", [("tools", name) for name in declared]


def _shown(function: _Function) -> dict[str, Any]:
    """A declaration without what was left open, in the order in which such models were shown them."""
    return {
        key: value for key in ("name", "description", "parameters") if (value := getattr(function, key)) is not None
    }
