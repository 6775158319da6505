"""Tools and the choice of them become a Grammar in the dialect of calls that parsers.py reads; knows no vocabulary and
compiles nothing.

    required    call call ...
    strict      words call words ...      calls with the arguments they must have, whenever there is one
    a format    call call ...  or the format
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from saccade.errors import RequestError
from saccade.text.parsers import CALL, CALLED
from saccade.types import Grammar, ToolChoice

WHITESPACE = r"\x20?|\n\x20{0,32}"
"""Between the tokens of JSON: a model that may write any amount of it may never come to an end."""


def tool_grammar(
    tools: Sequence[dict[str, Any]], choice: ToolChoice, answer: Grammar | None, added: Collection[str]
) -> Grammar | None:
    """What an answer must be: calls where they are required or strict, or else what `answer` asks for; None: anything.
    `added`: tokens that no text makes. Raises RequestError for a format that cannot stand beside tools."""
    if not tools or not (choice.required or choice.strict or answer):
        return answer
    tags = [tag if tag in added else json.dumps(tag) for tag in (CALL, CALLED)]
    calls = "call" if not choice.parallel else 'call ("\\n" call)*'
    if choice.required:
        start = f"start: {calls}"
    elif answer:
        start = f"start: {calls} | answer\nanswer: {_format(answer)}"
    else:
        # A call that is not spelt by its own token would not be bound to anything.
        start = f"start: (WORDS call)* WORDS\nWORDS: /(.|\\n)*/ & ~/(.|\\n)*{CALL}(.|\\n)*/"
    rules = [start, "call: " + " | ".join(f"call_{i}" for i in range(len(tools)))]
    for i, tool in enumerate(tools):
        function = tool["function"]
        head = json.dumps(f'\n{{"name": "{function["name"]}", "arguments": ', ensure_ascii=False)
        schema = _schema(function, exact=function["name"] in choice.strict, bound=choice.required)
        rules.append(f'call_{i}: {tags[0]} {head} arguments_{i} "}}\\n" {tags[1]}\narguments_{i}: %json {schema}')
    return Grammar("lark", "\n".join(("%llguidance {}", *rules)), "tools")


def _schema(function: dict[str, Any], *, exact: bool, bound: bool) -> str:
    """Of the arguments: as it is declared if they must follow it, as far as it can be followed if there must be a call,
    else any object."""
    declared: dict[str, Any] = {"type": "object"}
    if exact or bound:
        declared |= function.get("parameters") or {"properties": {}, "additionalProperties": False}
    return _guided(declared, exact=exact)


def _guided(schema: dict[str, Any], *, exact: bool) -> str:
    """With `exact`, a keyword that cannot be enforced is refused; else it is passed over."""
    guidance = {"whitespace_pattern": WHITESPACE, "lenient": not exact, "coerce_one_of": True}
    return json.dumps({**schema, "x-guidance": guidance}, ensure_ascii=False)


def _format(answer: Grammar) -> str:
    """The same as part of a larger grammar."""
    if answer.kind == "json_object":
        return f"%json {_guided({'type': 'object'}, exact=True)}"
    if answer.kind == "json_schema":
        schema = json.loads(answer.text)  # has been compiled by itself
        return f"%json {_guided(schema, exact=True) if isinstance(schema, dict) else answer.text}"
    if answer.kind == "regex":
        return f"/{_without_slashes(answer.text)}/"
    raise RequestError(f"'{answer.param}' with a grammar is not possible together with 'tools'.", param=answer.param)


def _without_slashes(regex: str) -> str:
    """The same expression where a slash or a newline would end it."""
    made, escaped = [], False
    for char in regex:
        made.append(f"\\{char}" if char == "/" and not escaped else "\\n" if char == "\n" else char)
        escaped = char == "\\" and not escaped
    return "".join(made)
