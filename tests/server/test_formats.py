"""Forms of answers come through as they were asked for, and what is none is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from saccade.errors import RequestError
from saccade.server.schema import parse_chat
from saccade.types import Grammar, SamplingParams


def parse(**fields: Any) -> SamplingParams:
    body = {"model": "m", "messages": [{"role": "user", "content": "?"}], **fields}
    return parse_chat(json.dumps(body).encode(), "r").requests[0].sampling


@pytest.mark.parametrize(
    ("form", "grammar"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": "é"}}},
            Grammar("json_schema", '{"a": "é"}'),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "description": "d", "schema": {}}},
            Grammar("json_schema", "{}"),
        ),
        ({"type": "regex", "regex": "a+"}, Grammar("regex", "a+")),
        ({"type": "grammar", "grammar": 'start: "a"'}, Grammar("lark", 'start: "a"')),
    ],
)
def test_forms(form: Any, grammar: Grammar | None) -> None:
    assert parse(response_format=form).grammar == grammar


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ("json", "response_format"),
        ({}, "response_format.type"),
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, "response_format.json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": []}}, "response_format.json_schema.schema"),
        ({"type": "json_object", "schema": {}}, "response_format.schema"),
        ({"type": "regex", "regex": ""}, "response_format.regex"),
        ({"type": "grammar", "grammar": 5}, "response_format.grammar"),
    ],
)
def test_what_is_no_form_is_refused_by_name(form: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(response_format=form)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["guided_json", "guided_regex", "structured_outputs"])
def test_names_of_other_servers_are_unknown(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(**{name: {}})
    assert (caught.value.param, caught.value.code) == (name, "unknown_parameter")


def test_budgets_and_guards() -> None:
    sampling = parse(thinking_budget=0, repetition_guard=2)
    assert (sampling.thinking_budget, sampling.repetition_guard) == (0, 2)
    for fields in ({"thinking_budget": -1}, {"repetition_guard": 1}, {"repetition_guard": 1001}):
        with pytest.raises(RequestError) as caught:
            parse(**fields)
        assert caught.value.param in fields
