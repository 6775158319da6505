"""The fields of a chat completion that OpenAI clients may send and that are not honoured here, each with the values it
may have; knows no wire models."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from saccade.errors import RequestError

Ignored: TypeAlias = tuple[tuple[str, str], ...]
Neutral: TypeAlias = tuple[tuple[str, tuple[Any, ...]], ...]

IGNORED: Ignored = (
    ("user", "names the caller's customer"),
    ("safety_identifier", "the same, by its newer name"),
    ("metadata", "labels for a hosted archive"),
    ("store", "nothing is ever stored"),
    ("service_tier", "there is one tier"),
    ("prompt_cache_key", "a hint for a hosted cache"),
    ("prompt_cache_retention", "a hint for a hosted cache"),
    ("prompt_cache_options", "a hint for a hosted cache"),
)
"""Fields that cannot change an answer, and why: accepted with any value."""

NEUTRAL: Neutral = (
    ("modalities", (["text"],)),
    ("functions", ([],)),
    ("function_call", ("none", "auto")),
    ("reasoning_effort", ("none",)),
    ("verbosity", ("medium",)),
    ("audio", ()),
    ("prediction", ()),
    ("web_search_options", ()),
    ("moderation", ()),
)
"""Fields that are not honoured: accepted as null or with a value that asks for nothing, refused with any other."""


def without_idle_fields(
    fields: dict[str, Any], ignored: Ignored = IGNORED, neutral: Neutral = NEUTRAL
) -> dict[str, Any]:
    """The fields that have a meaning here, and those nobody knows. Raises RequestError for a value that asks for
    something that is not honoured."""
    idle = {name for name, _ in ignored}
    for name, values in neutral:
        if name in fields and not _asks_nothing(fields[name], values):
            raise RequestError(
                f"'{name}' is not supported by this server; it can only be {' or '.join(allowed(values))}.",
                param=name,
                code="unsupported_value" if values else "unsupported_parameter",
            )
        idle.add(name)
    return {name: value for name, value in fields.items() if name not in idle}


def allowed(neutral: tuple[Any, ...]) -> list[str]:
    """The values a field may have, in JSON."""
    return [json.dumps(value) for value in (None, *neutral)]


def _asks_nothing(value: object, neutral: tuple[Any, ...]) -> bool:
    # Equal is not enough: True == 1 and 0 == False.
    same = (value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)
    return value is None or any(same)
