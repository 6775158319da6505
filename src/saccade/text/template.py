"""A conversation becomes the pieces of its prompt by the checkpoint's own chat template: ids of the special tokens that
the template wrote, and everything else as text that is not to be searched for special tokens; knows no pictures.

How the two are told apart: before the template is compiled, the added tokens in its own literals are replaced by marks,
one lone surrogate each. A lone surrogate is no character, so it cannot come from outside (`well_formed` sees to that),
and whatever mark stands in the rendered text was written by the template, wherever its loops, macros and string methods
carried it. Literals that the template only compares with or searches for ('</think>' in content) stay as they are, so
that the template takes the same decisions as ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from saccade.errors import CheckpointError, RequestError
from saccade.text.tokenizer import well_formed

Piece: TypeAlias = str | int
"""A run of text, or the id of an added token."""

Turn: TypeAlias = dict[str, Any]
"""A message in the form that chat templates read: role, content (a string or a list of typed parts), tool_calls ..."""

_MARK = re.compile("([\ud800-\udfff])")


class ChatTemplate:
    """One compiled chat template. `added` are the added tokens of the tokenizer and their ids."""

    def __init__(self, source: str, added: Mapping[str, int], variables: Mapping[str, str]) -> None:
        self._marks = _Marks(added)
        self._plain_variables = dict(variables)
        self._variables = {name: self._marks.mark(value) for name, value in variables.items()}
        self._source = source
        environment = _environment()
        self._template = environment.from_string(self._marks.visit(environment.parse(source)))

    @classmethod
    def from_dir(cls, directory: Path, added: Mapping[str, int]) -> ChatTemplate:
        """Find and compile the template: chat_template.jinja, chat_template.json, or inside tokenizer_config.json."""
        config = _read_json(directory / "tokenizer_config.json")
        source = _find_source(directory, config)
        variables = {}
        for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
            token = config.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                variables[name] = token
        try:
            return cls(source, added, variables)
        except jinja2.TemplateSyntaxError as error:
            raise CheckpointError(
                f"{directory}: fault in line {error.lineno} of the chat template: {error}."
            ) from error

    def render(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]], *, open_answer: bool) -> list[Piece]:
        """The pieces of the prompt, no two texts in a row; with `open_answer` it ends where the model is to speak.

        RequestError when the template refuses the conversation.
        """
        rendered = _run(self._template, turns, tools, open_answer, self._variables)
        parts = _MARK.split(rendered)  # text, mark, text, ... , text
        pieces: list[Piece] = []
        for text, mark in zip(parts[::2], [*parts[1::2], None], strict=True):
            if text:
                pieces.append(text)
            if mark is not None:
                pieces.append(self._marks.id_of(mark))
        return pieces

    def render_unmarked(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]], *, open_answer: bool) -> str:
        """The prompt as one string, typed and written tokens alike: to check a template with, never to encode."""
        template = _environment().from_string(self._source)
        return _run(template, turns, tools, open_answer, self._plain_variables)


class _Marks(NodeTransformer):
    """Which mark stands for which token, and the rewriting of a template's syntax tree."""

    def __init__(self, added: Mapping[str, int]) -> None:
        self._added = added
        longest_first = sorted(added, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._mark_of: dict[str, str] = {}
        self._token_of: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """`text` with every added token replaced by its mark; marks are dealt out as they are needed."""
        return self._pattern.sub(lambda match: self._mark(match[0]), well_formed(text))

    def id_of(self, mark: str) -> int:
        return self._added[self._token_of[mark]]

    def _mark(self, token: str) -> str:
        if token not in self._mark_of:
            mark = chr(0xD800 + len(self._mark_of))
            self._mark_of[token], self._token_of[mark] = mark, token
        return self._mark_of[token]

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        return nodes.TemplateData(self.mark(node.data), lineno=node.lineno)

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        return nodes.Const(self.mark(node.value), lineno=node.lineno) if isinstance(node.value, str) else node

    # What follows holds literals that text is compared with or searched for: they stay.

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        if node.node is not None:
            node.node = self.visit(node.node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        node.node = self.visit(node.node)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        if isinstance(node.node, nodes.Getattr):  # a method: content.split('</think>')
            node.node = self.visit(node.node)
            return node
        return self.generic_visit(node)  # a macro or namespace(...)


def _environment() -> ImmutableSandboxedEnvironment:
    """The dialect and the helpers that published chat templates are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _run(template: jinja2.Template, turns: Any, tools: Any, open_answer: bool, variables: Mapping[str, str]) -> str:
    data = {"messages": turns, "tools": tools or None}
    try:
        return template.render(**_clean(data), add_generation_prompt=open_answer, **variables)
    except Exception as error:  # a template is foreign code: whatever it trips over, this conversation does not fit it
        cause = _MARK.sub("", str(error))
        raise RequestError(f"The model's chat template refuses this conversation: {cause}", param="messages") from error


def _clean(value: Any) -> Any:
    """A copy of plain JSON data in which no string holds a lone surrogate."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _find_source(directory: Path, config: Mapping[str, Any]) -> str:
    path = directory / "chat_template.jinja"
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).rstrip('.')}.") from error
    for data in (_read_json(directory / "chat_template.json"), config):
        source = data.get("chat_template")
        if isinstance(source, list):  # several templates by name
            source = {entry.get("name"): entry.get("template") for entry in source}.get("default")
        if isinstance(source, str):
            return source
    raise CheckpointError(
        f"{directory} has no chat template.", hint="Copy chat_template.jinja from the model's repository into it."
    )


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one when there is no such file."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).rstrip('.')}.", hint="Download it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return data
