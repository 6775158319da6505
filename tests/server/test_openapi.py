"""The document says what the routes do: the same paths, bodies that are read, answers that fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from speaker import THINKS_AND_CALLS, Speaker

from saccade.backends.base import Echo
from saccade.errors import RequestError
from saccade.server.app import create_app
from saccade.server.openapi import ERRORS, IDLE, POSTS, document
from saccade.server.schema import parse_chat

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def _misfit(value: Any, schema: dict[str, Any], path: str = "$") -> str | None:
    """Where `value` does not fit; None: it does. As much of JSON Schema as the document uses for answers."""
    if "$ref" in schema:
        return _misfit(value, document("echo")["components"]["schemas"][schema["$ref"].rpartition("/")[2]], path)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            misfits = [_misfit(value, one, path) for one in schema[key]]
            if misfits.count(None) < 1 or (key == "oneOf" and misfits.count(None) > 1):
                return f"{path}: {misfits}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: {value!r} is not in {schema['enum']}"
    kind = schema.get("type")
    if kind == "null":
        return None if value is None else f"{path}: {value!r} is not null"
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return f"{path}: {value!r} is no {kind}"
    if kind == "array":
        return next(
            (m for i, v in enumerate(value) if (m := _misfit(v, schema.get("items", {}), f"{path}[{i}]"))), None
        )
    if kind == "object":
        if missing := set(schema.get("required", ())) - set(value):
            return f"{path}: {missing} missing"
        known = schema.get("properties", {})
        return next((m for k, v in value.items() if (m := _misfit(v, known.get(k, {}), f"{path}.{k}"))), None)
    return None


def _paths(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _paths(route.original_router.routes)
        else:
            yield from ((route.path.replace(":path", ""), method.lower()) for method in route.methods)


def test_all_routes_are_told_and_no_others() -> None:
    told = {(path, method) for path, methods in document("echo")["paths"].items() for method in methods}
    assert told == set(_paths(create_app(Echo()).routes))


def test_every_reference_leads_somewhere() -> None:
    schemas = document("echo")["components"]["schemas"]

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from references(child)

    assert {name.rpartition("/")[2] for name in references(document("echo"))} <= set(schemas)


@pytest.mark.parametrize("entry", POSTS, ids=lambda entry: entry[0])
def test_bodies_have_the_fields_that_are_read(entry: Any) -> None:
    _, kind, *_ = entry
    schema = document("echo")["components"]["schemas"][kind.__name__]
    assert schema["additionalProperties"] is False
    ignored, neutral = IDLE.get(kind, ((), ()))
    wanted = {*kind.model_fields, *(name for name, _ in (*ignored, *neutral))}
    assert wanted <= set(schema["properties"])


def test_a_text_is_content_too() -> None:
    """Forms that are read before they are checked are told as well."""
    schemas = document("echo")["components"]["schemas"]
    (text, parts) = schemas["UserMessage"]["properties"]["content"]["anyOf"]
    assert (text["type"], parts["type"]) == ("string", "array")
    parse_chat(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}', "id")


BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "logprobs": True},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}]},
    "/tokenize": {"prompt": "x"},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("backend", [Echo, lambda: Speaker(*THINKS_AND_CALLS)], ids=["echo", "speaker"])
def test_answers_fit(serve: Any, path: str, backend: Any) -> None:
    responses = document("echo")["paths"][path]["post"]["responses"]
    url = serve(backend()).url + path
    good = httpx.post(url, json={"model": "echo", **BODIES[path]})
    assert good.status_code == 200, good.text
    assert _misfit(good.json(), responses["200"]["content"]["application/json"]["schema"]) is None
    for bad in (httpx.post(url, json={"model": "echo", **BODIES[path], "x": 1}), httpx.delete(url)):
        schema = responses[str(bad.status_code)]["content"]["application/json"]["schema"]
        assert _misfit(bad.json(), schema) is None


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/echo", "/health/live", "/health/ready", "/openapi.json"])
def test_what_is_got_fits(echo: Any, path: str) -> None:
    told = document("echo")["paths"][path.replace("/echo", "/{model}")]["get"]["responses"]
    answer = httpx.get(echo.url + path)
    assert _misfit(answer.json(), told["200"]["content"]["application/json"]["schema"]) is None


def test_the_checker_finds_faults() -> None:
    schema = document("echo")["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert _misfit({"object": "list"}, schema)
    assert _misfit({"object": "list", "data": [{"id": 1}]}, schema)


def test_all_statuses_of_errors_are_told() -> None:
    def below(kind: type[Exception]) -> Iterator[Any]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    assert {kind.status for kind in below(RequestError.__base__)} <= set(ERRORS)  # type: ignore[arg-type]


def test_zero_is_no_truth_value() -> None:
    """A schema says that it is none, so it must be refused."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true, "stream_options": %s}'
    parse_chat(body % b'{"include_obfuscation": false}', "id")
    for value in (b"0", b"true"):
        with pytest.raises(RequestError) as caught:
            parse_chat(body % (b'{"include_obfuscation": %s}' % value), "id")
        assert caught.value.param == "stream_options.include_obfuscation"
