"""What is asked of an answer holds for it, whatever the model would rather say, and changes nothing for the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import torch

import tiny
from saccade.engine import constraint, draws
from saccade.engine.core import Engine
from saccade.engine.grammar import Grammars, Matcher
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest, Thinking
from saccade.engine.spec import Vocabulary
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.text.positions import lay_out
from saccade.types import Grammar, Prompt, SamplingParams, TokenOut

END, THINK, END_THINK = 256, 257, 258
LINE = ord("\n")
NAMES = (b"<|im_end|>", b"<think>", b"</think>")
WORDS = Vocabulary((*(bytes([byte]) for byte in range(256)), *NAMES), (END, THINK, END_THINK), (END,))
CLOSING = (LINE, END_THINK, LINE, LINE)

FLAT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": -50, "maximum": 999},
        "kind": {"enum": ["button", "link", None, 3]},
        "box": {"type": "array", "items": {"type": "integer", "maximum": 1000}, "minItems": 4, "maxItems": 4},
    },
    "required": ["name", "count", "kind", "box"],
    "additionalProperties": False,
}
NESTED = {
    "type": "object",
    "properties": {
        "actions": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"anyOf": [
            {"type": "object", "properties": {"click": {"$ref": "#/$defs/point"}}, "required": ["click"],
             "additionalProperties": False},
            {"type": "object", "properties": {"wait": {"type": "boolean"}}, "required": ["wait"],
             "additionalProperties": False},
        ]}},
        "when": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
    },
    "required": ["actions", "when"],
    "additionalProperties": False,
    "$defs": {"point": {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9},
                                                         "y": {"type": "integer", "minimum": 0, "maximum": 9}},
                        "required": ["x", "y"], "additionalProperties": False}},
}  # fmt: skip
SCHEMAS = [FLAT, NESTED, {"type": "array", "items": {"type": "null"}, "maxItems": 3}, {"const": "é\n"}]


def schema(value: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


@pytest.fixture(scope="module")
def model() -> Qwen3VL:
    """Random, with an opinion of each token, also of those that end an answer."""
    small = {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 64, "max_position_embeddings": 2048}
    made = Qwen3VL(ModelConfig.from_dict(tiny.config(text=small, vision={"out_hidden_size": 48})), select("cpu")).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.normal_(float("norm" in name and name.endswith("weight")), 0.15, generator=generator)
    return made


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(WORDS)


@pytest.fixture(scope="module")
def count(request: pytest.FixtureRequest) -> int:
    """Seeds that each schema and each way to sample is tried with."""
    return int(request.config.getoption("--grammar-seeds"))


@pytest.fixture(scope="module")
def engine(model: Qwen3VL, grammars: Grammars) -> Callable[..., Engine]:
    def make(overlap: bool = False, **limits: int) -> Engine:
        options = EngineOptions(max_context=1024, max_running=8, overlap=overlap)
        return Engine(model, stop_ids=(END,), num_valid_ids=259, options=options, grammars=grammars, **limits)

    return make


def ask(id: str, *, thinking: Thinking | None = None, length: int = 20, **sampling: Any) -> EngineRequest:
    ids = tuple((7 * n + len(id)) % 250 for n in range(length))
    positions, delta = lay_out(length, [], [])
    params = SamplingParams(**({"temperature": 1.0, "max_tokens": 200} | sampling))
    return EngineRequest(id, Prompt(ids, (), positions, delta), (), params, thinking=thinking)


def run(engine: Engine, *requests: EngineRequest) -> dict[str, list[TokenOut]]:
    outs: dict[str, list[TokenOut]] = {request.id: [] for request in requests}
    for request in requests:
        engine.submit(request)
    for out in steps(engine):
        outs[out.request_id].append(out)
    is_idle(engine)
    return outs


def steps(engine: Engine) -> Iterator[TokenOut]:
    until = time.monotonic() + 60
    while engine.has_work:
        assert time.monotonic() < until
        yield from engine.step()


def is_idle(engine: Engine) -> None:
    engine._scheduler.blocks.check()
    assert not engine._scheduler.blocks.held()
    assert not engine._runner._requests
    assert not engine._runner._compiled


def ids(outs: list[TokenOut]) -> list[int]:
    return [out.token for out in outs if out.token is not None]


def text(tokens: list[int]) -> str:
    return b"".join(WORDS.tokens[token] for token in tokens if token != END).decode(errors="replace")


SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "whole": {"temperature": 1.5},
    "few": {"temperature": 1.5, "top_k": 20},
    "cut": {"top_p": 0.7, "min_p": 0.01},
    "penalties": {"frequency_penalty": 1.0, "presence_penalty": 0.5, "repetition_penalty": 1.3},
    "bias": {"logit_bias": ((ord("{"), -100.0), (ord("z"), 100.0), (END, 100.0))},
    "no end": {"ignore_eos": True},
    "not before": {"min_tokens": 30},
    "told": {"temperature": 0.0, "logprobs": 3},
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_answer_is_what_the_schema_says(engine: Callable[..., Engine], count: int, name: str) -> None:
    """`pytest --grammar-seeds 1000` for the long form."""
    grammars = [schema(wanted) for wanted in SCHEMAS]
    requests = [
        ask(f"{seed} {number}", seed=seed, grammar=grammar, **SAMPLINGS[name])
        for seed in range(count)
        for number, grammar in enumerate(grammars)
    ]
    ended = set()
    for id, outs in run(engine(), *requests).items():
        number = int(id.split()[1])
        if outs[-1].finish_reason == "length":
            continue
        assert outs[-1].finish_reason == "stop", outs[-1]
        jsonschema.validate(json.loads(text(ids(outs))), SCHEMAS[number])
        ended.add(number)
    assert len(ended) >= 2


def crowd() -> list[EngineRequest]:
    thinking = Thinking(END_THINK, CLOSING, 9)
    return [
        ask("plain", temperature=0.0, max_tokens=60, ignore_eos=True),
        ask("flat", grammar=schema(FLAT), seed=1),
        ask("drawn", seed=2, max_tokens=50, ignore_eos=True),
        ask("nested", grammar=schema(NESTED), seed=3, length=50),
        ask("greedy", grammar=schema(FLAT), temperature=0.0, frequency_penalty=0.3, max_tokens=80),
        ask("regex", grammar=Grammar("regex", "([a-f]{3}-){2,9}x"), seed=4, top_k=10, logprobs=2),
        ask("thinks", grammar=schema(NESTED), seed=5, thinking=thinking),
        ask("thinks aloud", seed=6, thinking=thinking, max_tokens=40, ignore_eos=True),
        ask("edited", seed=7, max_tokens=40, presence_penalty=1.0),
    ]


@pytest.fixture(scope="module")
def expected(engine: Callable[..., Engine]) -> dict[str, list[int]]:
    """What each gets alone."""
    return {request.id: ids(run(engine(), request)[request.id]) for request in crowd()}


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("patience", [5.0, 0.0])
def test_each_gets_what_it_would_get_alone(
    engine: Callable[..., Engine],
    expected: dict[str, list[int]],
    monkeypatch: pytest.MonkeyPatch,
    overlap: bool,
    patience: float,
) -> None:
    if patience == 0:
        push = Matcher.push

        def slow(matcher: Matcher, *tokens: int) -> None:
            time.sleep(0.002 * (sum(tokens) % 9 == 0))
            push(matcher, *tokens)

        monkeypatch.setattr(Matcher, "push", slow)
    monkeypatch.setattr(draws, "PATIENCE", patience)
    monkeypatch.setattr(draws, "LONG_PATIENCE", 0.001 if patience == 0 else patience)
    if patience:
        assert {id: ids(outs) for id, outs in run(engine(overlap), *crowd()).items()} == expected
    # In a memory that is too small for all, so that some are preempted in the middle of their grammar.
    small = engine(overlap, num_blocks=14)
    assert {id: ids(outs) for id, outs in run(small, *crowd()).items()} == expected
    assert small._scheduler.num_preemptions


def test_a_slow_grammar_keeps_nobody_waiting(engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ids(run(engine(), quick := ask("quick", seed=1, max_tokens=60, ignore_eos=True))["quick"])
    push = Matcher.push

    def slow(matcher: Matcher, *tokens: int) -> None:
        time.sleep(0.3)
        push(matcher, *tokens)

    monkeypatch.setattr(Matcher, "push", slow)
    served = engine(overlap=True)
    served.submit(ask("slow", seed=2, grammar=schema(FLAT), max_tokens=3))
    served.submit(quick)
    began, got, slow_tokens = time.monotonic(), [], 0
    for out in steps(served):
        if out.request_id == "slow":
            slow_tokens += 1
        else:
            got.append(out.token)
            if len(got) == 60:
                assert time.monotonic() - began < 0.5 + 60 * 0.02
                assert slow_tokens < 3
    assert got == expected
    assert slow_tokens == 3
    is_idle(served)


@pytest.mark.parametrize("overlap", [False, True])
def test_an_abort_in_any_state_leaves_nothing(engine: Callable[..., Engine], overlap: bool) -> None:
    expected = ids(run(engine(), ask("other", seed=1, max_tokens=30, ignore_eos=True))["other"])
    for after in range(0, 40, 5):
        served = engine(overlap)
        served.submit(ask("gone", seed=2, grammar=schema(NESTED), thinking=Thinking(END_THINK, CLOSING, 7)))
        served.submit(ask("other", seed=1, max_tokens=30, ignore_eos=True))
        outs = [out for _ in range(after) for out in served.step()]
        served.abort("gone")
        outs += list(steps(served))
        assert [out.token for out in outs if out.request_id == "other"] == expected
        assert sum(out.finish_reason is not None for out in outs if out.request_id == "gone") == 1
        is_idle(served)


# --- faults ----------------------------------------------------------------------------------------------------------


def dead_end(matcher: Matcher, *tokens: int) -> None:
    matcher.mask = matcher.mask * 0


def explodes(matcher: Matcher, *tokens: int) -> None:
    raise ZeroDivisionError("secret")


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    ("fault", "told"), [(dead_end, "allows nothing"), (explodes, "could not be followed: ZeroDivisionError")]
)
def test_a_grammar_that_fails_ends_its_own_answer(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, overlap: bool, fault: Any, told: str
) -> None:
    served = engine(overlap)
    others = [ask(f"other {n}", seed=n, max_tokens=30, ignore_eos=True) for n in range(3)]
    expected = [ids(run(engine(), other)[other.id]) for other in others]
    monkeypatch.setattr(Matcher, "push", fault)
    outs = run(served, ask("bad", seed=1, grammar=schema(FLAT)), *others)
    assert [ids(outs[other.id]) for other in others] == expected
    *_, last = outs["bad"]
    assert (last.finish_reason, last.param, len(outs["bad"])) == ("error", "response_format", 2)
    assert last.error
    assert told in last.error
    assert "secret" not in last.error


def test_a_grammar_that_never_comes_back_ends_its_own_answer(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constraint, "GIVE_UP_SECONDS", 0.2)
    monkeypatch.setattr(Matcher, "push", lambda *_: time.sleep(1.0))
    outs = run(engine(), ask("bad", seed=1, grammar=schema(FLAT)))["bad"]
    assert (outs[-1].finish_reason, outs[-1].error) == ("error", constraint.SLOW)


def test_a_grammar_that_takes_too_much_work_ends_its_own_answer(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes a thread for itself at every token would in the end hold up all that have a grammar."""
    push = Matcher.push

    def busy(matcher: Matcher, *tokens: int) -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            push(matcher)
        push(matcher, *tokens)

    monkeypatch.setattr(constraint, "MOST_SECONDS", 0.05)
    monkeypatch.setattr(Matcher, "push", busy)
    outs = run(engine(overlap=True), ask("bad", seed=1, grammar=schema(FLAT)))["bad"]
    assert (len(outs), outs[-1].finish_reason, outs[-1].error) == (2, "error", constraint.SLOW)


# --- thoughts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("budget", [0, 1, 5, 30])
@pytest.mark.parametrize("grammar", [None, schema(FLAT)])
def test_thoughts_are_closed_in_time(
    engine: Callable[..., Engine], overlap: bool, budget: int, grammar: Grammar | None
) -> None:
    thinking = Thinking(END_THINK, CLOSING, budget)
    never = ((END_THINK, -100.0), (END, -100.0))
    sampling = {"logit_bias": never, "grammar": grammar, "max_tokens": 250 if grammar else 40}
    requests = [ask(f"{seed}", seed=seed, thinking=thinking, **sampling) for seed in range(2)]
    for outs in run(engine(overlap), *requests).values():
        tokens = ids(outs)
        assert END_THINK not in tokens[:budget]
        assert tuple(tokens[budget : budget + 4]) == CLOSING
        if grammar and outs[-1].finish_reason == "stop":
            jsonschema.validate(json.loads(text(tokens[budget + 4 :])), FLAT)


def test_a_model_that_closes_its_thoughts_goes_on_with_its_answer(engine: Callable[..., Engine]) -> None:
    """Under a grammar the empty line behind a thought is written for it; no answer ends in the middle of a thought."""
    likes = ((END_THINK, 3.0), (END, 6.0))
    thinking = Thinking(END_THINK, CLOSING, None)
    requests = [
        ask(f"{seed}", seed=seed, thinking=thinking, grammar=schema(FLAT), logit_bias=likes, max_tokens=400)
        for seed in range(4)
    ]
    ended = 0
    for outs in run(engine(), *requests).values():
        tokens = ids(outs)
        if outs[-1].finish_reason != "stop":
            continue
        at = tokens.index(END_THINK)
        assert tokens[at + 1 : at + 3] == [LINE, LINE]
        jsonschema.validate(json.loads(text(tokens[at + 3 :])), FLAT)
        ended += 1
    assert ended


def test_the_end_is_held_back_where_something_else_is_possible(engine: Callable[..., Engine]) -> None:
    letters = Grammar("regex", "[ab]{1,40}")
    wants_to_end = {"logit_bias": ((END, 100.0),), "grammar": letters}
    outs = run(
        engine(),
        ask("free", seed=1, **wants_to_end),
        ask("ten", seed=1, min_tokens=10, **wants_to_end),
        ask("no end", seed=1, ignore_eos=True, **wants_to_end),
        ask("no more", seed=1, min_tokens=100, **wants_to_end),
    )
    assert {id: len(ids(found)) for id, found in outs.items()} == {"free": 2, "ten": 11, "no end": 41, "no more": 41}
    assert {found[-1].finish_reason for found in outs.values()} == {"stop"}


def test_logprobs_tell_the_model_s_own_mind(engine: Callable[..., Engine]) -> None:
    request = ask("one", grammar=Grammar("regex", "zzz"), temperature=0.0, logprobs=259, max_tokens=1)
    free = replace(request, id="free", sampling=replace(request.sampling, grammar=None))
    outs = run(engine(), request, free)
    assert ids(outs["one"]) == [ord("z")]
    assert outs["one"][0].top_logprobs == outs["free"][0].top_logprobs
    assert outs["one"][0].logprob == dict((top.token, top.logprob) for top in outs["free"][0].top_logprobs)[ord("z")]
