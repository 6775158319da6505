"""Thoughts, words and calls come apart, however the text is cut."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from saccade.text.parsers import AnswerParser


@dataclass
class Told:
    """All parts of an answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


def told(pieces: Iterable[str], *, thinking: bool = False, tools: bool = True, parallel: bool = True) -> Told:
    """What comes of pieces; holds the form of the stream of calls."""
    parser = AnswerParser(thinking=thinking, tools=tools, parallel=parallel)
    made = Told()
    ids: list[str] = []
    for parsed in (*map(parser.push, pieces), parser.finish()):
        made.text += parsed.text
        made.reasoning += parsed.reasoning
        for piece in parsed.calls:
            if piece.name is not None:
                assert piece.id is not None
                assert piece.index == len(made.calls)
                ids.append(piece.id)
                made.calls.append((piece.name, ""))
            assert piece.index == len(made.calls) - 1, "the pieces of a call follow each other"
            name, arguments = made.calls[-1]
            made.calls[-1] = (name, arguments + piece.arguments)
    assert len(ids) == len(set(ids)) == parser.num_calls == len(made.calls)
    return made


def cuts(text: str) -> Iterator[list[str]]:
    """The text whole, cut at every place, cut into characters, and cut at random."""
    yield [text]
    yield list(text)
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]
    rng = random.Random(text)
    for _ in range(20):
        places = sorted(rng.choices(range(len(text) + 1), k=6))
        yield [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def call(arguments: str = '{"at": "it"}', name: str = "look") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


HARD = '{"s": "a } ] \\" \\\\ {", "t": "</tool_call> <tool_call>", "n": [1, {"x": []}], "u": "\\u00e9 é \\ud83d"}'
CASES: dict[str, tuple[str, Told]] = {
    "nothing": ("", Told()),
    "words": ("Hello < world <tool_cal", Told("Hello < world <tool_cal")),
    "newlines": ("a\n\n\nb\n", Told("a\n\n\nb\n")),
    "one call": (call(), Told(calls=[("look", '{"at": "it"}')])),
    "words before": (f"I look.\n{call()}", Told("I look.", calls=[("look", '{"at": "it"}')])),
    "many newlines before": (f"a\n\n\n\n{call()}", Told("a\n\n", calls=[("look", '{"at": "it"}')])),
    "words behind": (f"{call()}\n\nDone.", Told("\nDone.", calls=[("look", '{"at": "it"}')])),
    "two calls": (f"{call()}\n{call('{}', 'b')}", Told(calls=[("look", '{"at": "it"}'), ("b", "{}")])),
    "no space": (f"{call()}{call('{}', 'b')}x", Told("x", calls=[("look", '{"at": "it"}'), ("b", "{}")])),
    "hard strings": (call(HARD) + call("{}"), Told(calls=[("look", HARD), ("look", "{}")])),
    "spread over lines": (
        '<tool_call>{\n  "name" : "f",\n  "arguments" : {\n    "a": 1\n  }\n}</tool_call>',
        Told(calls=[("f", '{\n    "a": 1\n  }')]),
    ),
    "arguments first": ('<tool_call>{"arguments": {"é": 1}, "name": "f"}</tool_call>', Told(calls=[("f", '{"é": 1}')])),
    "arguments as text": (
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
        Told(calls=[("f", '{"a": 1}')]),
    ),
    "no arguments": ('<tool_call>{"name": "f"}</tool_call>', Told(calls=[("f", "{}")])),
    "null": ('<tool_call>{"name": "f", "arguments": null}</tool_call>', Told(calls=[("f", "{}")])),
    "a lone surrogate": (
        '<tool_call>{"arguments": {"a": "\\ud83d"}, "name": "f"}</tool_call>',
        Told(calls=[("f", '{"a": "\ufffd"}')]),
    ),
    "no end": (call().removesuffix("</tool_call>"), Told(calls=[("look", '{"at": "it"}')])),
    "half an end": (call().removesuffix("l>"), Told(calls=[("look", '{"at": "it"}')])),
    "no end, another way": ('<tool_call>{"name": "f"}', Told(calls=[("f", "{}")])),
    "no end before the next": (
        f'<tool_call>{{"name": "f", "arguments": {{}}}}\n{call()}',
        Told(calls=[("f", "{}"), ("look", '{"at": "it"}')]),
    ),
    "a bracket too many": (
        '<tool_call>{"name": "f", "arguments": {}}}</tool_call>',
        Told(calls=[("f", "{}")]),
    ),
    "more keys": (
        '<tool_call>{"name": "f", "arguments": {}, "id": 1}</tool_call>',
        Told(', "id": 1}', calls=[("f", "{}")]),
    ),
    "a bracket too few": (
        '<tool_call>{"name": "f", "arguments": {"a": [1}</tool_call>b',
        Told("b", calls=[("f", '{"a": [1}')]),
    ),
    "an open string": (
        f'<tool_call>{{"name": "f", "arguments": {{"a": "b}}}}</tool_call>\n{call()}',
        Told(calls=[("f", '{"a": "b}}'), ("look", '{"at": "it"}')]),
    ),
    "an open string at the end": (
        '<tool_call>{"name": "f", "arguments": {"a": "b}}</tool_call>',
        Told(calls=[("f", '{"a": "b}}')]),
    ),
    "cut in its arguments": ('<tool_call>{"name": "f", "arguments": {"a": "b', Told(calls=[("f", '{"a": "b')])),
    "cut at a tag": ('<tool_call>{"name": "f", "arguments": {"a": "</tool_', Told(calls=[("f", '{"a": "</tool_')])),
    "cut in its head": ('a\n<tool_call>\n{"name": "f", "argu', Told('a\n<tool_call>\n{"name": "f", "argu')),
    "cut behind a call": (f"{call()}\n <tool_", Told("\n<tool_", calls=[("look", '{"at": "it"}')])),
    "no JSON": ("a\n<tool_call>\nlook(it)\n</tool_call>\n b", Told("a\n<tool_call>\nlook(it)\n</tool_call>\n b")),
    "no JSON behind a call": (
        f"{call()}\n<tool_call>no</tool_call>",
        Told("\n<tool_call>no</tool_call>", calls=[("look", '{"at": "it"}')]),
    ),
    "no object": ("<tool_call>[1]</tool_call>", Told("<tool_call>[1]</tool_call>")),
    "no name": ('<tool_call>{"arguments": {}}</tool_call>', Told('<tool_call>{"arguments": {}}</tool_call>')),
    "an odd name": ('<tool_call>{"name": "a b"}</tool_call>', Told('<tool_call>{"name": "a b"}</tool_call>')),
    "no number": (
        '<tool_call>{"name": "f", "arguments": NaN}</tool_call>',
        Told('<tool_call>{"name": "f", "arguments": NaN}</tool_call>'),
    ),
    "a list of arguments": (
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        Told('<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
    ),
    "a long head": (
        f'<tool_call>{{"name": "f",{" " * 300}"arguments": {{}}}}</tool_call>',
        Told(calls=[("f", "{}")]),
    ),
    "an end alone": ("a </tool_call> b", Told("a </tool_call> b")),
}


@pytest.mark.parametrize("name", CASES)
def test_calls_however_they_are_cut(name: str) -> None:
    text, expected = CASES[name]
    for pieces in cuts(text):
        assert told(pieces) == expected, pieces


def test_words_pass_as_they_are_without_tools() -> None:
    for text, _ in CASES.values():
        parser = AnswerParser(thinking=False, tools=False)
        assert [parser.push(char).text for char in text] == list(text), "at once"


THOUGHTS: dict[str, tuple[str, Told]] = {
    "both": ("I look.\nI see.\n</think>\n\nRed.", Told("Red.", "I look.\nI see.")),
    "no end": ("I look. </thin", Told("", "I look. </thin")),
    "nothing": ("</think>Red.", Told("Red.", "")),
    "no answer": ("Hm\n</think>\n\n", Told("", "Hm")),
    "opened again": ("\n<think>\nI look.</think>Red.", Told("Red.", "I look.")),
    "space": ("\n  I look.</think>Red.", Told("Red.", "\n  I look.")),
    "a call": (f"I look.\n</think>\n\n{call()}", Told("", "I look.", [("look", '{"at": "it"}')])),
    "words and a call": (f"Hm</think>\n\nSo.\n{call()}", Told("So.", "Hm", [("look", '{"at": "it"}')])),
    "a call in thoughts": (f"{call()}</think>Red.", Told("Red.", call())),
    "a second end": ("a</think>b</think>c", Told("b</think>c", "a")),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thoughts_however_they_are_cut(name: str) -> None:
    text, expected = THOUGHTS[name]
    for pieces in cuts(text):
        assert told(pieces, thinking=True) == expected, pieces


def test_thoughts_are_told_from_the_answer_at_once() -> None:
    parser = AnswerParser(thinking=True, tools=False)
    assert parser.push("a").reasoning == "a"
    assert parser.thinking
    assert parser.push("b</think>c").text == "c"
    assert not parser.thinking


def test_arguments_come_as_they_are_written() -> None:
    parser = AnswerParser(thinking=False, tools=True)
    assert parser.push('<tool_call>\n{"name": "f", "arguments": ').calls == ()
    (begun,) = parser.push('{"a": ').calls
    assert (begun.name, begun.arguments) == ("f", '{"a": ')
    (more,) = parser.push('"long').calls
    assert (more.id, more.name, more.arguments) == (None, None, '"long')


def test_an_answer_with_one_call_is_over_after_it() -> None:
    for text in (f"a\n{call()}\n{call()} and more", f"a\n{call()[:-12]}", '<tool_call>{"name": "f"}</tool_call> b'):
        for pieces in cuts(text):
            made = told(pieces, parallel=False)
            assert len(made.calls) == 1
            assert made.text in ("a", "")
    parser = AnswerParser(thinking=False, tools=True, parallel=False)
    parser.push('<tool_call>\n{"name": "f", "arguments": {"a": {}')
    assert not parser.over
    parser.push("}")
    assert parser.over


def test_what_begins_as_valid_json_arrives_as_valid_json() -> None:
    rng = random.Random(3)

    def value(depth: int) -> object:
        if depth == 0 or rng.random() < 0.3:
            return rng.choice([None, True, 1.5, -3, "", '"', "\\", "</tool_call>", "{", "]", "é\U0001f600", "a<b"])
        if rng.random() < 0.5:
            return [value(depth - 1) for _ in range(rng.randrange(3))]
        return {rng.choice(["a", '"', "}", "</tool_call"]) + str(i): value(depth - 1) for i in range(rng.randrange(4))}

    for _ in range(200):
        wanted = [{f"k{i}": value(3) for i in range(rng.randrange(3))} for _ in range(rng.randrange(1, 4))]
        text = "\n".join(call(json.dumps(one, ensure_ascii=rng.random() < 0.5)) for one in wanted)
        places = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(8)))
        made = told(text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True))
        assert made.text == ""
        assert [json.loads(arguments) for _, arguments in made.calls] == wanted


@pytest.mark.parametrize(
    "text",
    [
        "<" * 1_000_000,
        "<tool_call>" * 90_000,
        "<tool_call>{}</tool_call>" * 40_000,
        "\n" * 1_000_000,
        " " * 1_000_000,
        '<tool_call>{"name": "f", "arguments": {' + "{" * 1_000_000,
        '<tool_call>{"name": "f", "arguments": {"' + "<" * 1_000_000,
        '<tool_call>{"name": "f", "arguments": {"' + "</tool_call>" * 80_000,
        '<tool_call>{"name": "f", "arguments": {"' + "\\" * 1_000_000,
        '<tool_call>{"name": "f", "arguments": {}' + "<" * 1_000_000,
        '<tool_call>{"name":' + " " * 1_000_000,
        "<tool_call>" + "[" * 1_000_000 + "</tool_call>",
        ('<tool_call>{"name": "f", "arguments": {}}</tool_call>' + " " * 100) * 6_000,
    ],
    ids=lambda text: text[-30:].strip()[:8] or "space",
)
@pytest.mark.parametrize(("size", "length"), [(4, 100_000), (1 << 20, 1 << 20)])
def test_a_megabyte_of_malice_takes_linear_time(text: str, size: int, length: int) -> None:
    """CVE-2025-48887 and CVE-2025-71379: parsers of calls that a text from the model kept busy for hours."""
    for thinking in (False, True):
        began = time.process_time()
        parser = AnswerParser(thinking=thinking, tools=True)
        for at in range(0, min(length, len(text)), size):
            parser.push(text[at : at + size])
        parser.finish()
        assert time.process_time() - began < 5, "a quadratic one takes minutes"
