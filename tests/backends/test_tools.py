"""Calls that must be made are made, whatever the model would rather say: a model of random weights has no wish to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import saccade
from saccade.backends.constraints import vocabulary
from saccade.backends.native import Native
from saccade.engine.grammar import Grammars
from saccade.errors import RequestError
from saccade.text.grammars import tool_grammar
from saccade.text.tokenizer import Tokenizer
from saccade.types import (
    Delta,
    Grammar,
    MediaPart,
    MediaRef,
    Message,
    Request,
    SamplingParams,
    TextPart,
    ToolChoice,
)

Accepts = Callable[[Grammar, str], bool]
SCHEMA = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/place"}, "times": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["at", "times"],
    "additionalProperties": False,
    "$defs": {"place": {"enum": ["it", 'é "there"']}},
}
LOOK = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
WAIT = {"type": "function", "function": {"name": "wait"}}


def call(arguments: str = '{"at": "it", "times": 1}', name: str = "look") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_dir(Path(saccade.__file__).parent / "demo" / "checkpoint")


@pytest.fixture(scope="module")
def accepts(tokenizer: Tokenizer) -> Accepts:
    """Whether a whole text is what a grammar asks for."""
    end = tokenizer.added["<|im_end|>"]
    grammars = Grammars(vocabulary(tokenizer, frozenset([end])))

    def check(grammar: Grammar, text: str) -> bool:
        matcher = grammars.compile(grammar).follow()
        for id in (*tokenizer.encode(text, specials=True), end):
            if not int(matcher.mask[id // 32]) >> id % 32 & 1:
                return False
            matcher.push(id)
        return True

    return check


def grammar(tokenizer: Tokenizer, answer: Grammar | None = None, **choice: Any) -> Grammar:
    made = tool_grammar([LOOK, WAIT], ToolChoice(**choice), answer, tokenizer.added)
    assert made is not None
    return made


def test_required_calls(tokenizer: Tokenizer, accepts: Accepts) -> None:
    for parallel in (True, False):
        wanted = grammar(tokenizer, required=True, parallel=parallel)
        assert accepts(wanted, call())
        assert accepts(wanted, call("{}", "wait"))
        assert accepts(wanted, f"{call()}\n{call('{}', 'wait')}") == parallel
        for wrong in ("", "I look.", call('{"at": "it"}'), call('{"a": 1}', "wait"), call(name="hear"), f"{call()} so"):
            assert not accepts(wanted, wrong)


def test_strict_calls_between_words(tokenizer: Tokenizer, accepts: Accepts) -> None:
    wanted = grammar(tokenizer, strict=frozenset({"look"}))
    for right in ("", "Words < and \n words", f"So:\n{call()}", f"{call()}\n{call()} and", call('{"a": [1]}', "wait")):
        assert accepts(wanted, right)
    for wrong in (call('{"at": "it"}'), call("[]", "wait"), call(name="hear"), "<tool_call>"):
        assert not accepts(wanted, wrong)


def test_a_call_cannot_be_spelt_to_get_around_its_schema(tokenizer: Tokenizer) -> None:
    wanted = grammar(tokenizer, strict=frozenset({"look"}))
    matcher = Grammars(vocabulary(tokenizer, frozenset([258]))).compile(wanted).follow()
    for id in tokenizer.encode("<tool_call", specials=False):
        matcher.push(id)
    (last,) = tokenizer.encode(">", specials=False)
    assert not int(matcher.mask[last // 32]) >> last % 32 & 1


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (Grammar("json_object"), '{"a": []}'),
        (Grammar("json_schema", '{"type": "array", "items": {"const": 3}}'), "[3, 3]"),
        (Grammar("json_schema", "true"), "3"),
        (Grammar("regex", "a/b\\/[/]\n?"), "a/b//\n"),
    ],
)
def test_a_call_or_the_format(tokenizer: Tokenizer, accepts: Accepts, answer: Grammar, right: str) -> None:
    wanted = grammar(tokenizer, answer)
    assert accepts(wanted, right)
    assert accepts(wanted, call())
    assert not accepts(wanted, "Words")
    assert not accepts(wanted, call() + right)
    assert not accepts(grammar(tokenizer, answer, required=True), right)


def test_what_asks_for_nothing_is_no_grammar(tokenizer: Tokenizer) -> None:
    assert tool_grammar([LOOK], ToolChoice(), None, tokenizer.added) is None
    answer = Grammar("regex", "a")
    assert tool_grammar([], ToolChoice(), answer, tokenizer.added) is answer
    with pytest.raises(RequestError, match="response_format"):
        tool_grammar([LOOK], ToolChoice(), Grammar("lark", 'start: "a"'), tokenizer.added)


def test_a_vocabulary_without_tags_spells_them(tokenizer: Tokenizer, accepts: Accepts) -> None:
    wanted = tool_grammar([LOOK], ToolChoice(required=True), None, ())
    assert wanted is not None
    assert '"<tool_call>"' in wanted.text


# --- from request to answer ------------------------------------------------------------------------------------------


async def asked(backend: Native, *messages: Message, **fields: Any) -> list[Delta]:
    sampling = SamplingParams(**({"max_tokens": 200, "seed": 1} | fields.pop("sampling", {})))
    messages = messages or (Message("user", (TextPart("Look."),)),)
    request = Request("r", "small", messages, sampling, (LOOK, WAIT), ToolChoice(**fields))
    return [delta async for delta in backend.generate(request)]


def play(backend: Native, scene: Callable[[Native], Any]) -> None:
    async def run() -> None:
        await backend.start()
        try:
            await scene(backend)
        finally:
            await backend.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_model_that_must_call(load: Callable[..., Native]) -> None:
    async def scene(backend: Native) -> None:
        deltas = await asked(backend, required=True, parallel=False)
        pieces = [piece for delta in deltas for piece in delta.tool_calls]
        assert pieces[0].name in ("look", "wait")
        arguments = json.loads("".join(piece.arguments for piece in pieces))
        assert (set(arguments) == {"at", "times"}) == (pieces[0].name == "look")
        assert "".join(delta.text for delta in deltas) == ""
        assert deltas[-1].finish_reason == "tool_calls"
        assert len({piece.index for piece in pieces}) == 1

        bias = {"logit_bias": ((270, 60.0),)}  # `<tool_call>`, which it may then say again
        deltas = await asked(backend, strict=frozenset({"look", "wait"}), parallel=False, sampling=bias)
        pieces = [piece for delta in deltas for piece in delta.tool_calls]
        assert set(json.loads("".join(piece.arguments for piece in pieces))) in ({"at", "times"}, set())
        assert deltas[-1].finish_reason == "tool_calls"

    play(load(), scene)


def test_a_schema_that_cannot_be_enforced_names_the_tools(load: Callable[..., Native]) -> None:
    broken = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}

    async def scene(backend: Native) -> None:
        for parameters in (broken, {"type": "object", "properties": {"a": {"pattern": "("}}}):
            tool = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
            request = Request(
                "r", "small", (Message("user", (TextPart("?"),)),), SamplingParams(), (tool,), ToolChoice(required=True)
            )
            with pytest.raises(RequestError) as caught:
                await anext(backend.generate(request))
            assert caught.value.param == "tools"
            assert len(caught.value.message) <= 400
        assert await asked(backend, sampling={"max_tokens": 2})

    play(load(), scene)


def test_results_may_hold_pictures(load: Callable[..., Native], tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    picture = MediaPart(MediaRef("image", "messages[2].content[1]", data=(tmp_path / "red.png").read_bytes()))
    made = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}

    async def scene(backend: Native) -> None:
        (*_, last) = await asked(
            backend,
            Message("user", (TextPart("Look."),)),
            Message("assistant", (), tool_calls=(made,)),
            Message("tool", (TextPart("Here:"), picture), tool_call_id="c"),
            sampling={"max_tokens": 2},
        )
        assert last.usage is not None
        assert last.usage.image_tokens == 4
        shown = Request("r", "small", (Message("user", (TextPart("Look."),)),), SamplingParams(), (LOOK, WAIT))
        hidden = replace(shown, tools=())
        assert len(await backend.tokenize(shown)) > len(await backend.tokenize(hidden)) + 300

    play(load(), scene)


def test_places_are_told_in_pixels(load: Callable[..., Native], tmp_path: Path) -> None:
    """The model is made to say a certain place, in words and in a call."""
    said = '[{"bbox_2d": [0, 250, 500, 1000]}]'
    Image.new("RGB", (200, 80), "red").save(tmp_path / "red.png")
    picture = MediaPart(MediaRef("image", "messages[0].content[0]", data=(tmp_path / "red.png").read_bytes()))
    click = {"type": "object", "properties": {"coordinate": {"const": [500, 500]}}, "required": ["coordinate"]}
    tool = {"type": "function", "function": {"name": "click", "parameters": {**click, "additionalProperties": False}}}

    async def scene(backend: Native) -> None:
        sampling = SamplingParams(max_tokens=200, grammar=Grammar("regex", re.escape(said)))
        request = Request("r", "small", (Message("user", (picture, TextPart("Where?"))),), sampling, pixels_of=0)
        told = [delta async for delta in backend.generate(request)]
        assert "".join(delta.text for delta in told) == '[{"bbox_2d": [0, 20, 100, 80]}]'
        called = replace(
            request, sampling=SamplingParams(max_tokens=200), tools=(tool,), tool_choice=ToolChoice(True, False)
        )
        pieces = [piece async for delta in backend.generate(called) for piece in delta.tool_calls]
        assert json.loads("".join(piece.arguments for piece in pieces)) == {"coordinate": [100, 40]}

    play(load(), scene)
