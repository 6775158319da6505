"""What an answer must be: `response_format` becomes a Grammar; knows JSON, and no grammar from the inside."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from saccade.server.validate import Wire
from saccade.types import Grammar


class _Text(Wire):
    type: Literal["text"]


class _JsonObject(Wire):
    type: Literal["json_object"]


class _Schema(Wire):
    name: str | None = Field(None, max_length=256)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class _JsonSchema(Wire):
    type: Literal["json_schema"]
    json_schema: _Schema


class _Regex(Wire):
    type: Literal["regex"]
    regex: str = Field(min_length=1)


class _Lark(Wire):
    type: Literal["grammar"]
    grammar: str = Field(min_length=1)


Format: TypeAlias = _Text | _JsonObject | _JsonSchema | _Regex | _Lark
FormatWire: TypeAlias = Annotated[Format, Field(discriminator="type")]


def grammar_of(wanted: Format | None) -> Grammar | None:
    """The grammar of a format; None for any text."""
    match wanted:
        case _JsonObject():
            return Grammar("json_object")
        case _JsonSchema():
            return Grammar("json_schema", json.dumps(wanted.json_schema.schema_, ensure_ascii=False))
        case _Regex():
            return Grammar("regex", wanted.regex)
        case _Lark():
            return Grammar("lark", wanted.grammar)
    return None
