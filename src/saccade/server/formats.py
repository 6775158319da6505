"""What an answer must be: `response_format` becomes a Grammar; knows JSON, and no grammar from the inside."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from saccade.errors import RequestError
from saccade.server.validate import Wire
from saccade.types import Grammar

MAX_PROPERTIES = 1000
"""Of one object of a schema. What it takes to compile them grows with their square, and others wait meanwhile: 1,000
take a tenth of a second, 3,000 more than one."""


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
    """The grammar of a format; None for any text. Raises RequestError."""
    match wanted:
        case _JsonObject():
            return Grammar("json_object")
        case _JsonSchema():
            check_schema("response_format.json_schema.schema", wanted.json_schema.schema_)
            return Grammar("json_schema", json.dumps(wanted.json_schema.schema_, ensure_ascii=False))
        case _Regex():
            return Grammar("regex", wanted.regex)
        case _Lark():
            return Grammar("lark", wanted.grammar)
    return None


def check_schema(field: str, schema: dict[str, Any]) -> None:
    """Raise RequestError for a JSON schema with an object that has more than MAX_PROPERTIES."""
    left: list[Any] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            left += node.values()
            properties = node.get("properties")
            if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
                most = f"at most {MAX_PROPERTIES:,} are taken"
                raise RequestError(
                    f"'{field}' has an object with {len(properties):,} properties; {most}.",
                    param=field,
                    code="invalid_value",
                )
