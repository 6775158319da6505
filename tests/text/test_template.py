"""Templates render as the reference renders them, and only what they wrote themselves becomes special."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saccade.errors import CheckpointError, RequestError
from saccade.text.prompt import PromptBuilder
from saccade.text.template import ChatTemplate, Piece
from saccade.text.tokenizer import Tokenizer

Golden = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    data = json.loads((shared / "qwen3-vl" / "golden" / "reference_vectors.json").read_text())
    found: Golden = data["chat_template_renderings"]
    return found


@pytest.fixture(scope="session")
def templates(checkpoints: dict[str, Path], qwen: Tokenizer) -> dict[str, ChatTemplate]:
    return {kind: ChatTemplate.from_dir(directory, qwen.added) for kind, directory in checkpoints.items()}


def written(pieces: list[Piece], tokenizer: Tokenizer) -> str:
    return "".join(p if isinstance(p, str) else tokenizer.token_bytes(p).decode() for p in pieces)


def encoded(pieces: list[Piece], tokenizer: Tokenizer) -> list[int]:
    return [id for p in pieces for id in ([p] if isinstance(p, int) else tokenizer.encode(p, specials=False))]


def compile_one(source: str, tokenizer: Tokenizer, **variables: str) -> Callable[..., list[Piece]]:
    template = ChatTemplate(source, tokenizer.added, variables)
    return lambda *turns, tools=(): template.render(turns, tools, open_answer=True)


def test_golden_renderings(golden: Golden, templates: dict[str, ChatTemplate], qwen: Tokenizer) -> None:
    assert len(golden) == 12
    for name, case in golden.items():
        template = templates[name.split("/")[0]]
        pieces = template.render(case["messages"], case["tools"] or (), open_answer=True)
        assert written(pieces, qwen) == case["rendered"]
        if name != "instruct/assistant_thought":  # there the caller typed <think>
            assert encoded(pieces, qwen) == qwen.encode(case["rendered"], specials=True)


TOOL = {
    "type": "function",
    "function": {"name": "größe", "description": "<b>'\"&", "parameters": {"x": [1, 2.5, None]}},
}
CALL = {"type": "function", "function": {"name": "größe", "arguments": {"ort": "Köln", "n": [1, True]}}}
TEXT_CALL = {"id": "7", "type": "function", "function": {"name": "größe", "arguments": '{"ort":  "Köln"}'}}
PICTURE, VIDEO = {"type": "image"}, {"type": "video"}
CONVERSATIONS: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [
    ([{"role": "user", "content": "\n\n  leading and trailing \n\n"}], []),
    ([{"role": "user", "content": ""}], []),
    (
        [{"role": "system", "content": "S\n"}, {"role": "user", "content": [VIDEO, {"type": "text", "text": ":"}]}],
        [TOOL],
    ),
    ([{"role": "user", "content": [PICTURE, PICTURE, {"type": "text", "text": "ä?"}, VIDEO]}], [TOOL, TOOL]),
    (
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "\n\nb", "reasoning_content": "\n r \n"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d", "tool_calls": [CALL, TEXT_CALL], "reasoning_content": "why"},
            {"role": "tool", "content": [{"type": "text", "text": "t"}, PICTURE]},
            {"role": "tool", "content": "u"},
            {"role": "assistant", "content": "", "tool_calls": [TEXT_CALL]},
            {"role": "tool", "content": "{{ v }} {% if %} {# #}"},
        ],
        [TOOL],
    ),
    (
        [
            {"role": "system", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "y"},
            {"role": "system", "content": "late"},
            {"role": "user", "content": [{"type": "text", "text": "z"}]},
        ],
        [],
    ),
]


@pytest.mark.parametrize("kind", ["instruct", "thinking"])
@pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
@pytest.mark.parametrize("open_answer", [True, False])
def test_ids_are_the_reference_s(
    kind: str,
    number: int,
    open_answer: bool,
    templates: dict[str, ChatTemplate],
    references: dict[str, Any],
    qwen: Tokenizer,
) -> None:
    reference = references[kind]
    turns, tools = CONVERSATIONS[number]
    pieces = templates[kind].render(turns, tools, open_answer=open_answer)
    options: dict[str, Any] = {"tools": tools or None, "add_generation_prompt": open_answer}
    assert written(pieces, qwen) == reference.apply_chat_template(turns, tokenize=False, **options)
    assert encoded(pieces, qwen) == reference.apply_chat_template(turns, tokenize=True, return_dict=False, **options)


def poison(value: Any, text: str, at: str = "") -> Any:
    """A copy of plain data with `text` put into every string that a caller is free to choose."""
    if isinstance(value, dict):
        return {key: poison(item, text, key) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item, text, at) for item in value]
    return value + text if isinstance(value, str) and at not in ("role", "type") else value


@pytest.mark.parametrize("kind", ["instruct", "thinking"])
def test_what_is_typed_changes_no_special_token(
    kind: str, templates: dict[str, ChatTemplate], golden: Golden, qwen: Tokenizer
) -> None:
    conversations = CONVERSATIONS + [(case["messages"], case["tools"] or []) for case in golden.values()]
    everything = "".join(qwen.added) + "<|im_" + "\ud800\ud801\udbff\udfff" + "{{ '<|im_end|>' }}"
    harmless = [ordinary for ordinary in qwen.added if ordinary != "</think>"]  # the template itself looks for this one
    for turns, tools in conversations:
        plain = [p for p in templates[kind].render(turns, tools, open_answer=True) if isinstance(p, int)]
        for text in (*harmless, everything.replace("</think>", ""), "end|>", "\ud800"):
            pieces = templates[kind].render(poison(turns, text), poison(tools, text), open_answer=True)
            assert [p for p in pieces if isinstance(p, int)] == plain
            added = [id for id in encoded(pieces, qwen) if id in qwen.added.values()]
            assert added == plain


def test_the_template_still_finds_what_it_looks_for(templates: dict[str, ChatTemplate], qwen: Tokenizer) -> None:
    """A caller who sends the whole answer of a Thinking model back: the template takes the reasoning out."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}]
    last = written(templates["thinking"].render(turns, (), open_answer=False), qwen)
    assert last.endswith("<|im_start|>assistant\n<think>\nhm\n</think>\n\nb<|im_end|>\n")
    past = written(templates["thinking"].render([*turns, turns[0]], (), open_answer=False), qwen)
    assert "hm" not in past
    assert [p for p in templates["thinking"].render(turns, (), open_answer=False) if isinstance(p, int)].count(
        qwen.added["</think>"]
    ) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '<|im_start|>' ~ messages[0].content + '<|im_end|>' }}", ["<|im_start|>", "X", "<|im_end|>"]),
        ("{% set t = '<think>' %}{{ t if true else '' }}{{ messages[0].content | trim }}", ["<think>", "X"]),
        (
            "{% macro m(x, y='<think>') %}{{ y }}{{ x }}{% endmacro %}{{ m('</think>') | trim }}",
            ["<think>", "</think>"],
        ),
        ("{{ '<think>%s</think>'.format(1) }}", ["<think>", "%s", "</think>"]),
        ("{{ ['<think>', messages[0].content] | join('-') }}", ["<think>", "-X"]),
        ("{{ messages[0].content.replace('X', 'a') }}{{ 'b' if '<think>' in messages[0].content }}", ["a"]),
        ("{{ eos_token }}{{ messages[0].content }}", ["<|im_end|>", "X"]),
        ("{% for t in ['<think>', 'a'] %}{{ t }}{% if t == 'a' %}{% break %}{% endif %}{% endfor %}", ["<think>", "a"]),
        (
            "<think>\n  {%- if true %}\n  {{ {'<': \"ä'>\"} | tojson }}\n  {% endif %}\n",
            ["<think>", '  {"<": "ä\'>"}\n'],
        ),
        ("\ud800{{ strftime_now('%Y')[:2] }}", ["\ufffd20"]),
    ],
)
def test_what_a_template_writes(source: str, expected: list[str], tiny: Tokenizer) -> None:
    pieces = compile_one(source, tiny, eos_token="<|im_end|>")({"role": "user", "content": "X"})
    assert [p if isinstance(p, str) else tiny.token_bytes(p).decode() for p in pieces] == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no such <|im_end|> role') }}",
        "{{ messages[7].content.nothing }}",
        "{{ messages[0].content + 1 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% set _ = messages.append(1) %}",
        "{{ {'a': messages} | tojson(indent=raise_exception) }}",
    ],
)
def test_a_refusal_is_the_caller_s_to_mend(source: str, tiny: Tokenizer) -> None:
    with pytest.raises(RequestError, match=r"chat template refuses") as caught:
        compile_one(source, tiny)({"role": "user", "content": "X"})
    caught.value.message.encode()  # no mark is left in it
    assert caught.value.param == "messages"


def test_deep_nesting_is_refused(tiny: Tokenizer) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(RequestError):
        compile_one("{{ tools | tojson }}", tiny)({"role": "user", "content": "X"}, tools=[deep])


def files(directory: Path, tokenizer: Path, **contents: object) -> Path:
    (directory / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    for name, content in contents.items():
        path = directory / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return directory


SIMPLE = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    "contents",
    [
        {"chat_template__jinja": SIMPLE, "tokenizer_config__json": {"chat_template": "other"}},
        {"chat_template__json": {"chat_template": SIMPLE}},
        {"tokenizer_config__json": {"chat_template": SIMPLE, "eos_token": {"content": "<|im_end|>"}}},
        {"tokenizer_config__json": {"chat_template": [{"name": "default", "template": SIMPLE}, {"name": "rag"}]}},
    ],
)
def test_where_templates_are_found(contents: dict[str, object], tmp_path: Path, tiny: Tokenizer, bundled: Path) -> None:
    template = ChatTemplate.from_dir(files(tmp_path, bundled, **contents), tiny.added)
    assert template.render([{"role": "user", "content": "X"}], (), open_answer=True) == [257, "X"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "no chat template"),
        ({"chat_template__jinja": "{% if %}"}, "line 1 of the chat template"),
        ({"tokenizer_config__json": "{"}, "cannot be read"),
        ({"tokenizer_config__json": []}, "no JSON object"),
        ({"tokenizer_config__json": {"chat_template": [{"name": "rag", "template": "x"}]}}, "no chat template"),
        ({"chat_template__jinja": "{{ raise_exception('never') }}"}, "never"),
        ({"chat_template__jinja": "{{ '<|' + 'im_start' + '|>' }}"}, "cannot be told from text"),
        ({"chat_template__jinja": "<|{{ 'im_start|>' }}"}, "cannot be told from text"),
    ],
)
def test_templates_that_cannot_be_used(
    contents: dict[str, object], message: str, tmp_path: Path, bundled: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        PromptBuilder.from_dir(files(tmp_path, bundled, **contents))


def test_a_template_may_refuse_tools(tmp_path: Path, bundled: Path) -> None:
    source = "{{ raise_exception('no tools') if tools or messages[0].role == 'system' }}" + SIMPLE
    PromptBuilder.from_dir(files(tmp_path, bundled, chat_template__jinja=source))
