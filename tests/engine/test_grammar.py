"""Grammars of strangers become masks or refusals, quickly, and nothing worse."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from typing import Any

import jsonschema
import numpy as np
import pytest

from saccade.engine import grammar as module
from saccade.engine.grammar import Grammars, Matcher
from saccade.engine.spec import Vocabulary
from saccade.errors import RequestError
from saccade.types import GRAMMAR_CHARACTERS, Grammar

END, THINK = 256, 257
BYTES = Vocabulary((*(bytes([byte]) for byte in range(256)), b"<|im_end|>", b"<think>", b""), (END, THINK), (END,))


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(BYTES)


def schema(value: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


def nested(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = {"type": "object", "properties": {"a": inside}, "required": ["a"], "additionalProperties": False}
    return inside


def allowed(matcher: Matcher) -> set[int]:
    bits = np.unpackbits(matcher.mask.view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def write(matcher: Matcher, text: str) -> set[int]:
    """Ids that may follow a text."""
    for byte in text.encode():
        assert byte in allowed(matcher), chr(byte)
        matcher.push(byte)
    return allowed(matcher)


def test_the_end_comes_where_the_grammar_ends(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("regex", "ab?")).follow()
    assert allowed(matcher) == {ord("a")}
    assert write(matcher, "a") == {ord("b"), END}
    assert write(matcher, "b") == {END}


@pytest.mark.parametrize("text", ['{"a":1}', '{ "a" : 1 }', '{\n  "a": 1\n}'])
def test_json_may_be_spaced_as_models_space_it(grammars: Grammars, text: str) -> None:
    wanted = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert END in write(grammars.compile(schema(wanted)).follow(), text)


def test_space_comes_to_an_end(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("json_object")).follow()
    write(matcher, "{")
    count = 0
    while count < 100 and ord("\n") in allowed(matcher) | {ord("\n")} and (space := allowed(matcher) & {10, 32}):
        matcher.push(max(space))
        count += 1
    assert count < 50


def test_special_tokens_are_named_in_brackets_and_not_made_by_text(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("lark", 'start: <think> "x"')).follow()
    assert allowed(matcher) == {THINK}
    matcher = grammars.compile(Grammar("regex", "<think>x")).follow()
    assert allowed(matcher) == {ord("<")}


def test_an_id_without_a_meaning_is_never_allowed(grammars: Grammars) -> None:
    assert 258 not in allowed(grammars.compile(Grammar("regex", "(?s:.)*")).follow())


def released() -> Vocabulary:
    """Bytes in another order than their own, and pieces of several."""
    rng = random.Random(0)
    pieces = ['{"', '":', '", "', "true", "fal", "wh", "what", "at", "\n  ", "12", "3,", "}}", "]}"]
    tokens = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in pieces] + ["北".encode()[:2]]
    rng.shuffle(tokens)
    return Vocabulary((b"<|im_end|>", *tokens), (0,), (0,))


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (schema(nested(2, {"enum": ["what", "北", 123]})), None),
        (schema({"const": "what"}), None),
        (Grammar("regex", "(what|when)12"), "(what|when)12"),
        (Grammar("lark", 'start: "what" /[北x]/ "true"'), "what[北x]true"),
        (Grammar("lark", '%llguidance {"no_forcing": false}\nstart: "what" /[北x]/ "true"'), "what[北x]true"),
    ],
)
def test_nothing_that_is_allowed_leads_nowhere(grammar: Grammar, pattern: str | None) -> None:
    """Whatever ids a vocabulary gives its bytes, a walk through the masks comes to an end of the grammar."""
    vocabulary = released()
    compiled, used = Grammars(vocabulary).compile(grammar), set()
    for seed in range(100):
        rng, matcher, told = random.Random(seed), compiled.follow(), b""
        while (id := rng.choice(sorted(allowed(matcher)))) != 0:
            told += vocabulary.tokens[id]
            used.add(len(vocabulary.tokens[id]))
            matcher.push(id)
        if pattern:
            assert re.fullmatch(pattern, told.decode())
        else:
            jsonschema.validate(json.loads(told), json.loads(grammar.text))
    assert len(used) > 1


REFUSED = {
    "no schema": Grammar("json_schema", '{"type": "wrong"}'),
    "no JSON": Grammar("json_schema", "{"),
    "no object": Grammar("json_schema", "[]"),
    "contradiction": schema({"type": "integer", "minimum": 5, "maximum": 1}),
    "never": schema({"type": "string", "enum": []}),
    "itself": schema({"$ref": "#"}),
    "from afar": schema({"$ref": "http://127.0.0.1:1/schema.json"}),
    "a file": schema({"$ref": "file:///etc/passwd"}),
    "not honoured": schema({"not": {"type": "string"}}),
    "not honoured, however asked": schema({"not": {"type": "string"}, "x-guidance": {"lenient": True}}),
    "too deep": Grammar("json_schema", '{"a":' * 5000 + "{}" + "}" * 5000),
    "too long": schema({"enum": ["x" * GRAMMAR_CHARACTERS["json_schema"]]}),
    "too large": schema({"allOf": [{"anyOf": [nested(1, {"const": n}), nested(2, {"const": n})]} for n in range(20)]}),
    "no regex": Grammar("regex", "(a"),
    "loose backslash": Grammar("regex", "a\\"),
    "look-around": Grammar("regex", "(?!a)b"),
    "back-reference": Grammar("regex", r"(a)\1"),
    "deep regex": Grammar("regex", "(" * 4000 + "a" + ")" * 4000),
    "long regex": Grammar("regex", "a" * (GRAMMAR_CHARACTERS["regex"] + 1)),
    "no lark": Grammar("lark", "start: ("),
    "undefined": Grammar("lark", "start: b"),
    "endless": Grammar("lark", "start: a\na: a"),
    "deep lark": Grammar("lark", "start: " + "(" * 10000 + '"a"' + ")" * 10000),
    "unknown token": Grammar("lark", "start: <nothing>"),
    "empty": Grammar("lark", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_field_in_one_short_sentence(grammars: Grammars, name: str) -> None:
    began = time.perf_counter()
    with pytest.raises(RequestError) as caught:
        grammars.compile(REFUSED[name])
    assert time.perf_counter() - began < 5
    assert caught.value.param == "response_format"
    assert caught.value.code == "invalid_grammar"
    assert len(caught.value.message) <= 300
    assert "\n" not in caught.value.message
    assert grammars.compile(Grammar("regex", "a")).mask.any()


CHAINS = """
from saccade.engine.grammar import Grammars
from saccade.engine.spec import Vocabulary
from saccade.types import GRAMMAR_CHARACTERS, Grammar
grammars = Grammars(Vocabulary((b"x", b"<e>"), (1,), (1,)))
names = [f"{n:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for n in range(9000)]
rules, schema = "start: g", '{"$ref": "#/$defs/g", "$defs": {'
for here, there in zip(names, names[1:]):
    if len(rules) < GRAMMAR_CHARACTERS["lark"] - 40:
        rules += f'\\n{here}:{there}|"x"'
        last = there
    if len(schema) < GRAMMAR_CHARACTERS["json_schema"] - 60:
        schema += f'"{here}":{{"$ref":"#/$defs/{there}"}},'
        final = there
rules, schema = rules + f'\\n{last}:"x"', schema + f'"{final}":{{"type":"null"}}}}}}'
for grammar in Grammar("lark", rules), Grammar("json_schema", schema):
    try:
        print(grammars.compile(grammar).mask)
    except Exception as error:
        print(error)
"""


def test_the_longest_chains_of_rules_do_not_exhaust_the_stack() -> None:
    """In a process of its own, for what it would be the end of."""
    ran = subprocess.run([sys.executable, "-c", CHAINS], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 2), ran.stdout + ran.stderr


def test_what_is_sent_again_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(BYTES)
    first = grammars.compile(Grammar("regex", "a1"))
    assert grammars.compile(Grammar("regex", "a1")) is first
    monkeypatch.setattr(module, "KEPT", 2)
    for n in range(2, 5):
        grammars.compile(Grammar("regex", f"a{n}"))
    assert len(grammars._kept) == 2
    assert grammars.compile(Grammar("regex", "a1")) is not first
    monkeypatch.setattr(module, "KEPT_CHARACTERS", 30)
    grammars.compile(Grammar("regex", "b" * 29))
    assert len(grammars._kept) == 1


def test_who_waits_for_a_slow_grammar_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(BYTES)
    monkeypatch.setattr(module, "COMPILE_SECONDS", 0.05)
    grammars._pool.submit(time.sleep, 0.5)
    with pytest.raises(RequestError, match="too long to compile"):
        grammars.compile(Grammar("regex", "a"))


def test_two_answers_of_one_grammar_do_not_meet(grammars: Grammars) -> None:
    compiled = grammars.compile(Grammar("regex", "[ab]c"))
    one, other = compiled.follow(), compiled.follow()
    write(one, "a")
    assert allowed(other) == {ord("a"), ord("b")}
    assert allowed(one) == {ord("c")}


def test_a_dead_end_says_so(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("regex", "ab")).follow()
    matcher.push(ord("x"))
    assert allowed(matcher) == set()
    assert matcher.why == "The grammar allows nothing after what was written."


def test_a_vocabulary_without_an_end_has_no_grammars() -> None:
    with pytest.raises(RequestError, match="no token that ends"):
        Grammars(Vocabulary((b"a",), (), ())).compile(Grammar("regex", "a"))
